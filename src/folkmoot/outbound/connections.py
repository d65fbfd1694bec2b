"""Connections to addresses that somebody else names: callbacks, web pages, tools elsewhere.

Such an address must not lead into this server's own network. It is judged three times over: its text is refused when
it is plainly private, the host's addresses are judged when the connection is made, and the connection is dialled to
one of the addresses that were judged, never to the name again (which could by then resolve to another one). A redirect
is a new connection and is judged like the first. No proxy of the environment is used: it would do the dialling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

import httpcore
import httpx

from folkmoot.errors import AddressRefused
from folkmoot.outbound.certificates import trusted
from folkmoot.outbound.dialling import look_up

if TYPE_CHECKING:
    import ssl

    import httpx2


def guarded_client(
    *, allow_private: bool, timeout: httpx.Timeout | float, tls: ssl.SSLContext | None = None
) -> httpx.AsyncClient:
    """Return a client that connects to nothing but public addresses; redirects are followed only where asked for.

    A request to another one raises AddressRefused; all else is as with any httpx client.

    Args:
        allow_private: connect to addresses that are not public, too.
        timeout: as httpx takes it; the time to connect counts for all addresses of a host together.
        tls: certificates to trust; those that httpx comes with when None.
    """
    transport = _GuardedTransport(allow_private, tls or trusted())
    return httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False, follow_redirects=False)


def guarded_transport(*, allow_private: bool, limits: httpx2.Limits) -> httpx2.AsyncHTTPTransport:
    """Return what `guarded_client` connects with, for a client of httpx2, which the providers' packages take.

    Args:
        allow_private: connect to addresses that are not public, too.
        limits: how many connections there may be.
    """
    import httpcore2
    import httpx2

    transport = httpx2.AsyncHTTPTransport(verify=trusted(), trust_env=False, limits=limits)
    transport._pool = httpcore2.AsyncConnectionPool(
        ssl_context=trusted(),
        max_connections=limits.max_connections,
        max_keepalive_connections=limits.max_keepalive_connections,
        network_backend=cast("httpcore2.AsyncNetworkBackend", _GuardedNetwork(allow_private, httpcore2)),
    )
    return transport


class _GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over a pool that judges what it dials."""

    def __init__(self, allow_private: bool, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False)
        # httpx takes no network backend, though its pool does; a test fails when this no longer holds.
        self._pool = httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=_GuardedNetwork(allow_private))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.raw_host.decode("ascii")
        if host.endswith("."):  # the host as certificates name it
            request.extensions = {"sni_hostname": host.rstrip("."), **request.extensions}
        return await super().handle_async_request(request)


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Looks a host up, judges all its addresses, and dials those that it judged."""

    def __init__(self, allow_private: bool, core: Any = httpcore) -> None:
        """Dial with `core`: httpcore, or httpcore2, which has the same names and errors of its own."""
        self._allow_private = allow_private
        self._core = core
        self._network = core.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = await look_up(host, allow_private=self._allow_private)
        except TimeoutError as error:
            raise self._core.ConnectTimeout(f"{host} could not be looked up in time") from error
        except OSError as error:
            raise self._core.ConnectError(f"{host} could not be looked up: {error}") from error
        share = None if timeout is None else timeout / len(addresses)
        failure: Exception | None = None
        for address in addresses:
            try:
                stream: httpcore.AsyncNetworkStream = await self._network.connect_tcp(
                    address, port, share, local_address, socket_options
                )
                return stream
            except (self._core.ConnectError, self._core.ConnectTimeout) as error:
                failure = error
        raise failure or self._core.ConnectError(f"{host} has no address")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("sockets of this machine cannot be connected to.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
