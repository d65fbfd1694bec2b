"""Clients that go through the proxies that the environment names, but to this machine itself straight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from folkmoot.errors import ProxyUnusable
from folkmoot.outbound.addresses import is_loopback
from folkmoot.outbound.certificates import trusted

Client = TypeVar("Client")


def client_for(address: str, kind: Callable[..., Client], **options: Any) -> Client:
    """Return an HTTP client for an address that people have set themselves.

    Args:
        address: where it goes; an address that cannot be read is left to its first request to refuse.
        kind: what makes the client: `httpx2.Client`, `httpx2.AsyncClient`, or one that is built on it.
        options: of the client.

    Raises:
        ProxyUnusable: the environment names a proxy that no client can be made for.
    """
    import httpx2

    options["verify"] = trusted()
    if is_this_machine(address):
        return kind(trust_env=False, **options)
    try:
        return kind(**options)
    except ImportError as error:
        raise ProxyUnusable(
            "A SOCKS proxy, as ALL_PROXY, HTTPS_PROXY or HTTP_PROXY names one, takes a package more: "
            "`pip install socksio`. Or name an HTTP proxy."
        ) from error
    except (ValueError, httpx2.InvalidURL) as error:
        raise ProxyUnusable(
            f"ALL_PROXY, HTTPS_PROXY or HTTP_PROXY names no proxy that can be used: {error}. "
            "Write http://host:port, or socks5://host:port."
        ) from error


def is_this_machine(address: str) -> bool:
    """Tell whether an address is of the machine's own loopback, which no proxy leads to.

    >>> [is_this_machine(f"{address}:8283/x") for address in ("http://LOCALHOST", "http://[::1]", "http://10.0.0.1")]
    [True, True, False]
    """
    import httpx2

    try:
        return is_loopback(httpx2.URL(address).host)
    except httpx2.InvalidURL:
        return False
