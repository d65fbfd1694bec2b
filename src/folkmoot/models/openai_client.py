"""The client of OpenAI's own package, for all whose servers speak its API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from folkmoot.models.providers import ResolvedModel

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

_NO_KEY = "none"
"""For servers that want none; the package wants one."""


def openai_client(resolved: ResolvedModel, http: httpx2.AsyncClient) -> AsyncOpenAI:
    """Return a client that asks a model's provider over `http`, and never a second time by itself.

    Args:
        resolved: the model, whose provider's address and key it takes.
        http: what it sends with; its time-outs hold.
    """
    from openai import AsyncAzureOpenAI, AsyncOpenAI

    common: dict[str, Any] = {
        "api_key": resolved.key or _NO_KEY,
        "http_client": http,
        "timeout": http.timeout,
        "max_retries": 0,
    }
    client: AsyncOpenAI
    if resolved.provider.kind == "azure":
        client = AsyncAzureOpenAI(azure_endpoint=resolved.address, api_version=resolved.api_version, **common)
    else:
        client = AsyncOpenAI(base_url=resolved.address, **common)
    if resolved.is_added:  # what the environment says of the server's own account is none of its business
        client.organization = client.project = None
        client._custom_headers = {}
    return client
