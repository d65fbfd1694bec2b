"""Server-sent events (WHATWG HTML, section 9.2): one response that goes on while its reader keeps up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from weakref import WeakSet

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

HEARTBEAT_SECONDS = 15.0
"""How long a stream is silent before it sends a comment, so that nobody in between takes it for dead."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event; `data` has no line break."""

    data: bytes
    event: str | None = None
    id: str | None = None

    def encode(self) -> bytes:
        r"""Return the event's bytes.

        >>> ServerSentEvent(b"{}", "version", "7").encode()
        b'event: version\nid: 7\ndata: {}\n\n'
        """
        head = f"event: {self.event}\n" if self.event else ""
        head += f"id: {self.id}\n" if self.id is not None else ""
        return head.encode() + b"data: " + self.data + b"\n\n"


STOPPING = ServerSentEvent(b'{"message": "The server is stopping. Open the stream again where it was."}', "stopping")
"""The last event of an endless stream; it has no id, so that the one before it stays the last that was seen."""


class EventStream(Response):
    """A response of server-sent events, as the events come.

    An event is asked for only when the one before was handed to the connection, so that a slow reader costs one event's
    memory. The connection cuts off a reader that is too slow (`server/connections.py`); it can resume where it was.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[ServerSentEvent], status_code: int = 200, *, endless: bool = False
    ) -> None:
        """Send `events` until they end or the reader goes away; an `endless` stream also ends when the server stops."""
        super().__init__(status_code=status_code, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        # An endless stream may be silent for long; nginx sends a browser, by HTTP/2, no head before a body.
        self._first = b":\n\n" if endless else b""
        self._stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if endless:
            _endless.add(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head at once, then the events, and comments between them when they are long in coming."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sender = _Sender(send)
        _read.add(self)
        try:
            await sender.send(self._first)
            await self._send_while_read(sender, receive)
        finally:
            _read.discard(self)
        if self._stopping.done():
            await sender.send(STOPPING.encode())
        await sender.send(b"", last=True)

    def stop(self) -> None:
        """End the stream; its reader can resume it elsewhere or later."""
        if not self._stopping.done():
            self._stopping.set_result(None)

    async def _send_while_read(self, sender: _Sender, receive: Receive) -> None:
        """Send until the events end, the reader goes away or the stream is stopped."""
        sending = asyncio.create_task(self._send_events(sender))
        leaving = asyncio.create_task(disconnected(receive))
        try:
            while not (sending.done() or leaving.done() or self._stopping.done()):
                await sender.break_silence()
                await asyncio.wait(
                    (sending, leaving, self._stopping),
                    timeout=HEARTBEAT_SECONDS - sender.silent_for() % HEARTBEAT_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send_events(self, sender: _Sender) -> None:
        async with aclosing(self._events) as events:  # type: ignore[type-var]
            async for event in events:
                await sender.send(event.encode())
                await asyncio.sleep(0)  # a stream that has much to tell lets the others have their turn


class _Sender:
    """Hands pieces of a body to a connection, one after the other."""

    def __init__(self, send: Send) -> None:
        """Start with nothing sent."""
        self._send = send
        self._one_at_a_time = asyncio.Lock()
        self._sent_at = 0.0

    async def send(self, body: bytes, *, last: bool = False) -> None:
        """Send a piece, once the reader has taken most of those before."""
        async with self._one_at_a_time:
            await self._send({"type": "http.response.body", "body": body, "more_body": not last})
        self._sent_at = asyncio.get_running_loop().time()

    def silent_for(self) -> float:
        """Return the seconds since the last piece was sent."""
        return asyncio.get_running_loop().time() - self._sent_at

    async def break_silence(self) -> None:
        """Send a comment if it has been silent for long."""
        if self.silent_for() >= HEARTBEAT_SECONDS and not self._one_at_a_time.locked():
            await self.send(b": heartbeat\n\n")


def end_endless_streams() -> None:
    """End the streams that would hold up a server that stops."""
    for stream in list(_endless):
        stream.stop()


def readers() -> int:
    """Return how many streams of this process are being read."""
    return len(_read)


_read: set[EventStream] = set()
_endless: WeakSet[EventStream] = WeakSet()


async def disconnected(receive: Receive) -> None:
    """Wait until the client of a request whose body has been read goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass
