"""Connections to addresses that somebody else names: callbacks, web pages, tools elsewhere.

Such an address must not lead into this server's own network. It is judged three times over: its text is refused when
it is plainly private, the host's addresses are judged when the connection is made, and the connection is dialled to
one of the addresses that were judged, never to the name again (which could by then resolve to another one). A redirect
is a new connection and is judged like the first. No proxy of the environment is used: it would do the dialling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

import httpcore2
import httpx2

from folkmoot.errors import AddressRefused
from folkmoot.outbound.certificates import trusted
from folkmoot.outbound.dialling import look_up

if TYPE_CHECKING:
    import ssl

_LIMITS = httpx2.Limits(max_connections=10, max_keepalive_connections=10)


def guarded_client(
    *, allow_private: bool, timeout: httpx2.Timeout | float, tls: ssl.SSLContext | None = None
) -> httpx2.AsyncClient:
    """Return a client that connects to nothing but public addresses; redirects are followed only where asked for.

    A request to another one raises AddressRefused; all else is as with any httpx2 client.

    Args:
        allow_private: connect to addresses that are not public, too.
        timeout: as httpx2 takes it; the time to connect counts for all addresses of a host together.
        tls: certificates to trust; those of `trusted` when None.
    """
    transport = guarded_transport(allow_private=allow_private, tls=tls)
    return httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False, follow_redirects=False)


def guarded_transport(
    *, allow_private: bool, limits: httpx2.Limits = _LIMITS, tls: ssl.SSLContext | None = None
) -> httpx2.AsyncHTTPTransport:
    """Return what `guarded_client` connects with, for a client of another kind.

    Args:
        allow_private: connect to addresses that are not public, too.
        limits: how many connections there may be.
        tls: certificates to trust; those of `trusted` when None.
    """
    return _GuardedTransport(allow_private, limits, tls or trusted())


class _GuardedTransport(httpx2.AsyncHTTPTransport):
    """httpx2's own transport over a pool that judges what it dials."""

    def __init__(self, allow_private: bool, limits: httpx2.Limits, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False)
        # httpx2 takes no network backend, though its pool does; a test fails when this no longer holds.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            network_backend=_GuardedNetwork(allow_private),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.raw_host.decode("ascii")
        if host.endswith("."):  # the host as certificates name it
            request.extensions = {"sni_hostname": host.rstrip("."), **request.extensions}
        return await super().handle_async_request(request)


class _GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Looks a host up, judges all its addresses, and dials those that it judged."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await look_up(host, allow_private=self._allow_private)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"{host} could not be looked up in time") from error
        except OSError as error:
            raise httpcore2.ConnectError(f"{host} could not be looked up: {error}") from error
        share = None if timeout is None else timeout / len(addresses)
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore2.ConnectError(f"{host} has no address")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise AddressRefused("sockets of this machine cannot be connected to.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
