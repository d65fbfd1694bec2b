"""What becomes of a server of tools when the process dies that deletes it."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from chaos.moot import LOST, ok, rows
from support.clients import plain_async_client
from support.fixtures import MODEL, StartServer
from support.tool_servers import TOOL_SERVER, running

PRIVATE = {"FOLKMOOT_PRIVATE_MCP_SERVERS": "true"}
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_deletion_that_a_process_does_not_live_to_end_is_asked_for_again(start_server: StartServer) -> None:
    server = start_server(env=PRIVATE)
    connection = await asyncpg.connect(server.database)
    try:
        with running(TOOL_SERVER, "http") as address:
            async with plain_async_client(server.url) as http:
                config = {"mcp_server_type": "streamable_http", "server_url": address}
                added = ok(await http.post("/v1/mcp-servers", json={"server_name": "s", "config": config}))["id"]
                ok(await http.post("/v1/agents", json={"name": "a", "model": MODEL, "tools": ["shout"]}))
                async with connection.transaction():
                    await connection.execute("SELECT 1 FROM tools WHERE name = 'shout' FOR UPDATE")
                    deleting = asyncio.create_task(http.delete(f"/v1/mcp-servers/{added}"))
                    while not await rows(server.database, WAITING):
                        await asyncio.sleep(0.02)
                    server.kill()
                    with pytest.raises(LOST):
                        await deleting
            server.restart()
            async with plain_async_client(server.url) as http:
                (await http.delete(f"/v1/mcp-servers/{added}")).raise_for_status()
                assert await rows(server.database, "SELECT name FROM tools") == []
                assert "shout" not in (await http.get("/v1/agents")).text
    finally:
        await connection.close()
