"""Servers of tools in the older form: by name, below `/v1/tools/mcp/servers`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from folkmoot.errors import NotFound, ToolServerFailed
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.mcp_access import check_may_start, sees_all
from folkmoot.server.routes.mcp_servers import OfAgent, change_server, show_changes, show_tool, variables_of
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import json_response
from folkmoot.server.wire.mcp import (
    OldRunReply,
    OldServer,
    OldUpdate,
    RunTool,
    old_configuration,
    show_listed,
    show_old_server,
)
from folkmoot.server.wire.tools import ToolReply
from folkmoot.tools.mcp.servers import ToolServer, find_server_named, list_servers
from folkmoot.tools.mcp.tools import remote_name, tools_of_server
from folkmoot.tools.stored import StoredTool

router = APIRouter(prefix="/v1/tools/mcp/servers", tags=["tools"], route_class=BodyRoute)


@router.get("")
async def list_all(state: State) -> dict[str, Any]:
    """List the servers by name."""
    return {server.name: _show(state, server) for server in await _all(state)}


@router.put("")
async def add(body: OldServer, state: State) -> list[dict[str, Any]]:
    """Add a server and its tools; return all servers."""
    configuration = old_configuration(body)
    check_may_start(state, configuration)
    await state.mcp.create(state.store, body.server_name, configuration, state.author)
    return [_show(state, server) for server in await _all(state)]


@router.post("/test")
async def try_out(body: OldServer, state: State) -> dict[str, Any]:
    """Return the tools of a server that need not be there, without adding anything."""
    configuration = old_configuration(body)
    check_may_start(state, configuration)
    try:
        listed = await state.mcp.try_out(state.store, body.server_name, configuration)
    except ToolServerFailed as error:
        told = {
            "type": "mcp_connection_error",
            "message": "The MCP server could not be connected to.",
            "detail": error.message,
        }
        raise ToolServerFailed(error.message, error=told) from error
    return {"status": "success", "tools": show_listed(listed)}


@router.patch("/{mcp_server_name}")
async def update(mcp_server_name: str, body: OldUpdate, state: State) -> dict[str, Any]:
    """Change a server; what is left out stays."""
    server = await _find(state, mcp_server_name)
    return _show(state, await change_server(state, server.id, body))


@router.delete("/{mcp_server_name}")
async def delete(mcp_server_name: str, state: State) -> list[dict[str, Any]]:
    """Delete a server with its tools; return the servers that are left."""
    server = await _find(state, mcp_server_name)
    await state.mcp.delete(state.store, server.id)
    return [_show(state, other) for other in await _all(state)]


@router.get("/{mcp_server_name}/tools")
async def list_tools(mcp_server_name: str, state: State) -> list[dict[str, Any]]:
    """Return a server's tools as it lists them now."""
    server = await _find(state, mcp_server_name)
    return show_listed(await state.mcp.list_tools(state.store, server, {}))


@router.post("/{mcp_server_name}/resync")
async def resync(mcp_server_name: str, state: State, agent_id: OfAgent = None) -> dict[str, Any]:
    """Look at a server's tools anew."""
    server = await _find(state, mcp_server_name)
    return show_changes(await state.mcp.look(state.store, server.id, await variables_of(state, agent_id)))


@router.post("/{mcp_server_name}/{mcp_tool_name}", response_model=ToolReply)
async def add_tool(mcp_server_name: str, mcp_tool_name: str, state: State) -> Response:
    """Return a server's tool as agents can be given it; it is looked for anew if it is not known yet."""
    server = await _find(state, mcp_server_name)
    found = await _stored(state, server, mcp_tool_name)
    if found is None:
        await state.mcp.look(state.store, server.id, {})
        found = await _stored(state, server, mcp_tool_name)
    if found is None:
        raise NotFound(f"The MCP server {server.name!r} has no tool {mcp_tool_name!r} that agents can be given.")
    return json_response(show_tool(state, found))


@router.post("/{mcp_server_name}/tools/{tool_name}/execute", response_model=OldRunReply)
async def execute(mcp_server_name: str, tool_name: str, body: RunTool, state: State) -> Response:
    """Call a server's tool."""
    server = await _find(state, mcp_server_name)
    result = await state.mcp.call_named(state.store, server, tool_name, body.args, {})
    return json_response(OldRunReply(result=result.text, success=not result.failed))


def _show(state: ServerState, server: ToolServer) -> dict[str, Any]:
    return show_old_server(server, to_admin=sees_all(state))


async def _all(state: ServerState) -> list[ToolServer]:
    return await state.store.read(lambda transaction: list_servers(transaction, state.shared.sealer))


async def _find(state: ServerState, name: str) -> ToolServer:
    return await state.store.read(lambda transaction: find_server_named(transaction, name, state.shared.sealer))


async def _stored(state: ServerState, server: ToolServer, name: str) -> StoredTool | None:
    found = await state.store.read(lambda transaction: tools_of_server(transaction, server.id))
    return next((tool for tool in found if name in (tool.name, remote_name(tool))), None)
