"""`/mcp`: requests of the Model Context Protocol, behind the same gate as all others.

The SDK takes most of a second and some 30 MB to load, so that it is loaded when somebody first asks. Each request
stands for itself: any process answers it. Clients of the protocol's older revisions have sessions (`sessions.py`),
with a stream that is told of changes.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from folkmoot.errors import FolkmootError
from folkmoot.loading import load
from folkmoot.mcp_server.lists import lists_of
from folkmoot.mcp_server.member import Member
from folkmoot.mcp_server.sessions import HEADER, called, client_of, new_session_id, session_of, told
from folkmoot.server.bodies import SMALL, check_values
from folkmoot.server.errors import error_response
from folkmoot.server.event_stream import EventStream
from folkmoot.server.state import ServerState

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

PATH = "/mcp"
CLIENT = "folkmoot.client"
"""Where a request's scope has what the client of its session called itself."""

_SUBSCRIBES = b'"subscriptions/listen"'
_STREAMED = (b'"ask_agent"', b'"progressToken"', _SUBSCRIBES)
"""What stands in requests whose answer may be a stream: all others are answered at once, as JSON."""

_MODULES = ("mcp.server.streamable_http_manager", "folkmoot.mcp_server.protocol")


class Door:
    """The ASGI application at `/mcp`."""

    def __init__(self, max_body: int) -> None:
        """Take bodies of `max_body` bytes at the most."""
        self._max_body = max_body
        self._opening = asyncio.Lock()
        self._stopped, self._closed = asyncio.Event(), asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._managers: tuple[StreamableHTTPSessionManager, StreamableHTTPSessionManager] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] != "POST":
            await self._of_session(scope)(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        try:
            if len(body) > SMALL:
                await asyncio.to_thread(check_values, body)
            if (named := _initializing(body)) is not None:
                send = _with_session(new_session_id(named, await lists_of(_member(scope, named))), send)
        except FolkmootError as error:
            await error_response(error, PATH)(scope, receive, send)
            return
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]  # which HTTP leaves to us
        whole, streamed = await self._opened()
        session_id = Headers(scope=scope).get(HEADER)
        scope[CLIENT] = client_of(session_id) if session_id is not None else None
        manager = streamed if _is_streamed(scope, body) else whole
        await manager.handle_request(scope, _replayed(body, receive), send)

    def _of_session(self, scope: Scope) -> Response:
        """Answer a request for a session's stream; there is no end to a session but that nobody listens to it."""
        session_id = Headers(scope=scope).get(HEADER)
        if session_id is None or scope["method"] != "GET":
            return Response(status_code=405, headers={"Allow": "GET, POST"})
        member = _member(scope, client_of(session_id) or "")
        try:
            session = session_of(member, session_id)
        except FolkmootError as error:
            return error_response(error, PATH)
        return EventStream(told(member, session, self._stopped))

    async def close(self) -> None:
        """End the subscriptions, and whatever is still being answered."""
        self._stopped.set()
        self._closed.set()
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)

    def stop(self) -> None:
        """End the subscriptions, which would hold up a server that stops."""
        self._stopped.set()

    async def _opened(self) -> tuple[StreamableHTTPSessionManager, StreamableHTTPSessionManager]:
        """Return what answers whole and what answers with streams, loaded at the first request."""
        async with self._opening:
            if self._managers is None:
                loaded: Any = await asyncio.to_thread(load, *_MODULES)
                ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                self._serving = asyncio.create_task(self._serve(loaded, ready))
                await asyncio.wait((ready, self._serving), return_when=asyncio.FIRST_COMPLETED)
                if not ready.done():
                    self._serving.result()
                self._managers = ready.result()
            return self._managers

    async def _serve(self, loaded: Any, ready: asyncio.Future[Any]) -> None:
        """Hold open, in one task, what the SDK closes in the task that opened it."""
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        server = loaded.make_server(self._stopped)
        managers = [
            StreamableHTTPSessionManager(
                server, stateless=True, json_response=whole, max_request_body_size=self._max_body
            )
            for whole in (True, False)
        ]
        async with managers[0].run(), managers[1].run():
            ready.set_result(tuple(managers))
            await self._closed.wait()


def _is_streamed(scope: Scope, body: bytes) -> bool:
    """Tell whether a request is answered with a stream; the SDK, which wants both forms accepted, finds it so.

    Many clients accept only one form, or say nothing of it. Who waits for a subscription has to take a stream.
    """
    from mcp.server.streamable_http import check_accept_headers

    request = Request(scope)
    takes_whole, takes_stream = check_accept_headers(request) if request.headers.get("accept") else (True, True)
    if takes_whole or takes_stream:
        others = [header for header in scope["headers"] if header[0] != b"accept"]
        scope["headers"] = [*others, (b"accept", b"application/json, text/event-stream")]
    wanted = any(mark in body for mark in _STREAMED)
    return wanted and (takes_stream or _SUBSCRIBES in body) if takes_whole else True


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body which has been read, then what follows it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _member(scope: Scope, client: str) -> Member:
    """Return who sends a request, by a client that calls itself so."""
    state: ServerState = scope["app"].state.server
    return Member(state.of(scope["principal"], client))


def _with_session(session: str, send: Send) -> Send:
    """Return a `send` that gives a client its new session's identifier."""

    async def send_with_session(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            MutableHeaders(scope=message)[HEADER] = session
        await send(message)

    return send_with_session


def _initializing(body: bytes) -> str | None:
    """Return what a client calls itself in its first request; None where it is no such request."""
    if b'"initialize"' not in body:
        return None
    try:
        asked = json.loads(body)
        if asked["method"] != "initialize":
            return None
        info = asked["params"]["clientInfo"]
        return called(info["name"], info["version"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
