"""What every request passes before a route sees it: the path's last slash, the key, its origin, the body's size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from folkmoot.errors import BadRequest, CrossSite, FolkmootError, TooLarge, Unauthorized
from folkmoot.server.errors import error_response
from folkmoot.web.session import Sessions, comes_from_elsewhere

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/v1/health", "/v1/ready"})
"""What may be asked without the key."""


class Gate:
    """ASGI middleware in front of the whole application."""

    def __init__(self, application: Application, sessions: Sessions, max_body: int) -> None:
        """Guard `application`.

        Args:
            application: what a request that passes goes to.
            sessions: knows who may send requests under /v1: who has the key, or a session of the pages.
            max_body: bytes that a body may have.
        """
        self._application = application
        self._sessions = sessions
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer why not."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        # Clients differ in the last slash; a redirect would drop bodies and headers.
        if scope["path"].startswith("/v1/") and scope["path"].endswith("/"):
            scope["path"] = scope["path"].rstrip("/")
        try:
            self._check(scope)
        except FolkmootError as error:
            await error_response(error)(scope, receive, send)
            return
        limited = _Limited(receive, send, self._max_body)
        await self._application(scope, limited.receive, limited.send)
        if limited.exceeded:
            await error_response(_too_large(self._max_body))(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if scope["path"].startswith("/v1") and scope["path"] not in OPEN_PATHS and not self._sessions.admits(headers):
            raise Unauthorized
        if comes_from_elsewhere(scope["method"], headers) and not self._sessions.has_key(headers):
            raise CrossSite
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body:
            raise _too_large(self._max_body)
        if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
            raise BadRequest("The address contains a NUL character; remove it.")


class _Limited:
    """A body that is counted as it comes, for requests that do not tell its length.

    Once it is too large the application is told so, and whatever it answers to that is kept back.
    """

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._left = limit
        self._limit = limit
        self._started = False

    @property
    def exceeded(self) -> bool:
        """Whether the body was too large and nothing has been answered yet."""
        return self._left < 0 and not self._started

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise _too_large(self._limit)
        return message

    async def send(self, message: Message) -> None:
        if not self.exceeded:
            self._started = True
            await self._send(message)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        f"The request's body is larger than {limit:,} bytes. Send less, or raise FOLKMOOT_MAX_BODY on the server."
    )
