"""The servers of tools that an agent has tools of, and these tools, for the programs that ask for them by the agent."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Response

from folkmoot.agents.agents import find_agent, tools_of
from folkmoot.errors import NotFound
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.mcp_access import sees_all
from folkmoot.server.routes.mcp_servers import show_tool, variables_of
from folkmoot.server.scanning import Scan
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import AgentId, json_response
from folkmoot.server.wire.mcp import RunTool, show_call, show_server
from folkmoot.server.wire.tools import FoundToolReply, SearchTools, ToolReply, ToolRunReply
from folkmoot.store.engine import Transaction
from folkmoot.tools.custom.search import search_tools
from folkmoot.tools.mcp.servers import list_servers
from folkmoot.tools.mcp.service import McpTool

router = APIRouter(prefix="/v1/agents/{agent_id}/mcp-servers", tags=["mcp-servers"], route_class=BodyRoute)


@router.get("")
async def list_all(agent_id: AgentId, state: State) -> Response:
    """List the servers that the agent has tools of."""

    async def read(transaction: Transaction) -> list[dict[str, Any]]:
        of_agent = {tool.stored.server_id for tool in await _tools(transaction, agent_id, state)}
        servers = await list_servers(transaction, state.shared.sealer)
        return [show_server(server, to_admin=sees_all(state)) for server in servers if server.id in of_agent]

    return Response(json.dumps(await state.store.read(read)), media_type="application/json")


@router.post("/tools/search", response_model=list[FoundToolReply])
async def search(agent_id: AgentId, body: SearchTools, state: State, scan: Scan) -> Response:
    """Find tools among those of servers that the agent has, the best first."""
    tools = await state.store.read(lambda transaction: _tools(transaction, agent_id, state))
    embeddings = state.services.embeddings
    handle = embeddings.usable(None)
    found = await scan.while_here(search_tools(tools, body.query, body.search_mode, body.limit, embeddings, handle))
    return json_response([FoundToolReply.of(each, state.principal.organization_id) for each in found])


@router.get("/{mcp_server_id}/tools", response_model=list[ToolReply])
async def list_tools(agent_id: AgentId, mcp_server_id: str, state: State) -> Response:
    """List the tools of a server that the agent has."""
    tools = await state.store.read(lambda transaction: _tools(transaction, agent_id, state))
    return json_response([show_tool(state, tool.stored) for tool in tools if tool.stored.server_id == mcp_server_id])


@router.post("/{mcp_server_id}/tools/{tool_id}/run", response_model=ToolRunReply)
async def run_tool(
    agent_id: AgentId, mcp_server_id: str, tool_id: str, state: State, body: RunTool | None = None
) -> Response:
    """Call a tool of a server that the agent has, with the agent's secrets; an error of the tool is an answer too."""
    for tool in await state.store.read(lambda transaction: _tools(transaction, agent_id, state)):
        if (tool.id, tool.stored.server_id) == (tool_id, mcp_server_id):
            variables, args = await variables_of(state, agent_id), body.args if body is not None else {}
            return json_response(show_call(await state.mcp.call(state.store, tool.stored, args, variables)))
    raise NotFound(f"Agent {agent_id} has no tool {tool_id} of MCP server {mcp_server_id}")


async def _tools(transaction: Transaction, agent_id: str, state: ServerState) -> list[McpTool]:
    await find_agent(transaction, agent_id)
    return [tool for tool in await tools_of(transaction, agent_id, state.services.tools) if isinstance(tool, McpTool)]
