"""A memory edit by an agent from elsewhere, through MCP, against the same edit by plain HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

from bench import bars
from bench.bars import Figure
from bench.http import Client, Response
from bench.measuring import timed

REVISION = "2026-07-28"
KEPT = "x" * 200
"""What stands in the block; each edit replaces it by itself, so that the last costs what the first does."""


async def door_figures(client: Client, store: str, count: int) -> AsyncIterator[Figure]:
    """Measure both, one edit after the other, and their ratio.

    Args:
        client: of the server that is measured.
        store: what the rows call its store.
        count: how often each is done.
    """
    block = await client.need("POST", "/v1/blocks", {"label": "door", "value": KEPT})

    def by_http(_: int) -> Awaitable[Response]:
        edit = {"kind": "replace", "old_string": KEPT, "new_string": KEPT}
        return client.post(f"/v1/blocks/{block['id']}/edits", edit)

    def through_mcp(_: int) -> Awaitable[Response]:
        return client.request("POST", "/mcp", _call(block["id"]), _HEADERS)

    for warm in (by_http, through_mcp):
        await timed(5, 1, warm)
    plain, door = await timed(count, 1, by_http), await timed(count, 1, through_mcp)
    yield Figure("  by HTTP", store, plain)
    yield Figure("  through MCP", store, door)
    failures = plain.errors.total() + door.errors.total()
    yield Figure(bars.MCP_EDIT, store, value=door.p50 / plain.p50, unit="×", failures=failures)


_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": REVISION,
    "Mcp-Method": "tools/call",
    "Mcp-Name": "replace",
}


def _call(block_id: str) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    arguments = {"label": block_id, "old_string": KEPT, "new_string": KEPT}
    params = {"name": "replace", "arguments": arguments, "_meta": meta}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
