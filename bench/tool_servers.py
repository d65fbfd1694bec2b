"""How long a call of an MCP server's tool takes over a warm connection, beside the server's own answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from bench import bars
from bench.bars import Figure
from bench.http import Client
from bench.measuring import Timing
from bench.processes import helper
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.connection import Connection, ConnectionOptions

ARGUMENTS = {"one": 1, "other": 2}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": ARGUMENTS}}
TIMEOUT = 60.0


def measure(runner: asyncio.Runner, count: int) -> list[Figure]:
    """Return the figures of `count` calls: of the server alone, and through a connection that is kept."""
    with helper("bench.tool_server") as server:
        return runner.run(_measure(server.url, count))


async def _measure(url: str, count: int) -> list[Figure]:
    client = Client(url)
    configuration = ServerConfiguration("streamable_http", server_url=f"{url}/mcp")
    connection = Connection("bench", configuration, ConnectionOptions(allow_private=True), lambda: None)

    async def bare() -> None:
        assert (await client.post("/mcp", CALL)).json()["result"]["content"][0]["text"] == "3"

    async def through() -> None:
        answer = await connection.call("add", ARGUMENTS, TIMEOUT)
        assert answer.content[0].text == "3"  # type: ignore[union-attr]

    await through()
    figures = [
        Figure(bars.TOOL_BARE, timing=await _timed(bare, count)),
        Figure(bars.TOOL_WARM, timing=await _timed(through, count)),
    ]
    await connection.close()
    await client.aclose()
    return figures


async def _timed(work: Callable[[], Awaitable[None]], count: int) -> Timing:
    latencies = []
    for _ in range(count):
        begun = time.perf_counter()
        await work()
        latencies.append((time.perf_counter() - begun) * 1e3)
    return Timing(tuple(sorted(latencies)), sum(latencies) / 1e3)
