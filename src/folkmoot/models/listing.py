"""One provider's list of models, in each provider's own form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from folkmoot.errors import ProviderError
from folkmoot.models.providers import Provider, ResolvedModel
from folkmoot.models.windows import (
    dimensions,
    family_window,
    is_chat,
    is_embedding,
    ollama_dimensions,
    ollama_window,
    told_output,
    told_window,
)
from folkmoot.outbound.certificates import trusted

if TYPE_CHECKING:
    import httpx

DEFAULT_DIMENSIONS = 1536
MOST_SHOWN = 64
"""Ollama tells a model's window one model at a time; this many are asked about."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """A model as the API lists it."""

    handle: str
    name: str
    provider: str
    context_window: int
    max_output_tokens: int | None
    endpoint: str
    endpoint_type: str
    kind: Literal["llm", "embedding"] = "llm"
    embedding_dimensions: int | None = None


def described(
    provider: Provider, model: str, endpoint: str, window: int, told: Mapping[str, Any] | None = None
) -> ModelDescription:
    """Return a model's description from what is told and what is known of it."""
    told = told or {}
    embeds = is_embedding(model, told)
    size = told.get("embedding_dimensions")
    return ModelDescription(
        handle=f"{provider.name}/{model}",
        name=model,
        provider=provider.name,
        context_window=told_window(told) or window,
        max_output_tokens=told_output(told),
        endpoint=endpoint,
        endpoint_type=provider.endpoint_type,
        kind="embedding" if embeds else "llm",
        embedding_dimensions=(size or dimensions(model) or DEFAULT_DIMENSIONS) if embeds else None,
    )


async def listed_models(resolved: ResolvedModel, last_resort: int) -> list[ModelDescription]:
    """Ask a provider for its models.

    Args:
        resolved: any model of the provider, for its address and key.
        last_resort: the context window of a model of which nothing is known.
    """
    import httpx

    patience = httpx.Timeout(10, connect=3)
    async with httpx.AsyncClient(timeout=patience, follow_redirects=True, verify=trusted()) as client:
        if resolved.provider.name == "ollama":
            told = await _ollama(client, resolved)
        elif resolved.provider.name == "lmstudio":
            told = await _lmstudio(client, resolved)
        else:
            told = await _plain(client, resolved)
    provider, result = resolved.provider, []
    for model, about in told.items():
        if not is_embedding(model, about) and not is_chat(model, about):
            continue
        window = family_window(model) or last_resort
        result.append(described(provider, model, resolved.address, window, about))
    return result


async def _plain(client: httpx.AsyncClient, resolved: ResolvedModel) -> dict[str, dict[str, Any]]:
    address, key = resolved.address, resolved.key
    if resolved.provider.dialect == "anthropic":
        headers = {"x-api-key": key or "", "anthropic-version": "2023-06-01"}
        return _entries(await _json(client, f"{address}/v1/models?limit=1000", headers))
    if resolved.provider.dialect == "google":
        url = f"{address}/v1beta/models?pageSize=1000"
        return _entries(await _json(client, url, {"x-goog-api-key": key or ""}))
    if resolved.provider.name == "azure":
        url = f"{address}/openai/models?api-version={resolved.api_version}"
        return _entries(await _json(client, url, {"api-key": key or ""}))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return _entries(await _json(client, f"{address}/models", headers))


async def _lmstudio(client: httpx.AsyncClient, resolved: ResolvedModel) -> dict[str, dict[str, Any]]:
    """Prefer LM Studio's own list, which tells windows and kinds, to the compatible one of bare ids."""
    try:
        own = f"{resolved.address.removesuffix('/v1')}/api/v0/models"
        return _entries(await _json(client, own, {}))
    except ProviderError:
        return await _plain(client, resolved)


async def _ollama(client: httpx.AsyncClient, resolved: ResolvedModel) -> dict[str, dict[str, Any]]:
    root = resolved.address.removesuffix("/v1")
    try:
        entries = _entries(await _json(client, f"{root}/api/tags", {}))
    except ProviderError:
        return await _plain(client, resolved)

    async def show(model: str) -> None:
        try:
            shown = await _json(client, f"{root}/api/show", {}, {"model": model})
        except ProviderError:
            return
        about = shown if isinstance(shown, dict) else {}
        abilities = about.get("capabilities")
        entries[model] = {
            "context_length": ollama_window(about),
            "embedding_dimensions": ollama_dimensions(about),
            "type": "embedding" if isinstance(abilities, list) and abilities == ["embedding"] else "",
        }

    await asyncio.gather(*(show(model) for model in list(entries)[:MOST_SHOWN]))
    return entries


async def _json(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None
) -> Any:
    import httpx

    try:
        answer = await (client.get(url, headers=headers) if body is None else client.post(url, json=body))
        answer.raise_for_status()
        return answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
        raise ProviderError(f"No list of models ({type(exc).__name__}).") from exc


def _entries(answer: Any) -> dict[str, dict[str, Any]]:
    """Return the models of an answer by name; entries in no known form are passed over."""
    found = answer
    if isinstance(answer, dict):
        found = answer["data"] if "data" in answer else answer.get("models")
    if not isinstance(found, list):
        raise ProviderError("The list of models cannot be read.")
    entries = {}
    for item in found:
        if not isinstance(item, dict):
            continue
        name = item.get("id") or item.get("name") or item.get("model")
        if isinstance(name, str) and name:
            entries[name.removeprefix("models/")] = item
    return entries
