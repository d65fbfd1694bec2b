"""A light HTTP/1.1 client for the load: asyncio streams, keep-alive, bodies with a Content-Length.

It exists because a full client costs more than the server it is to measure: `httpx.AsyncClient` with 32 connections
tops out at some 370 requests a second against an application that does nothing. `bench` prints what this one reaches.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

LONGEST = 300.0
"""Seconds after which an answer counts as missing."""

_Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its status and its body."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body read as JSON."""
        return json.loads(self.body)


class Unexpected(Exception):
    """A request that prepares a measurement was refused."""


class Client:
    """Connections to one server, as many as requests are under way; each is used again."""

    def __init__(self, url: str) -> None:
        """Connect to `url`, such as `http://127.0.0.1:8283`."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._idle: list[_Connection] = []

    async def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send one request and return the answer, whatever its status."""
        content = b"" if body is None else json.dumps(body).encode()
        return await self._send(method, path, content, "" if body is None else "application/json", headers)

    async def upload(self, path: str, name: str, data: bytes) -> Response:
        """Send a file as a form does."""
        part = f'--bench\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        content = part.encode() + data + b"\r\n--bench--\r\n"
        return await self._send("POST", path, content, "multipart/form-data; boundary=bench")

    async def _send(
        self, method: str, path: str, content: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> Response:
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
        if content_type:
            head += f"Content-Type: {content_type}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        message = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        connection = await self._connection()
        try:
            async with asyncio.timeout(LONGEST):
                connection[1].write(message)
                response, stays_open = await _read(connection[0])
        except BaseException:
            connection[1].close()
            raise
        if stays_open:
            self._idle.append(connection)
        else:
            connection[1].close()
        return response

    async def get(self, path: str) -> Response:
        """Send a GET."""
        return await self.request("GET", path)

    async def post(self, path: str, body: Any) -> Response:
        """Send a POST with a JSON body."""
        return await self.request("POST", path, body)

    async def patch(self, path: str, body: Any) -> Response:
        """Send a PATCH with a JSON body."""
        return await self.request("PATCH", path, body)

    async def need(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that must succeed, and return its JSON.

        Raises:
            Unexpected: it was refused.
        """
        response = await self.request(method, path, body)
        if response.status >= 400:
            raise Unexpected(f"{method} {path}: {response.status} {response.body[:400].decode(errors='replace')}")
        return response.json()

    async def aclose(self) -> None:
        """Close every connection."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _connection(self) -> _Connection:
        """Return an idle connection that the server has not closed meanwhile (uvicorn does after 5 s), or a new one."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port, limit=2**26)


async def _read(reader: asyncio.StreamReader) -> tuple[Response, bool]:
    """Return the next answer, and whether its connection can be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    start = head.find(b"\r\ncontent-length:")
    length = int(head[start + 17 : head.index(b"\r\n", start + 17)]) if start >= 0 else 0
    body = await reader.readexactly(length) if length else b""
    return Response(int(head[9:12]), body), b"\r\nconnection: close" not in head
