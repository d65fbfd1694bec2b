"""The HTTP client that servers of tools are asked with: it dials only what may be dialled, and reads only so much.

What goes wrong with one request becomes an answer to that request. Otherwise the SDK would end the whole connection,
and with it the calls of others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError, OAuthRegistrationError

from folkmoot import __version__
from folkmoot.errors import AddressRefused, FolkmootError
from folkmoot.outbound.connections import guarded_transport
from folkmoot.tools.mcp.allowance import LARGEST_MESSAGE, LINE, Allowance
from folkmoot.tools.mcp.configuration import MASK
from folkmoot.tools.mcp.legible import made_legible

if TYPE_CHECKING:
    import ssl

    from mcp.shared.auth import OAuthToken

CONNECT_TIMEOUT = 10.0
"""Seconds to connect; how long an answer may take is for who waits for it to say."""

HEARD_WITHIN = 10.0
"""Seconds for a server to take a message that has no answer, such as that a call was given up."""

UNREACHABLE = -32603
"""The code of an error that stands for an answer that did not come."""

SESSION_GONE = -39404
"""The code of an error that may mean that the server does not know the session any more."""

_SESSION_GONE = (httpx2.codes.BAD_REQUEST, httpx2.codes.NOT_FOUND, httpx2.codes.GONE)
"""The protocol has 404 for it; many servers answer 400, in words of their own."""

_WRONG_ADDRESS = (httpx2.codes.NOT_FOUND, httpx2.codes.METHOD_NOT_ALLOWED)
OTHER_ADDRESS = "Is its address right, with its path? A server of the older HTTP with events is of the type sse."

LONGEST_WORDS = 500
"""Characters of an answer that is not of the protocol which an error repeats."""

_SILENT = httpx2.Timeout(None, connect=CONNECT_TIMEOUT)


class ToolServerClient(httpx2.AsyncClient):
    """Sends the SDK's requests; a failure is answered as the protocol answers errors."""

    failures = (httpx2.HTTPError,)
    """What requests fail with."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        allowance: Allowance,
        *,
        allow_private: bool,
        auth: httpx2.Auth | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Make a client for one connection.

        Args:
            url: the server's address.
            headers: what every request carries.
            allowance: what the server may send.
            allow_private: connect to addresses that are not public, too.
            auth: adds a token to requests, and gets one.
            tls: certificates to trust; those of `outbound.certificates` when None.
        """
        super().__init__(
            headers={"User-Agent": f"Folkmoot/{__version__}", **headers},
            auth=auth,
            transport=_BoundedTransport(allowance, allow_private, tls),
            timeout=None,
            trust_env=False,
            follow_redirects=False,
        )
        self._host = httpx2.URL(url).host
        values = {part for value in headers.values() for part in (value, value.rpartition(" ")[2])}
        self._secrets = sorted((value for value in values if len(value) > 3), key=len, reverse=True)
        self._turned_away: str | None = None
        """Why a sign-in did not come about."""

        self.needs_authorization = False
        """Whether the server has turned a request away for want of a token."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request; for one that posts a message, a failure is an answer."""
        if self._turned_away is not None:  # nobody is asked to sign in twice
            return _failure(request, httpx2.codes.UNAUTHORIZED, self._turned_away)
        await request.aread()  # of one that follows a redirect, nobody has read what it sends
        try:
            async with asyncio.timeout(HEARD_WITHIN if _has_no_answer(request) else None):
                response = await super().send(request, **options)
        except OAuthFlowError as error:
            self.needs_authorization = True
            self._turned_away = f"{self._host} wants a sign-in: {str(error).rstrip('.')}."
            if isinstance(error, OAuthRegistrationError):
                self._turned_away += " It registers no clients by itself: use a token of its service as auth_token."
            return _failure(request, httpx2.codes.UNAUTHORIZED, self._turned_away)
        except (httpx2.HTTPError, FolkmootError, OSError) as error:
            if request.method != "POST":
                raise
            return _failure(request, httpx2.codes.BAD_GATEWAY, self.failure_text(error))
        self.needs_authorization = response.status_code == httpx2.codes.UNAUTHORIZED
        if request.method != "POST" or response.status_code < 400:
            return response
        return await self._refusal(request, response)

    async def _refusal(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Return the answer for a request that was turned away, in the server's own words where it has some."""
        body = response.content if response.is_stream_consumed else b""
        await response.aclose()
        said = f"{self._host} answered with status {response.status_code} {response.reason_phrase}".rstrip()
        error = _error_in(body)
        if error is None:
            words = _words_in(body, response.headers.get("content-type", ""))
            error = {"code": UNREACHABLE, "message": f"{said}: {words.rstrip('.')}." if words else f"{said}."}
        if "mcp-session-id" not in request.headers and response.status_code in _WRONG_ADDRESS:
            error["message"] += f" {OTHER_ADDRESS}"
        elif "mcp-session-id" in request.headers and response.status_code in _SESSION_GONE:
            error["code"] = SESSION_GONE
        return _failure(request, response.status_code, error, response.headers)

    def without_secrets(self, said: str) -> str:
        """Return what a server says without what it was told with each request."""
        for secret in self._secrets:
            said = said.replace(secret, MASK)
        return said

    def failure_text(self, error: BaseException) -> str:
        """Say in a sentence why the server could not be asked."""
        if isinstance(error, AddressRefused):
            return f"{error.message} FOLKMOOT_PRIVATE_MCP_SERVERS allows such addresses."
        if isinstance(error, FolkmootError):
            return error.message
        if isinstance(error, httpx2.HTTPStatusError):
            return f"{self._host} answered with status {error.response.status_code}."
        if isinstance(error, httpx2.TimeoutException | TimeoutError):
            return f"{self._host} could not be connected to within {CONNECT_TIMEOUT:g} seconds."
        return f"{self._host} could not be asked: {str(error).rstrip('.') or type(error).__name__}."


class SignedIn(httpx2.Auth):
    """Adds the token that is kept, and leaves to the SDK what it takes to get one.

    The SDK lets one request after the other through, each until it is answered; with a token that is valid there is
    nothing to wait for. Another process may have renewed it, so what is kept is looked at before that is done again.
    """

    def __init__(
        self,
        provider: OAuthClientProvider,
        look: Callable[[OAuthToken | None], Awaitable[None]],
        renew: Callable[[httpx2.Request], Awaitable[None]],
    ) -> None:
        """Add tokens to requests.

        Args:
            provider: has them.
            look: gives it those that are kept; told which were sent in vain, it lets these not be sent again.
            renew: has those renewed that are over, with which a request would be sent.
        """
        self._provider = provider
        self._look = look
        self._renew = renew
        self.issuer: str | None = None
        """What the server of sign-ins calls itself, to the letter; what it signs in with has to say the same."""

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send a request with the token, renewed once if it is over; without one, or when it is refused, as the SDK."""
        context, is_renewed = self._provider.context, False
        if not context.is_token_valid():
            await self._look(context.current_tokens)
        while context.is_token_valid() or (context.can_refresh_token() and not is_renewed):
            if not context.is_token_valid():
                is_renewed = True
                await self._renew(request)
                continue
            assert context.current_tokens is not None
            sent = context.current_tokens
            request.headers["Authorization"] = f"Bearer {sent.access_token}"
            response = yield request
            if response.status_code not in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
                return
            if response.status_code == httpx2.codes.FORBIDDEN:
                break
            await self._look(sent)
        context.token_expiry_time = None  # the SDK shall not renew it, too
        flow = self._provider.async_auth_flow(request)
        try:
            outgoing = await anext(flow)
            while True:
                response = yield outgoing
                outgoing = await flow.asend(await self._with_expected_issuer(response, context.auth_server_url))
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    async def _with_expected_issuer(self, response: httpx2.Response, expected: str | None) -> httpx2.Response:
        """Return what a server of sign-ins says of itself under the name that it was looked for by.

        The two are to be equal to the letter, which the SDK insists on; many differ by a slash at their end, Google's
        too.
        """
        if expected is None or response.status_code != httpx2.codes.OK or "/.well-known/" not in response.url.path:
            return response
        told = _json_in(await response.aread())
        issuer = told.get("issuer") if isinstance(told, dict) else None
        if not isinstance(issuer, str) or issuer.removesuffix("/") != expected.removesuffix("/"):
            return response
        self.issuer = issuer
        if issuer == expected:
            return response
        return httpx2.Response(200, json={**told, "issuer": expected}, request=response.request)


async def renew_tokens(provider: OAuthClientProvider, like: httpx2.Request, *, allow_private: bool) -> None:
    """Have the SDK renew a provider's tokens, or find that it cannot.

    It has a client for this once, so that no connection's end breaks it off.

    Args:
        provider: has tokens that are over, and one to renew them with.
        like: a request to the server; it is not sent.
        allow_private: connect to addresses that are not public, too.
    """
    request = httpx2.Request(like.method, like.url, headers=like.headers)
    flow = provider.async_auth_flow(request)
    transport = _BoundedTransport(Allowance(), allow_private, None)
    async with httpx2.AsyncClient(transport=transport, timeout=None, trust_env=False) as client:
        try:
            outgoing = await anext(flow)
            while outgoing is not request:
                outgoing = await flow.asend(await client.send(outgoing))
        finally:
            await flow.aclose()


class AnswerTooLong(httpx2.ReadError):
    """A server answered more than is read."""


class _BoundedTransport(httpx2.AsyncBaseTransport):
    """Sends requests where `guarded_transport` lets them, and reads answers within an allowance."""

    def __init__(self, allowance: Allowance, allow_private: bool, tls: ssl.SSLContext | None) -> None:
        self._allowance = allowance
        self._transport = guarded_transport(allow_private=allow_private, tls=tls)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return its answer, whole unless it is a stream of events."""
        # An answer that is packed could be a thousand times as long as it looks.
        request.headers["Accept-Encoding"] = "identity"
        request.extensions = {**request.extensions, "timeout": _SILENT.as_dict()}
        answer = await self._transport.handle_async_request(request)
        body = _Body(answer, self._allowance)
        headers = answer.headers.raw
        if answer.headers.get("content-encoding", "identity") != "identity":
            await body.aclose()
            raise AnswerTooLong(f"{request.url.host} answers packed, although it was asked not to.")
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            return httpx2.Response(answer.status_code, headers=headers, stream=_Lines(body))
        return httpx2.Response(answer.status_code, headers=headers, content=await made_legible(await body.whole()))

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._transport.aclose()


class _Body(httpx2.AsyncByteStream):
    """The body of an answer, read as fast as its server's allowance goes."""

    def __init__(self, answer: httpx2.Response, allowance: Allowance) -> None:
        self._answer = answer
        self._allowance = allowance

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._answer.aiter_raw():
                await self._allowance.spend(len(piece) + LINE * (piece.count(b"\n") + piece.count(b"\r")))
                yield piece
        except httpx2.HTTPError as error:
            raise httpx2.ReadError(f"the answer broke off: {error or type(error).__name__}") from error

    async def whole(self) -> bytes:
        """Return all of it.

        Raises:
            AnswerTooLong: it is longer than a message may be.
        """
        content = bytearray()
        try:
            async for piece in self:
                content += piece
                if len(content) > LARGEST_MESSAGE:
                    raise AnswerTooLong(f"the answer is longer than {LARGEST_MESSAGE:,} bytes")
        finally:
            await self.aclose()
        return bytes(content)

    async def aclose(self) -> None:
        """Let go of the connection; a server that does not end is left behind."""
        try:
            async with asyncio.timeout(1):
                await self._answer.aclose()
        except (TimeoutError, httpx2.HTTPError):
            return


class _Lines(httpx2.AsyncByteStream):
    """A stream of events, each line of it whole and legible."""

    def __init__(self, body: _Body) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        begun = bytearray()
        async for piece in self._body:
            end = max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1
            if end:
                yield await made_legible(bytes(begun) + piece[:end])
                begun.clear()
            begun += piece[end:]
            if len(begun) > LARGEST_MESSAGE:  # so that the SDK finds it too long
                yield bytes(begun)
                begun.clear()
        yield await made_legible(bytes(begun))

    async def aclose(self) -> None:
        """Let go of the connection."""
        await self._body.aclose()


def _has_no_answer(request: httpx2.Request) -> bool:
    """Tell whether a request posts a message that is only to be heard: a notification, or an answer of ours."""
    if request.method != "POST" or len(request.content) > 4096:
        return False
    message = json.loads(request.content)
    return not ("id" in message and "method" in message)


def _error_in(body: bytes) -> dict[str, Any] | None:
    """Return the error of a body, if it is one as the protocol has them."""
    answer = _json_in(body)
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    code = error.get("code")
    return {**error, "code": code if isinstance(code, int) else UNREACHABLE}


def _words_in(body: bytes, kind: str) -> str:
    """Return what a refusal says, in one of the forms that services have for it; a page for people says nothing."""
    if kind.startswith("text/plain"):
        return " ".join(body[: 4 * LONGEST_WORDS].decode(errors="replace").split())[:LONGEST_WORDS]
    answer = _json_in(body)
    if not isinstance(answer, dict):
        return ""
    said = (answer.get(name) for name in ("error_description", "message", "detail", "error"))
    return next((words[:LONGEST_WORDS] for words in said if isinstance(words, str) and words), "")


def _json_in(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _failure(
    request: httpx2.Request, status: int, error: str | Mapping[str, Any], headers: httpx2.Headers | None = None
) -> httpx2.Response:
    """Return an answer that says what went wrong, with what a status 401 tells of how to get a token."""
    challenge = headers.get("www-authenticate") if headers is not None else None
    told = {"code": UNREACHABLE, "message": error} if isinstance(error, str) else error
    kept = {"WWW-Authenticate": challenge} if challenge is not None else {}
    return httpx2.Response(
        status,
        headers={"Content-Type": "application/json", **kept},
        content=json.dumps({"jsonrpc": "2.0", "id": None, "error": told}).encode(),
        request=request,
    )
