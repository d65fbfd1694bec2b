"""Readers of many event streams, in a process of their own: `python -m bench.readers`.

They do as little as can be done, since they share the machine with the server: count each stream's events and keep the
last one. `POST /open` opens streams and answers when each has told its first event, `POST /wait` answers when the last
event of every stream contains a text, `POST /close` closes them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import urlsplit

from bench import answering

IN_EVERY_EVENT = b"data: "
"""What a heartbeat does not contain."""


class Stream(asyncio.Protocol):
    """One open stream."""

    def __init__(self, request: bytes, readers: Readers) -> None:
        """Send `request` once connected, and tell `readers` what comes."""
        self._request = request
        self._readers = readers
        self._rest = b""
        self._answered = False
        self.events = 0
        self.last = b""
        self.is_lost = False
        self.begun = asyncio.Event()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count whole events and keep the last."""
        if not self._answered and not data.startswith(b"HTTP/1.1 200") and self.transport is not None:
            self.transport.abort()
        self._answered = True
        *pieces, self._rest = (self._rest + data).split(b"\n\n")
        for piece in pieces:
            if IN_EVERY_EVENT in piece:
                self.events += 1
                self.last = piece
                self._readers.told(piece)
                self.begun.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that nothing more comes."""
        self.is_lost = True
        self._readers.lost(self)
        self.begun.set()


class Readers:
    """All streams of one server."""

    def __init__(self) -> None:
        """Start with none."""
        self._streams: list[Stream] = []
        self._wanted: bytes | None = None
        self._missing = 0
        self._all_told = asyncio.Event()

    async def respond(self, path: str, body: bytes) -> Any:
        """Do what one request asks for."""
        asked = json.loads(body) if body else {}
        if path == "/open":
            await self._open(asked["url"], asked["requests"], asked["a_second"])
        elif path == "/wait":
            await self._wait(asked["text"].encode())
        elif path == "/close":
            self._close()
        wanted = asked.get("text", "").encode()
        lost = sum(stream.is_lost and wanted not in stream.last for stream in self._streams)
        return {"events": [stream.events for stream in self._streams], "lost": lost}

    def told(self, event: bytes) -> None:
        """Hear of an event of one of the streams."""
        if self._wanted is not None and self._wanted in event:
            self._one_less()

    def lost(self, stream: Stream) -> None:
        """Hear of a stream that ended."""
        if self._wanted is not None and self._wanted not in stream.last:
            self._one_less()

    def _one_less(self) -> None:
        self._missing -= 1
        if self._missing == 0:
            self._all_told.set()

    async def _open(self, url: str, requests: Sequence[Sequence[str]], a_second: float) -> None:
        """Open a stream for each request, so many a second, and wait until each has told its first event."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.TaskGroup() as opening:
            for number, (method, path, content) in enumerate(requests):
                await asyncio.sleep(max(0.0, begun + number / a_second - loop.time()))
                message = (
                    f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(content.encode())}\r\n\r\n{content}"
                )
                stream = Stream(message.encode(), self)
                self._streams.append(stream)
                opening.create_task(_begin(stream, parts.hostname or "127.0.0.1", parts.port or 80))

    async def _wait(self, text: bytes) -> None:
        """Wait until every stream that goes on has told an event that contains `text`, as its last one."""
        self._wanted = text
        self._all_told.clear()
        self._missing = sum(text not in stream.last and not stream.is_lost for stream in self._streams)
        if self._missing:
            await self._all_told.wait()
        self._wanted = None

    def _close(self) -> None:
        for stream in self._streams:
            if stream.transport is not None:
                stream.transport.abort()
        self._streams = []


async def _begin(stream: Stream, host: str, port: int) -> None:
    await asyncio.get_running_loop().create_connection(lambda: stream, host, port)
    await stream.begun.wait()


if __name__ == "__main__":
    answering.run(Readers().respond)
