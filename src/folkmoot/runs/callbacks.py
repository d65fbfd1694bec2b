"""Telling a callback's address that a run has ended: one signed POST, tried again when it fails in a passing way.

With a secret, a request carries `Folkmoot-Signature: t=<unix seconds>,v1=<hex>`, where v1 is the HMAC-SHA256 of
`<t>.<body>`: the scheme of Stripe's webhooks (https://docs.stripe.com/webhooks#verify-manually). A receiver computes
it over the raw body, compares in constant time and refuses a time that is more than a few minutes off. The same run
may arrive twice, since an answer can get lost.

The address comes from whoever may start a run, so it must not lead into this server's own network: unless private
addresses are allowed, all that the host resolves to has to be public. The connection goes to an address that was
checked, never to the name again (which could by then resolve to another one), past any proxy, and follows no redirect.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from folkmoot.errors import InvalidInput
from folkmoot.store import clock

if TYPE_CHECKING:
    import ssl

    import httpx

SIGNATURE_HEADER = "Folkmoot-Signature"

TIMEOUT = 10.0
"""Seconds for one try, from looking the host up to the answer's status."""

PAUSES = (1.0, 4.0, 16.0)
"""Seconds before each further try."""

LONGEST_URL = 2083
"""Characters, as the contract has it."""

_MOST_ADDRESSES = 4
"""Addresses of a host that one try connects to, each with its share of the time."""

_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All of IPv6 that is assigned for addresses in the public network."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class CallbackResult:
    """What came of a callback. `error` is None when it was taken with a 2xx status."""

    status_code: int | None
    error: str | None
    sent_at: int
    """When the last try was made, in microseconds."""


@dataclass(frozen=True, slots=True)
class _Callback:
    url: httpx.URL
    content: bytes
    secret: bytes | None
    allow_private: bool
    tls: ssl.SSLContext

    @property
    def host(self) -> str:
        return self.url.raw_host.decode("ascii")


def check_callback_url(url: str, allow_private: bool) -> None:
    """Refuse an address that no callback may be sent to, as far as one can tell without looking its host up.

    Raises:
        InvalidInput: it is no http or https address, has no host or has credentials in it, or its host is written
            as an address that is not public.
    """
    _read_url(url, allow_private)


async def send_callback(
    url: str,
    body: Mapping[str, Any],
    *,
    secret: bytes | None,
    allow_private: bool,
    pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    tls: ssl.SSLContext | None = None,
) -> CallbackResult:
    """Send a callback and return what came of it; a failed delivery raises nothing.

    Args:
        url: where to.
        body: sent as JSON.
        secret: key of the signature; not signed when None.
        allow_private: also send to addresses that are not public.
        pause: waits the given seconds between two tries.
        tls: certificates to trust; those that httpx comes with when None.
    """
    content = json.dumps(body, separators=(",", ":")).encode("ascii")
    try:
        callback = _Callback(_read_url(url, allow_private), content, secret, allow_private, tls or _default_tls())
    except InvalidInput as error:
        return CallbackResult(None, error.message, clock.now())
    for seconds in PAUSES:
        result, passing = await _try(callback)
        if not passing:
            return result
        await pause(seconds)
    result, _ = await _try(callback)
    return result


def signature(secret: bytes, timestamp: int, content: bytes) -> str:
    """Return the value of the signature header for a body sent at a unix time."""
    digest = hmac.new(secret, b"%d." % timestamp + content, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


async def _try(callback: _Callback) -> tuple[CallbackResult, bool]:
    """Send once; return what came of it and whether it may go better later."""
    import httpx

    sent_at = clock.now()
    try:
        async with asyncio.timeout(TIMEOUT):
            status = await _post(callback, await _resolve(callback))
    except InvalidInput as error:
        return CallbackResult(None, error.message, sent_at), False
    except (TimeoutError, httpx.TimeoutException):
        return CallbackResult(None, f"{callback.host} did not answer within {TIMEOUT:g} seconds.", sent_at), True
    except (OSError, httpx.TransportError) as error:
        return CallbackResult(None, f"{callback.host} could not be reached ({type(error).__name__}).", sent_at), True
    if 200 <= status < 300:
        return CallbackResult(status, None, sent_at), False
    passing = status >= 500 or status == httpx.codes.TOO_MANY_REQUESTS
    return CallbackResult(status, f"{callback.host} answered with status {status}.", sent_at), passing


async def _resolve(callback: _Callback) -> list[str]:
    """Return the addresses of the callback's host, each of them checked.

    Raises:
        InvalidInput: the host is no name, or has an address that no callback may be sent to.
        OSError: the name could not be resolved.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(callback.host, None, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label of more than 63 characters
        raise InvalidInput(f"callback_url: {callback.host!r} is not a host's name.") from error
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    if not callback.allow_private and not all(map(_is_public, addresses)):
        raise InvalidInput(f"callback_url: the host {callback.host} resolves to an address that is not public.")
    return addresses[:_MOST_ADDRESSES]


async def _post(callback: _Callback, addresses: Sequence[str]) -> int:
    """Send to the first address that takes a connection; return the answer's status, its body unread."""
    import httpx

    headers = {
        "Host": callback.url.netloc.decode("ascii"),
        "Content-Type": "application/json",
        "User-Agent": "Folkmoot",
    }
    if callback.secret is not None:
        headers[SIGNATURE_HEADER] = signature(callback.secret, int(time.time()), callback.content)
    extensions = {"sni_hostname": callback.host.rstrip(".")}
    timeout = httpx.Timeout(TIMEOUT, connect=TIMEOUT / len(addresses))
    failure: Exception = OSError("no address")
    async with httpx.AsyncClient(
        verify=callback.tls, timeout=timeout, trust_env=False, follow_redirects=False
    ) as client:
        for address in addresses:
            url = callback.url.copy_with(host=address)
            try:
                async with client.stream(
                    "POST", url, content=callback.content, headers=headers, extensions=extensions
                ) as response:
                    return response.status_code
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
    raise failure


def _read_url(text: str, allow_private: bool) -> httpx.URL:
    """Read a callback's address with the parser that the request is made with, so that the two cannot differ."""
    import httpx

    if len(text) > LONGEST_URL:
        raise InvalidInput(f"callback_url: longer than {LONGEST_URL:,} characters.")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise InvalidInput(f"callback_url: {error}") from error
    host = url.raw_host.decode("ascii")
    if url.scheme not in ("http", "https"):
        raise InvalidInput("callback_url: has to begin with http:// or https://.")
    if not host or "%" in host:
        raise InvalidInput("callback_url: has no host.")
    if url.userinfo:
        raise InvalidInput("callback_url: must not hold a user or a password.")
    if url.port is not None and not 0 < url.port < 65536:
        raise InvalidInput(f"callback_url: {url.port} is not a port.")
    if not allow_private and _is_plainly_private(host):
        raise InvalidInput(f"callback_url: {host} is not a public address.")
    return url


def _is_plainly_private(host: str) -> bool:
    """Whether a host is this machine or written as an address that is not public, such as 127.1 or 0x7f000001."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not _is_public(host if ":" in host else socket.inet_ntoa(socket.inet_aton(host)))
    except OSError:
        return False


def _is_public(address: str) -> bool:
    """Whether an address is one of the public network; one that stands for an IPv4 address counts as that."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if embedded is None:
            return ip in _GLOBAL_UNICAST and ip.is_global
        ip = embedded
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


@cache
def _default_tls() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()
