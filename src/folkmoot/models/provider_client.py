"""The HTTP clients with which providers are asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from folkmoot.models.providers import ResolvedModel
from folkmoot.outbound.proxies import client_for

if TYPE_CHECKING:
    import httpx2

Client = TypeVar("Client")


def provider_client(
    resolved: ResolvedModel, kind: Callable[..., Client], limits: httpx2.Limits, *, allow_private: bool, **options: Any
) -> Client:
    """Return an HTTP client for a provider; that of one that somebody has added judges every address that it dials.

    Args:
        resolved: any model of the provider.
        kind: what makes the client, such as `BoundedClient`.
        limits: how many connections there may be.
        allow_private: let an added provider have an address that is not public.
        options: others of the client.
    """
    if not resolved.is_added:
        return client_for(resolved.address, kind, follow_redirects=True, limits=limits, **options)
    from folkmoot.outbound.connections import guarded_transport

    transport = guarded_transport(allow_private=allow_private, limits=limits)
    return kind(transport=transport, trust_env=False, **options)
