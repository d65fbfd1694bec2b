"""The first requests of a process that need the protocol's package, which is loaded when somebody first asks."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from members import knock

from support.clients import plain_async_client
from support.fixtures import StartServer, one_store
from support.tool_servers import TOOL_SERVER, running


@one_store
@pytest.mark.by_command
async def test_members_and_servers_of_tools_may_come_first_together(start_server: StartServer) -> None:
    """Both load parts of one package, in threads: half of the time, neither could."""
    with running(TOOL_SERVER, "http") as address:
        config = {"mcp_server_type": "streamable_http", "server_url": address}
        server = start_server(env={"FOLKMOOT_PRIVATE_MCP_SERVERS": "true"})
        async with httpx.AsyncClient() as member, plain_async_client(server.url) as http:
            listed, added = await asyncio.gather(
                member.request(**knock(server.url, "tools/list")),
                http.post("/v1/mcp-servers", json={"server_name": "first", "config": config}),
            )
            assert listed.status_code == 200, listed.text
            tools = await http.get(f"/v1/mcp-servers/{added.json()['id']}/tools")
            assert {"shout", "mcp_add"} <= {each["name"] for each in tools.json()}
