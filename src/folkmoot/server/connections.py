"""One client's connection: uvicorn's, with an end for whoever sends or reads too slowly.

There is one rule for both directions: `PIECE` bytes, or what is left, must come or go within the time that
`FOLKMOOT_REQUEST_TIMEOUT` gives. A stream that has nothing to say, a turn that takes long, and a connection between two
requests (which uvicorn closes after `serving.REST_SECONDS`) owe nothing and stay.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from folkmoot.errors import FolkmootError, HeadTooLarge, ServerFull, SlowRequest
from folkmoot.sandbox.calls import SOURCE
from folkmoot.server.errors import error_body, error_response

logger = logging.getLogger(__name__)

PIECE = 64 * 1024
"""Bytes of a body, or of an answer, that must have come or gone when the time is over."""

LARGEST_HEAD = 64 * 1024
"""Bytes of a request's first line and headers, or of whatever else is not its body."""

LOOKS = 4
"""How often a connection is looked at while its time runs."""

SPARE = 100
"""Connections beyond the most that are heard out, to be told so; further ones are closed at once."""

LINGER = 2.0
"""Seconds without a byte after which a refused client is left. Until then what it still sends is read and dropped:
closing on it would reset the connection, and take the answer from a client that has not read it yet."""

LONGEST_LINGER = 30.0
"""Seconds after which it is left whatever it sends; 20 MB come in that time at 6 Mbit/s."""

OTHER_FILES = 256
"""Open files beside clients' connections: the database, models, tools."""

_AT_ONCE = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing drops what the kernel still holds for the client."""


class Connection(HttpToolsProtocol):
    """A connection that is cut when its client holds it up, and refused when there are too many."""

    def __init__(self, *given: Any, timeout: float, most: int, **named: Any) -> None:
        """Serve one client.

        Args:
            given: uvicorn's own arguments.
            timeout: seconds for a head, and for each further piece of a body or an answer.
            most: connections of this process beyond which those at rest are closed, or else requests answered 503.
            named: uvicorn's own arguments.
        """
        super().__init__(*given, **named)
        self._timeout = timeout
        self._most = most
        self._looking: asyncio.TimerHandle | None = None
        self._due: float | None = None  # when the client must have sent more; None while it owes nothing
        self._in_head = False
        self._no_body = 0  # bytes that came since the last that belonged to a body
        self._body = 0  # bytes of a body since there was time anew
        self._unread: tuple[int, float] | None = None  # how much waits for the client, and since when
        self._refused = False
        self._heard = self._left_at = 0.0  # of a refused client: when it last sent something, and its end at the latest

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head; with too many connections, only to refuse the request."""
        super().connection_made(transport)
        if len(self.connections) > self._most + SPARE:
            self._abort()
            return
        if len(self.connections) > self._most and not self._close_resting():
            self.app = partial(_refuse_full, self._most)
        self._owe()
        self._looking = self.loop.call_later(self._timeout / LOOKS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; whatever it is, it must become a whole request in time."""
        if self._refused:
            self._heard = self.loop.time()
            return
        if self._due is None:
            self._owe()
        self._no_body += len(data)
        super().data_received(data)
        if self._no_body > LARGEST_HEAD and not self.transport.is_closing():
            self._refuse(HeadTooLarge(f"The request's head is larger than {LARGEST_HEAD:,} bytes. Send less in it."))

    def on_message_begin(self) -> None:
        """Begin with a head."""
        self._in_head = True
        if self._due is None:  # it came together with the request before it
            self._owe()
        super().on_message_begin()
        self.scope["state"]["from_code"] = self.client is not None and self.client[0] == SOURCE

    def on_headers_complete(self) -> None:
        """Go on with a body, for which there is time anew."""
        self._in_head = False
        self._owe()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = _WithHead(self.transport, self.loop, self._end)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; there is time anew with each piece."""
        self._no_body = 0
        self._body += len(body)
        if self._body >= PIECE:
            self._owe()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for nothing more from the client."""
        self._due, self._no_body = None, 0
        super().on_message_complete()
        # Answered before its body had come; a request to change the protocol has no cycle.
        if self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def resume_writing(self) -> None:
        """Go on with an answer that the client has read a good part of."""
        self._unread = None
        super().resume_writing()

    @property
    def rests_until(self) -> float | None:
        """When it is closed unless a request comes; None amid one, and on the way to its end."""
        task = self.timeout_keep_alive_task
        return None if task is None or self._refused or self.transport.is_closing() else task.when()

    def _close_resting(self) -> bool:
        """Close the connection that has been longest between two requests, for room; tell if there is one."""
        resting = [
            (until, number, other)
            for number, other in enumerate(self.connections)
            if isinstance(other, Connection) and (until := other.rests_until) is not None
        ]
        if resting:
            min(resting)[2].timeout_keep_alive_handler()
        return bool(resting)

    def _owe(self) -> None:
        self._due, self._body = self.loop.time() + self._timeout, 0

    def _look(self) -> None:
        """Cut the client off when its time is over, else look again later."""
        now = self.loop.time()
        if self._leaves_unread(now):
            logger.warning("A client read too slowly and was cut off")
            self._abort()
        elif self._due is not None and now >= self._due and not self.transport.is_closing():
            self._end_wait()
        self._looking = self.loop.call_later(self._timeout / LOOKS, self._look)

    def _leaves_unread(self, now: float) -> bool:
        """Tell whether the client's time is over in which it should have read a piece of its answer, or the rest."""
        waiting = self.transport.get_write_buffer_size()
        grows = not (self.flow.write_paused or self.transport.is_closing()) and self._is_answering()
        if not waiting or grows:
            self._unread = None
            return False
        if self._unread is None or waiting > self._unread[0] or waiting <= self._unread[0] - PIECE:
            self._unread = waiting, now
        return now - self._unread[1] >= self._timeout

    def _end_wait(self) -> None:
        """Cut a client off that does not send what it owes, unless this server is what it waits for."""
        answering = self._is_answering()
        if self.flow.read_paused or (answering and not self.cycle.more_body):
            self._owe()
        elif self._in_head or (answering and not self.cycle.response_started):
            self._refuse(
                SlowRequest(
                    f"The request did not come: {self._timeout:g} seconds are for its head, and for each "
                    f"{PIECE // 1024} KiB of its body (FOLKMOOT_REQUEST_TIMEOUT)."
                )
            )
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, error: FolkmootError) -> None:
        """Answer instead of the application, and close."""
        if self._is_answering():  # for the application the client is gone
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = json.dumps(error_body(error)).encode()
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[error.status] + head + body)
        self._linger()

    def _end(self) -> None:
        """Close behind an answer after which the connection is not kept."""
        if self.cycle.more_body:  # it was answered before it had come
            self._linger()
        else:
            self.transport.close()

    def _linger(self) -> None:
        """Say that nothing more comes, and close when the client has done so, or sends nothing more."""
        self._refused, self._due = True, None
        self._heard = self.loop.time()
        self._left_at = self._heard + LONGEST_LINGER
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER, self._leave)

    def _leave(self) -> None:
        """Close behind a refused client, unless it still sends."""
        left = min(self._heard + LINGER, self._left_at) - self.loop.time()
        if left > 0 and not self.transport.is_closing():
            self.loop.call_later(left, self._leave)
        else:
            self.transport.close()

    def _abort(self) -> None:
        """Close at once: what waits for the client, here and in the kernel, is dropped."""
        if (end := self.transport.get_extra_info("socket")) is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()


class _WithHead:
    """Where an answer is written: its head waits for what follows at once, and both go in one call of the kernel.

    The head of an answer that has nothing to say yet goes when the event loop turns to something else.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
        self._transport = transport
        self._end = end
        self._loop = loop
        self._head: bytes | None = None
        self._begun = False

    def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if not self._begun:
            self._begun, self._head = True, data
            self._loop.call_soon(self._write_head)
        elif self._head is None:
            self._transport.write(data)
        else:
            self._transport.writelines((self._head, data))
            self._head = None

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._write_head()
        self._end()

    def _write_head(self) -> None:
        if self._head is not None and not self._transport.is_closing():
            self._transport.write(self._head)
        self._head = None


async def _refuse_full(most: int, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request for which there is no room."""
    response = error_response(
        ServerFull(
            f"The server has as many connections as it takes, {most:,}. Try again in a moment, "
            "or raise FOLKMOOT_MAX_CONNECTIONS on the server."
        )
    )
    response.headers["Retry-After"], response.headers["Connection"] = "1", "close"
    await response(scope, receive, send)


def make_room(most: int) -> int:
    """Raise this process's limit of open files for so many connections; return for how many it is enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = most + SPARE + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return most
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    room = max(raised - SPARE - OTHER_FILES, 1)
    if room < most:
        logger.warning("Only %d connections are taken: this process may open %d files (ulimit -n)", room, raised)
    return room
