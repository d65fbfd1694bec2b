"""A server with a key, its blocks, and members that come in by the SDK's own client, in both generations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation, TextContent

NewMember = Callable[..., str]
"""Makes a member and returns its key."""

GENERATIONS = ("2026-07-28", "legacy")
"""What the SDK's client calls the protocol's stateless revision, and those with a handshake before it."""


@asynccontextmanager
async def joined(
    url: str, key: str | None = None, generation: str = "auto", name: str = "claude-code", version: str = "2.1"
) -> AsyncIterator[Client]:
    """Connect to a server's door, with a key or as whoever needs none."""
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        info = Implementation(name=name, version=version)
        async with Client(transport, mode=generation, client_info=info) as client:
            yield client


async def call(client: Client, tool: str, /, **arguments: Any) -> str:
    """Call a tool that has to succeed and return its words."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, words(result)
    return words(result)


async def refused(client: Client, tool: str, /, **arguments: Any) -> str:
    """Call a tool that has to refuse and return its words."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, words(result)
    return words(result)


def words(result: Any) -> str:
    """Return the text of a tool's answer."""
    return "\n".join(each.text for each in result.content if isinstance(each, TextContent))


def knock(url: str, method: str, params: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
    """Return what httpx needs to send one request of the stateless revision."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "knocker", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    name = (params or {}).get("name", "")
    return {
        "method": "POST",
        "url": f"{url}/mcp",
        "json": {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), "_meta": meta}},
        "headers": {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": method,
            **({"mcp-name": name} if name else {}),
            **headers,
        },
    }


def knock_tool(url: str, key: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return what httpx needs to call a tool."""
    params = {"name": tool, "arguments": arguments}
    return knock(url, "tools/call", params, authorization=f"Bearer {key}")
