"""A server with a key, its blocks, and members that come in by the SDK's own client, in both generations."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import httpx2
from mcp.client.client import Client
from mcp.client.session import MessageHandlerFnT
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation, TextContent

from support.polling import PATIENCE
from support.streams import lines_of

NewMember = Callable[..., str]
"""Makes a member and returns its key."""

GENERATIONS = ("2026-07-28", "legacy")
"""What the SDK's client calls the protocol's stateless revision, and those with a handshake before it."""


@asynccontextmanager
async def joined(
    url: str,
    key: str | None = None,
    generation: str = "auto",
    name: str = "claude-code",
    version: str = "2.1",
    heard: MessageHandlerFnT | None = None,
) -> AsyncIterator[Client]:
    """Connect to a door, with a key or as whoever needs none; `heard` is given what the server says unasked."""
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        info = Implementation(name=name, version=version)
        async with Client(transport, mode=generation, client_info=info, message_handler=heard) as client:
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


@dataclass
class OlderSession:
    """A session of the protocol's older revisions, request by request."""

    url: str
    key: str
    headers: dict[str, str]

    def request(self, method: str, url: str, key: str | None = None, **more: Any) -> httpx.Response:
        """Send a request of the session to a process."""
        authorization = {"authorization": f"Bearer {key or self.key}"}
        return httpx.request(method, f"{url}/mcp", headers=self.headers | authorization, timeout=PATIENCE, **more)

    def ask(self, method: str, **params: Any) -> Any:
        """Ask something and return the answer."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.request("POST", self.url, json=asked).json()

    @contextmanager
    def stream(self, url: str, key: str | None = None) -> Iterator[Iterator[dict[str, Any]]]:
        """Give what the session's stream tells, as it comes, until it ends: resources, and the names of lists."""
        headers = self.headers | {"accept": "text/event-stream", "authorization": f"Bearer {key or self.key}"}
        with httpx.stream("GET", f"{url}/mcp", headers=headers, timeout=PATIENCE) as stream:
            assert stream.status_code == 200
            yield _told(stream)


def _told(stream: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in lines_of(stream.iter_lines()):
        if line.startswith("data: "):
            message = json.loads(line.removeprefix("data: "))
            told, _, what = message["method"].removeprefix("notifications/").partition("/")
            yield message["params"] if (told, what) == ("resources", "updated") else {what: told}


def begin_session(url: str, key: str) -> OlderSession:
    """Shake hands as a client of 2025 does."""
    session = OlderSession(url, key, {"accept": "application/json, text/event-stream"})
    info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "cursor", "version": "9"}}
    asked = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": info}
    answer = session.request("POST", url, json=asked)
    assert answer.json()["result"]["capabilities"]["resources"]["subscribe"] is True
    session.headers |= {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
    return session


def knock_tool(url: str, key: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return what httpx needs to call a tool."""
    params = {"name": tool, "arguments": arguments}
    return knock(url, "tools/call", params, authorization=f"Bearer {key}")
