"""Servers of tools that speak the Model Context Protocol: add, list, change, delete, look at, sign in, call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from folkmoot.agents.agents import find_agent
from folkmoot.errors import BadRequest, NotFound
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.mcp_access import check_may_start, sees_all
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import AgentId, json_response
from folkmoot.server.wire.mcp import (
    CreateServer,
    OldUpdate,
    RunTool,
    ServerReply,
    UpdateServer,
    show_call,
    show_server,
)
from folkmoot.server.wire.tools import ToolReply, ToolRunReply
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.servers import ToolServer, find_server, list_servers
from folkmoot.tools.mcp.service import McpTool
from folkmoot.tools.mcp.tools import Changes, find_tool_of_server, tools_of_server
from folkmoot.tools.stored import StoredTool

router = APIRouter(prefix="/v1/mcp-servers", tags=["mcp-servers"], route_class=BodyRoute)

OfAgent = Annotated[AgentId | None, Query(description="Whose secrets fill the server's configuration.")]


@router.post("", response_model=ServerReply)
async def create(body: CreateServer, state: State) -> Response:
    """Add a server and its tools; one that cannot be reached is added all the same, without tools."""
    configuration = body.configuration()
    check_may_start(state, configuration)
    return _show(state, await state.mcp.create(state.store, body.server_name, configuration, state.author))


@router.get("", response_model=list[ServerReply])
async def list_all(state: State) -> Response:
    """List the servers, the oldest first."""
    found = await state.store.read(lambda transaction: list_servers(transaction, state.shared.sealer))
    return _json([show_server(server, to_admin=sees_all(state)) for server in found])


@router.get("/{mcp_server_id}", response_model=ServerReply)
async def retrieve(mcp_server_id: str, state: State) -> Response:
    """Return a server."""
    return _show(state, await _find(state, mcp_server_id))


@router.patch("/{mcp_server_id}", response_model=ServerReply)
async def update(mcp_server_id: str, body: UpdateServer, state: State) -> Response:
    """Change a server; what is left out stays, and so does a secret that is sent back as it was shown."""
    return _show(state, await change_server(state, mcp_server_id, body))


async def change_server(state: ServerState, server_id: str, body: UpdateServer | OldUpdate) -> ToolServer:
    """Change what a request names of a server.

    Raises:
        NotFound: there is no such server.
        Forbidden: it is a program, or becomes one, and the principal may not start any.
        InvalidInput: the configuration cannot be used.
        Conflict: another server has the name.
    """

    def configure(stored: ServerConfiguration) -> ServerConfiguration:
        changed = body.configuration(stored)
        check_may_start(state, stored, changed)
        return changed

    return await state.mcp.update(state.store, server_id, body.server_name or None, configure, state.author)


@router.delete("/{mcp_server_id}", status_code=204)
async def delete(mcp_server_id: str, state: State) -> None:
    """Delete a server with its tools; every agent that has one of them loses it."""
    try:
        await state.mcp.delete(state.store, mcp_server_id)
    except NotFound as error:
        raise BadRequest(f"MCP server with id {mcp_server_id} not found.") from error


@router.get("/{mcp_server_id}/tools", response_model=list[ToolReply])
async def list_tools(mcp_server_id: str, state: State) -> Response:
    """List a server's tools that agents can be given, by name."""
    await _find(state, mcp_server_id)
    found = await state.store.read(lambda transaction: tools_of_server(transaction, mcp_server_id))
    return json_response([show_tool(state, tool) for tool in found])


@router.get("/{mcp_server_id}/tools/{tool_id}", response_model=ToolReply)
async def retrieve_tool(mcp_server_id: str, tool_id: str, state: State) -> Response:
    """Return a tool of a server."""
    return json_response(show_tool(state, await _find_tool(state, mcp_server_id, tool_id)))


@router.post("/{mcp_server_id}/tools/{tool_id}/run", response_model=ToolRunReply)
async def run_tool(mcp_server_id: str, tool_id: str, state: State, body: RunTool | None = None) -> Response:
    """Call a tool of a server; an error of the tool is an answer too."""
    tool = await _find_tool(state, mcp_server_id, tool_id)
    result = await state.mcp.call(state.store, tool, body.args if body is not None else {}, {})
    return json_response(show_call(result))


@router.patch("/{mcp_server_id}/refresh")
async def refresh(mcp_server_id: str, state: State, agent_id: OfAgent = None) -> dict[str, Any]:
    """Look at a server's tools anew: which are added, other ones or deleted, and which agents lose one thereby."""
    return show_changes(await state.mcp.look(state.store, mcp_server_id, await variables_of(state, agent_id)))


def show_changes(changes: Changes) -> dict[str, Any]:
    """Show what a look at a server's tools changed."""
    return {
        "deleted": changes.deleted,
        "updated": changes.updated,
        "added": changes.added,
        "agents": changes.lost,
        "refused": changes.refused,
    }


def show_tool(state: ServerState, tool: StoredTool) -> ToolReply:
    """Show a tool to the organisation of a request."""
    return ToolReply.of(McpTool(tool, state.mcp), state.principal.organization_id)


async def variables_of(state: ServerState, agent_id: str | None) -> dict[str, str]:
    """Return an agent's secrets; none without an agent.

    Raises:
        NotFound: there is no such agent.
    """
    if agent_id is None:
        return {}
    agent = await state.store.read(lambda transaction: find_agent(transaction, agent_id))
    return state.shared.sealer.unseal(agent.configuration.get("sealed_variables"))


async def _find(state: ServerState, server_id: str) -> ToolServer:
    return await state.store.read(lambda transaction: find_server(transaction, server_id, state.shared.sealer))


async def _find_tool(state: ServerState, server_id: str, tool_id: str) -> StoredTool:
    await _find(state, server_id)
    return await state.store.read(lambda transaction: find_tool_of_server(transaction, server_id, tool_id))


def _show(state: ServerState, server: ToolServer) -> Response:
    return _json(show_server(server, to_admin=sees_all(state)))


def _json(body: dict[str, Any] | Sequence[dict[str, Any]]) -> Response:
    return Response(json.dumps(body), media_type="application/json")
