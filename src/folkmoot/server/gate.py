"""What every request passes before a route sees it: the path's last slash, the name it is for, who asks and from where,
the body's size.

Every path is closed, be there a route or not, unless it stands in `OPEN_PATHS` or below `OPEN_FOLDER`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from time import perf_counter
from typing import Any, TypeAlias
from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from starlette.responses import Response
from starlette.routing import Match

from folkmoot import tracing
from folkmoot.access.authentication import LOOK_AGAIN_SECONDS, Authentication
from folkmoot.access.keys import CHANGED
from folkmoot.access.principals import Principal
from folkmoot.errors import (
    BadRequest,
    CrossSite,
    FolkmootError,
    Forbidden,
    Misdirected,
    ServerStopped,
    TooLarge,
    Unauthorized,
)
from folkmoot.metrics import REQUEST_SECONDS, REQUESTS
from folkmoot.outbound.addresses import is_loopback
from folkmoot.server.authorization import METRICS, authorize
from folkmoot.server.errors import answer_error, error_response
from folkmoot.server.hosts import Hosts, host_name
from folkmoot.server.origins import comes_from_elsewhere, origin_of
from folkmoot.store.engine import Store
from folkmoot.tracing import NO_SPAN, Span

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN_PATHS = frozenset({"/v1/health", "/v1/ready", "/login", "/v1/tools/mcp/oauth/callback"})
"""What may be asked without the key; who comes back from signing in elsewhere has the state of that as proof."""

OPEN_FOLDER = "/static/"
"""Below it are files that are the same for everybody."""


UPLOADS = re.compile(r"(?:/v1)?/(?:folders|sources)/[^/]+/upload")
"""Where files are sent, which are larger than other bodies."""


def is_upload(path: str) -> bool:
    """Tell whether a request's body is an uploaded file, which goes to the disk as it comes."""
    return UPLOADS.fullmatch(path) is not None


def is_open(path: str) -> bool:
    """Tell whether a path may be asked without the key."""
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


STOPPED = "The server was stopped before it could answer. What was asked may have been done or not: look, or ask again."


class Gate:
    """ASGI middleware in front of the whole application."""

    def __init__(
        self,
        application: Application,
        authentication: Authentication,
        hosts: Hosts,
        origins: Collection[str],
        max_body: int,
        max_upload: int,
    ) -> None:
        """Guard `application`.

        Args:
            application: what a request that passes goes to; it finds who asks in the scope as `principal`, None on
                open paths where nobody needs to be known.
            authentication: knows who sends requests.
            hosts: the names that the server answers under.
            origins: the origins of other sites whose pages may change something.
            max_body: bytes that a body may have.
            max_upload: bytes that a body with an uploaded file may have.
        """
        self._application = application
        self._authentication = authentication
        self._hosts = hosts
        self._origins = frozenset(origin.encode() for origin in origins)
        self._max_body = max_body
        self._max_upload = max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, or answer why not; and count it."""
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        answer = _Answer(send)
        with _span(scope) as span:
            try:
                await self._serve(scope, receive, answer.send)
            except asyncio.CancelledError:  # as uvicorn ends what is left when a stop takes too long
                if answer.has_begun or not scope["app"].state.server.supervisor.is_stopping:
                    raise
                await answer_error(ServerStopped(STOPPED), scope)(scope, receive, answer.send)
            finally:
                answer.count(scope, span)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # no route speaks WebSocket
            await send({"type": "websocket.close", "code": 1008})
            return
        # Clients differ in the last slash; a redirect would drop bodies and headers.
        if scope["path"].endswith("/") and scope["path"].startswith(("/v1/", "/openai/", "/mcp/")):
            scope["path"] = scope["path"].rstrip("/")
        headers = dict(scope["headers"])
        try:
            await self._check(scope, headers)
        except Unauthorized as error:
            await _lead_to_sign_in(scope, headers, error)(scope, receive, send)
            return
        except FolkmootError as error:
            await answer_error(error, scope)(scope, receive, send)
            return
        principal: Principal | None = scope["principal"]
        if principal is not None and principal.kind != "server_key":
            receive = self._while_known(scope, headers, receive)
        limited = _Limited(scope, receive, send, self._most(scope))
        await self._application(scope, limited.receive, limited.send)
        if limited.exceeded:
            await answer_error(limited.refusal(), scope)(scope, receive, send)

    def _most(self, scope: Scope) -> int:
        """Return the bytes that a request's body may have."""
        return self._max_upload if is_upload(scope["path"]) else self._max_body

    async def _check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        host = _only_host(scope, headers)
        from_code = scope.get("state", {}).get("from_code")
        own = not from_code and scope["path"] == METRICS and _is_this_machines(scope, headers, host)
        opened = is_open(scope["path"]) or own
        store: Store | None = None if opened else scope["app"].state.server.store
        principal = await self._authentication.identify(headers, store)
        if principal is not None and from_code and not principal.sends_key:
            principal = None  # code in the sandbox is nobody without the key that it was lent
        has_key = principal is not None and principal.sends_key
        # Who has the key is no page of a foreign name: it could not know the key.
        if not self._hosts.serves(host, scope["server"][0] if scope["server"] else "") and not has_key:
            raise Misdirected(
                f"This server does not answer under the name {host_name(host)!r}. If it should, add the name to "
                "FOLKMOOT_ALLOWED_HOSTS and start it again."
            )
        if principal is None and not opened:
            raise Unauthorized
        if not has_key and comes_from_elsewhere(scope["method"], headers) and not self._lets_in(principal, headers):
            raise CrossSite
        scope["principal"] = principal  # from here on a person reads a refusal as a page
        if principal is not None and not opened:
            _check_origin(principal, headers)
            authorize(principal, scope["method"], scope["path"])
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most(scope):
            raise _too_large(scope, self._most(scope))
        if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
            raise BadRequest("The address contains a NUL character; remove it.")

    def _while_known(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> Receive:
        """Return `receive`, which also takes the client for gone once its key does not open this: streams end then."""
        has_body = True

        async def receive_or_leave() -> Message:
            nonlocal has_body
            if has_body:  # what was sent with the key; only what goes on afterwards has to be watched
                message = await receive()
                has_body = message["type"] == "http.request" and message.get("more_body", False)
                return message
            store: Store = scope["app"].state.server.store
            with store.signals.listening(CHANGED) as changed:
                leaving = asyncio.ensure_future(receive())
                try:
                    while not await _done_or_changed(leaving, changed):
                        if not await self._may_still(scope, headers, store):
                            return {"type": "http.disconnect"}
                    return leaving.result()
                finally:
                    leaving.cancel()

        return receive_or_leave

    async def _may_still(self, scope: Scope, headers: Mapping[bytes, bytes], store: Store) -> bool:
        """Tell whether a request would pass again: its key or session lasts, and reaches what it did."""
        principal = await self._authentication.identify(headers, store)
        if principal is None:
            return False
        try:
            authorize(principal, scope["method"], scope["path"])
        except Forbidden:
            return False
        return True

    def _lets_in(self, principal: Principal | None, headers: Mapping[bytes, bytes]) -> bool:
        """Tell whether another site's page may change something without the key; never with a session's cookie."""
        return principal is not None and principal.kind == "local" and headers.get(b"origin") in self._origins


async def _done_or_changed(task: asyncio.Future[Message], changed: asyncio.Event) -> bool:
    """Wait until a task is done, an event is set, or it is time to look by oneself; tell whether the task is done."""
    woken = asyncio.ensure_future(changed.wait())
    try:
        await asyncio.wait((task, woken), timeout=LOOK_AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    finally:
        woken.cancel()
    changed.clear()
    return task.done()


def _check_origin(principal: Principal, headers: Mapping[bytes, bytes]) -> None:
    """Refuse a scoped token that a page of another origin than its own sends; programs say no origin.

    Raises:
        Forbidden: it is another page's.
    """
    origin = headers.get(b"origin")
    if principal.policy is None or origin is None:
        return
    if origin_of(origin.decode("latin-1")) != principal.policy.origin:
        raise Forbidden(f"This token is for pages of {principal.policy.origin} only.")


_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")


def _is_this_machines(scope: Scope, headers: Mapping[bytes, bytes], host: bytes) -> bool:
    """Tell whether a program of this machine asks, by the machine's own name: no proxy, no page, no code of agents."""
    client = scope["client"]
    if client is None or scope.get("state", {}).get("from_code") or b"origin" in headers:
        return False
    if any(name in headers for name in _FORWARDED):
        return False
    return is_loopback(client[0]) and is_loopback(host_name(host))


def _only_host(scope: Scope, headers: Mapping[bytes, bytes]) -> bytes:
    """Return a request's `Host` header.

    Raises:
        BadRequest: it has none, or several.
    """
    host = headers.get(b"host")
    several = len(headers) != len(scope["headers"]) and sum(name == b"host" for name, _ in scope["headers"]) > 1
    if host is None or several:
        raise BadRequest("A request needs one Host header, which names the server it is for.")
    return host


def _lead_to_sign_in(scope: Scope, headers: Mapping[bytes, bytes], error: Unauthorized) -> Response:
    """Return what somebody unknown is answered: a browser that asks for a page is led to the sign-in."""
    reads = scope["method"] in ("GET", "HEAD")
    inside_page = b"hx-request" in headers
    if (inside_page and not reads) or not (inside_page or b"text/html" in headers.get(b"accept", b"")):
        return error_response(error, scope["path"])
    query = scope["query_string"].decode("latin-1")
    wanted = {"next": quote(scope["path"]) + (f"?{query}" if query else "")}
    if not reads:  # a form whose session has ended
        wanted = {"next": _page_of_form(scope, headers), "ended": "true"}
    address = "/login?" + urlencode(wanted)
    if inside_page:
        return Response(status_code=204, headers={"HX-Redirect": address})
    return Response(status_code=303, headers={"Location": address})


def _page_of_form(scope: Scope, headers: Mapping[bytes, bytes]) -> str:
    """Return the page that a form stands on: what the browser says, else its address without what it does."""
    try:
        page = urlsplit(headers.get(b"referer", b"").decode("latin-1"))
    except ValueError:
        page = urlsplit("")
    asked = {**scope, "method": "GET", "path": unquote(page.path)}
    is_ours = page.netloc.encode("latin-1") == headers.get(b"host")
    # A form that was refused once stands at the address that it was sent to, which may be no page.
    if is_ours and any(route.matches(asked)[0] is Match.FULL for route in scope["app"].routes):
        return urlunsplit(("", "", page.path, page.query, ""))
    return quote(scope["path"].rpartition("/")[0] or "/")


class _Answer:
    """An answer on its way out, as it is counted."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._came = perf_counter()
        self._status = 0
        self._began = 0.0

    @property
    def has_begun(self) -> bool:
        return self._status != 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._began = message["status"], perf_counter()
        await self._send(message)

    def count(self, scope: Scope, span: Span) -> None:
        """Count the answer by its route, so that there are no more figures than routes."""
        if not self._status:  # its client left before, or it was no request
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", None)
        REQUESTS.add(method, route or "none", str(self._status))
        REQUEST_SECONDS.observe(self._began - self._came, method)
        if span is NO_SPAN:
            return
        span.tell({"http.route": route, "http.response.status_code": self._status})
        if route is not None:
            span.rename(f"{method} {route}")
        if self._status >= 500:
            span.fail(str(self._status))


UNTRACED = frozenset({"/v1/health", "/v1/ready", METRICS})
"""What machines ask for all the time."""


def _span(scope: Scope) -> Span:
    """Return the span of a request, under its caller's."""
    if not tracing.is_on() or scope["type"] != "http":
        return NO_SPAN
    path = scope["path"].rstrip("/")
    if path in UNTRACED or path.startswith(OPEN_FOLDER):
        return NO_SPAN
    method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
    known = {"http.request.method": method, "url.scheme": scope["scheme"]}
    return tracing.span(method, known, kind="server", parent=tracing.from_caller(dict(scope["headers"])))


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Limited:
    """A body that is counted as it comes, for requests that do not tell its length.

    Once it is too large the application is told so, and whatever it answers to that is kept back.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._limit = self._left = limit
        self._started = False

    @property
    def exceeded(self) -> bool:
        """Whether the body was too large and nothing has been answered yet."""
        return self._left < 0 and not self._started

    def refusal(self) -> TooLarge:
        return _too_large(self._scope, self._limit)

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise self.refusal()
        return message

    async def send(self, message: Message) -> None:
        if not self.exceeded:
            self._started = True
            await self._send(message)


def _too_large(scope: Scope, limit: int) -> TooLarge:
    setting = "FOLKMOOT_MAX_FILE" if is_upload(scope["path"]) else "FOLKMOOT_MAX_BODY"
    return TooLarge(f"The request's body is larger than {limit:,} bytes. Send less, or raise {setting} on the server.")
