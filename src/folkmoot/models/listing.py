"""One provider's list of models, in each provider's own form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from folkmoot.errors import ProviderAuthentication, ProviderError
from folkmoot.loading import LOADING
from folkmoot.models.provider_client import provider_client
from folkmoot.models.providers import Provider, ResolvedModel, place_of
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

if TYPE_CHECKING:
    import httpx2

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
    provider_kind: str = ""
    """What the provider is, whatever it was called."""

    category: Literal["base", "byok"] = "base"
    """`byok` where an organisation has added the provider with a key of its own."""


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
        provider_kind=provider.kind,
        category=provider.category,
    )


async def listed_models(
    resolved: ResolvedModel, last_resort: int, *, allow_private: bool = False
) -> list[ModelDescription]:
    """Ask a provider for its models.

    Args:
        resolved: any model of the provider, for its address and key.
        last_resort: the context window of a model of which nothing is known.
        allow_private: let a provider that somebody has added have an address that is not public.

    Raises:
        ProviderError: it does not tell them; ProviderAuthentication: it does not accept the key.
        AddressRefused: its address is not public.
    """
    async with _client(resolved, allow_private) as client:
        if resolved.dialect == "bedrock":
            told = await asyncio.to_thread(_bedrock, resolved)
        elif resolved.provider.kind == "ollama":
            told = await _ollama(client, resolved)
        elif resolved.provider.kind == "lmstudio":
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


async def check_key(resolved: ResolvedModel, *, allow_private: bool) -> None:
    """See whether a provider can be reached and accepts its key; raises what `listed_models` does.

    OpenRouter lists its models to everybody, so that it is asked about the key itself.
    """
    if resolved.provider.kind != "openrouter":
        await listed_models(resolved, 0, allow_private=allow_private)
        return
    async with _client(resolved, allow_private) as client:
        await _json(client, f"{resolved.address}/key", {"Authorization": f"Bearer {resolved.key}"})


def _client(resolved: ResolvedModel, allow_private: bool) -> httpx2.AsyncClient:
    import httpx2

    from folkmoot.outbound.bounded import BoundedClient

    limits, patience = httpx2.Limits(max_connections=100), httpx2.Timeout(10, connect=3)
    return provider_client(resolved, BoundedClient, limits, allow_private=allow_private, timeout=patience)


async def _plain(client: httpx2.AsyncClient, resolved: ResolvedModel) -> dict[str, dict[str, Any]]:
    address, key = resolved.address, resolved.key
    if resolved.provider.dialect == "anthropic":
        headers = {"x-api-key": key or "", "anthropic-version": "2023-06-01"}
        return _entries(await _json(client, f"{address}/v1/models?limit=1000", headers))
    if resolved.provider.kind == "google_vertex":
        url = f"{address}/v1beta1/publishers/google/models?pageSize=100"
        return _entries(await _json(client, url, {"x-goog-api-key": key or ""}))
    if resolved.provider.dialect == "google":
        url = f"{address}/v1beta/models?pageSize=1000"
        return _entries(await _json(client, url, {"x-goog-api-key": key or ""}))
    if resolved.provider.kind == "azure":
        url = f"{address}/openai/models?api-version={resolved.api_version}"
        return _entries(await _json(client, url, {"api-key": key or ""}))
    return _entries(await _json(client, f"{address}/models", _bearer(resolved)))


def _bearer(resolved: ResolvedModel) -> dict[str, str]:
    return {"Authorization": f"Bearer {resolved.key}"} if resolved.key else {}


def _bedrock(resolved: ResolvedModel) -> dict[str, dict[str, Any]]:
    """Ask Amazon for its models, in a thread."""
    with LOADING:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

    if not resolved.access_key:
        return {}  # a key of Bedrock's own opens its models, and not their list
    keys = {"aws_access_key_id": resolved.access_key, "aws_secret_access_key": resolved.key}
    patience = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 1})
    try:
        client = boto3.client("bedrock", region_name=resolved.region, config=patience, **keys)
        told = client.list_foundation_models()
    except ClientError as exc:
        status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status in (401, 403):
            raise ProviderAuthentication(f"The keys were not accepted ({status}).") from exc
        raise ProviderError(f"No list of models: {resolved.address} answered {status}.") from exc
    except BotoCoreError as exc:
        raise ProviderError(f"No list of models: {resolved.address} cannot be reached ({type(exc).__name__}).") from exc
    return {entry["modelId"]: {} for entry in told.get("modelSummaries", ())}


async def _lmstudio(client: httpx2.AsyncClient, resolved: ResolvedModel) -> dict[str, dict[str, Any]]:
    """Prefer LM Studio's own list, which tells windows and kinds, to the compatible one of bare ids."""
    try:
        own = f"{resolved.address.removesuffix('/v1')}/api/v0/models"
        return _entries(await _json(client, own, _bearer(resolved)))
    except ProviderError:
        return await _plain(client, resolved)


async def _ollama(client: httpx2.AsyncClient, resolved: ResolvedModel) -> dict[str, dict[str, Any]]:
    """Return Ollama's models. A window is at most that with which a model has been loaded: prompts are cut to it, and
    nobody is told.
    """
    root, headers = resolved.address.removesuffix("/v1"), _bearer(resolved)
    try:
        entries = _entries(await _json(client, f"{root}/api/tags", headers))
    except ProviderError:
        return await _plain(client, resolved)

    async def show(model: str) -> None:
        try:
            shown = await _json(client, f"{root}/api/show", headers, {"model": model})
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
    try:
        loaded = _entries(await _json(client, f"{root}/api/ps", headers))
    except ProviderError:  # an older one, which does not tell
        loaded = {}
    for model in entries.keys() & loaded.keys():
        entries[model] = {**entries[model], "loaded_context_length": loaded[model].get("context_length")}
    return entries


async def _json(
    client: httpx2.AsyncClient, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None
) -> Any:
    import httpx2

    try:
        answer = await (
            client.get(url, headers=headers) if body is None else client.post(url, json=body, headers=headers)
        )
        if answer.status_code in (401, 403):
            raise ProviderAuthentication(f"The key was not accepted ({answer.status_code}).")
        answer.raise_for_status()
        return answer.json()
    except httpx2.HTTPStatusError as exc:
        raise ProviderError(f"No list of models: {place_of(url)} answered {exc.response.status_code}.") from exc
    except httpx2.TransportError as exc:
        raise ProviderError(f"No list of models: {place_of(url)} cannot be reached ({type(exc).__name__}).") from exc
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as exc:
        raise ProviderError(f"No list of models: {place_of(url)} sent what is none ({type(exc).__name__}).") from exc


def _entries(answer: Any) -> dict[str, dict[str, Any]]:
    """Return the models of an answer by name; entries in no known form are passed over."""
    found = answer
    if isinstance(answer, dict):
        found = next((answer[name] for name in ("data", "models", "publisherModels") if name in answer), None)
    if not isinstance(found, list):
        raise ProviderError("The list of models cannot be read.")
    entries = {}
    for item in found:
        if isinstance(item, str):
            item = {"id": item}
        if not isinstance(item, dict):
            continue
        name = item.get("id") or item.get("name") or item.get("model")
        if isinstance(name, str) and name:
            entries[name.removeprefix("publishers/google/").removeprefix("models/")] = item
    return entries
