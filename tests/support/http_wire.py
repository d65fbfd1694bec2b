"""As much of HTTP/1.1 as a model's client needs; by hand, so that a test can cut a connection anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True)
class HttpRequest:
    """A request as it came in; header names are in lower case, a body that is no JSON is None."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class WatchedReader(asyncio.StreamReader):
    """A reader that tells when its client has gone, without reading anything."""

    def __init__(self) -> None:
        super().__init__(limit=2**24)
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.gone.set()


async def read_request(reader: asyncio.StreamReader) -> HttpRequest | None:
    """Return the next request of a connection, None when the client has closed it."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    raw = await _read_body(reader, headers)
    return HttpRequest(method, target.partition("?")[0], headers, _parsed(raw))


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def response(
    status: int,
    body: bytes,
    *,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return a whole response; the connection stays open."""
    return _head(status, {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}) + body


def stream_head() -> bytes:
    """Return the head of a stream of server-sent events, whose pieces come through `stream_piece`."""
    return _head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})


def stream_piece(data: bytes) -> bytes:
    """Return one piece of a stream; an empty one ends it."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Overloaded"
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
