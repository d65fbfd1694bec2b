"""Server-sent events (WHATWG HTML, section 9.2): one response that goes on while its reader keeps up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from weakref import WeakSet

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 15.0
"""How long a stream is silent before it sends a comment, so that nobody in between takes it for dead."""

SLOW_READER_SECONDS = 30.0
"""How long a reader may leave an event unread before it is cut off; it can resume where it was."""


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


class EventStream(Response):
    """A response of server-sent events, as the events come.

    An event is asked for only when the one before was handed to the connection, so that a slow reader costs one event's
    memory; one that takes longer than `SLOW_READER_SECONDS` is cut off.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncIterator[ServerSentEvent], status_code: int = 200, *, endless: bool = False
    ) -> None:
        """Send `events` until they end or the reader goes away; an `endless` stream also ends when the server stops."""
        super().__init__(status_code=status_code, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._stopping = asyncio.Event()
        if endless:
            _endless.add(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head at once, then the events."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        sending = asyncio.create_task(self._send_events(send))
        leaving = asyncio.create_task(_disconnected(receive))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({sending, leaving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, leaving, stopping):
                task.cancel()
            await asyncio.gather(sending, leaving, stopping, return_exceptions=True)
        if self._stopping.is_set():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def stop(self) -> None:
        """End the stream; its reader can resume it elsewhere or later."""
        self._stopping.set()

    async def _send_events(self, send: Send) -> None:
        try:
            async for chunk in _with_heartbeats(self._events):
                async with asyncio.timeout(SLOW_READER_SECONDS):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            logger.warning("A reader of a stream was too slow and was cut off")
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def end_endless_streams() -> None:
    """End the streams that would hold up a server that stops."""
    for stream in list(_endless):
        stream.stop()


_endless: WeakSet[EventStream] = WeakSet()


async def _with_heartbeats(events: AsyncIterator[ServerSentEvent]) -> AsyncIterator[bytes]:
    """Yield each event's bytes, and a comment after each long silence."""
    upcoming = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=HEARTBEAT_SECONDS)
            if not done:
                yield b": heartbeat\n\n"
                continue
            event = upcoming.result()
            if event is None:
                return
            yield event.encode()
            upcoming = asyncio.ensure_future(anext(events, None))
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
