"""Embeddings: texts as vectors that lie near each other when they mean the same.

    vectors = await client.embed("openai/text-embedding-3-small", ["one text", "another"])

Providers' own packages are asked, OpenAI's for all who speak its API, and imported when the first text is embedded.
What comes back is looked at: one vector a text, all of one length, every value a finite number.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from folkmoot.errors import BadRequest, FolkmootError, InvalidInput, NotFound, ProviderError, ProviderTimeout
from folkmoot.models.providers import DEFAULT_ALIAS, OFFLINE, ResolvedModel, resolve
from folkmoot.settings import Settings
from folkmoot.store.vectors import unit, unpacked

if TYPE_CHECKING:
    import httpx2

Purpose: TypeAlias = Literal["query", "document"]
"""What a text is embedded for: some models tell what is looked for from what is found."""

MOST_DIMENSIONS = 16_000
"""Values of a vector, at most."""

AT_ONCE = 32
"""Texts of one request."""

_CONNECT_SECONDS = 5.0
_NO_KEY = "none"


class _Asker(Protocol):
    async def __call__(self, texts: Sequence[str], purpose: Purpose) -> list[Sequence[float]]:
        """Return what the provider answers, unlooked at."""


def embedding_handle(settings: Settings, environ: Mapping[str, str], named: str | None) -> str | None:
    """Return the handle of the embedding model that a request names, or else the server's default; None for none.

    Raises:
        BadRequest: it is not of the form `provider/model`, or its provider is unknown, not configured or makes none.
    """
    handle = settings.default_embedding if named in (None, DEFAULT_ALIAS) else named
    if handle is None:
        return None
    try:
        resolved = resolve(handle, environ)
    except (InvalidInput, NotFound) as error:
        raise BadRequest(f"embedding: {error.message}") from error
    if resolved.dialect not in ("openai", "responses", "google"):
        raise BadRequest(f"embedding: {resolved.provider.title} makes no embeddings. Name a model of another provider.")
    return handle


def usable_embedding(settings: Settings, environ: Mapping[str, str], named: str | None) -> str | None:
    """Return what `embedding_handle` does; the server's default, or None, for a handle that cannot be used here."""
    try:
        return embedding_handle(settings, environ, named)
    except BadRequest:
        return None if named is None else usable_embedding(settings, environ, None)


def handle_in(config: Mapping[str, Any]) -> str | None:
    """Return the handle that the wire format's older form of an embedding names; None when it names none."""
    if config.get("handle"):
        return str(config["handle"])
    model = config.get("embedding_model")
    if not model or model == "none":
        return None
    if model == DEFAULT_ALIAS.partition("/")[2]:
        return DEFAULT_ALIAS
    return f"{config.get('embedding_endpoint_type') or 'openai'}/{model}"


class Embeddings(Protocol):
    """One way to embed texts with any model; `EmbeddingClient` is the one that does."""

    async def embed(self, handle: str, texts: Sequence[str], purpose: Purpose = "document") -> list[list[float]]:
        """Return a vector of length 1 for each text.

        Raises:
            ProviderError: the provider failed, or what it answered cannot be used.
            NotFound: the handle's provider is not configured.
        """


class EmbeddingClient:
    """Asks embedding models by their handles, and keeps the connections to their providers."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http: httpx2.AsyncClient | None = None
        self._askers: dict[str, _Asker] = {}

    async def embed(self, handle: str, texts: Sequence[str], purpose: Purpose = "document") -> list[list[float]]:
        """Return a vector of length 1 for each text.

        Nothing is tried again here: who waits for a query does not want to, and a job tries again by itself.

        Args:
            handle: the model.
            texts: at least one, none of them empty.
            purpose: what for.

        Raises:
            InvalidInput: the handle is not of the form `provider/model`.
            NotFound: the handle's provider is not configured.
            ProviderError: the provider failed, or what it answered cannot be used; its subclasses say how.
        """
        resolved = resolve(handle, self._environ)
        if resolved.provider is OFFLINE:
            raise NotFound(f"There is no embedding model {handle}.")
        try:
            async with asyncio.timeout(self._settings.model_timeout):
                asker = await self._asker(resolved)
                answer = await asker(texts, purpose)
        except TimeoutError as error:
            raise ProviderTimeout(
                f"{resolved.provider.title} did not answer for {handle} within {self._settings.model_timeout:g} s."
            ) from error
        except FolkmootError:
            raise
        except Exception as error:
            from folkmoot.models.failures import translated

            raise translated(error, resolved) from error
        return _checked(answer, len(texts), resolved)

    async def aclose(self) -> None:
        """Close the HTTP connections."""
        http, self._http, self._askers = self._http, None, {}
        if http is not None and self._loop is asyncio.get_running_loop():
            await http.aclose()

    async def _asker(self, resolved: ResolvedModel) -> _Asker:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections belong to their event loop
            self._loop, self._http, self._askers = loop, None, {}
        if resolved.handle not in self._askers:
            self._askers[resolved.handle] = await asyncio.to_thread(self._build, resolved)
        return self._askers[resolved.handle]

    def _build(self, resolved: ResolvedModel) -> _Asker:
        import httpx2

        if self._http is None:
            patience = httpx2.Timeout(self._settings.model_timeout + 1, connect=_CONNECT_SECONDS)
            self._http = httpx2.AsyncClient(timeout=patience, follow_redirects=True)
        build = _google if resolved.dialect == "google" else _openai
        return build(resolved, self._http)


def _checked(answer: Sequence[Sequence[float]], count: int, resolved: ResolvedModel) -> list[list[float]]:
    """Return the vectors at length 1.

    Raises:
        ProviderError: there are too few or too many, or one of them is none.
    """
    said = f"{resolved.provider.title} sent"
    if len(answer) != count:
        raise ProviderError(f"{said} {len(answer)} vectors for {count} texts ({resolved.handle}).")
    lengths = sorted({len(vector) for vector in answer})
    if len(lengths) > 1 or not 1 <= lengths[0] <= MOST_DIMENSIONS:
        raise ProviderError(f"{said} vectors of {' and '.join(map(str, lengths))} dimensions ({resolved.handle}).")
    try:
        return [unit(vector) for vector in answer]
    except (ValueError, OverflowError, TypeError) as error:
        raise ProviderError(f"{said} a vector that is none ({resolved.handle}): {error}.") from error


def _openai(resolved: ResolvedModel, http: httpx2.AsyncClient) -> _Asker:
    from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncAzureOpenAI, AsyncOpenAI
    from pydantic_ai.exceptions import ModelConnectionError, ModelHTTPError

    common: dict[str, Any] = {
        "api_key": resolved.key or _NO_KEY,
        "http_client": http,
        "timeout": http.timeout,
        "max_retries": 0,
    }
    client: AsyncOpenAI
    if resolved.provider.name == "azure":
        client = AsyncAzureOpenAI(azure_endpoint=resolved.address, api_version=resolved.api_version, **common)
    else:
        client = AsyncOpenAI(base_url=resolved.address, **common)

    async def ask(texts: Sequence[str], purpose: Purpose) -> list[Sequence[float]]:
        post: Any = client.post
        body = {"model": resolved.model, "input": list(texts), "encoding_format": "float"}
        try:
            answer = await post("/embeddings", cast_to=object, body=body)
        except APITimeoutError as error:
            raise TimeoutError from error
        except APIConnectionError as error:
            raise ModelConnectionError(resolved.model, str(error)) from error
        except APIStatusError as error:
            raise ModelHTTPError(
                error.status_code, resolved.model, error.body, headers=dict(error.response.headers)
            ) from error
        return _in_order(answer)

    return ask


def _in_order(answer: Any) -> list[Sequence[float]]:
    """Return the vectors of an answer in OpenAI's form, in the order of their texts."""
    entries = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ProviderError("The provider's answer holds no vectors.")
    ordered = sorted(entries, key=lambda entry: entry["index"] if isinstance(entry.get("index"), int) else 0)
    return [_values(entry.get("embedding")) for entry in ordered]


def _values(embedding: Any) -> Sequence[float]:
    """Return a vector that was sent as numbers, or as their bytes in base 64, which some servers always do."""
    if isinstance(embedding, str):
        try:
            return unpacked(base64.b64decode(embedding, validate=True))
        except (binascii.Error, ValueError) as error:
            raise ProviderError("The provider's answer holds a vector that cannot be read.") from error
    if not isinstance(embedding, list) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in embedding
    ):
        raise ProviderError("The provider's answer holds a vector that is no list of numbers.")
    return embedding


def _google(resolved: ResolvedModel, http: httpx2.AsyncClient) -> _Asker:
    from pydantic_ai.embeddings.google import GoogleEmbeddingModel
    from pydantic_ai.providers.google import GoogleProvider

    provider = GoogleProvider(api_key=resolved.key, base_url=resolved.address, http_client=http)
    model = GoogleEmbeddingModel(resolved.model, provider=provider)

    async def ask(texts: Sequence[str], purpose: Purpose) -> list[Sequence[float]]:
        return list((await model.embed(list(texts), input_type=purpose)).embeddings)

    return ask
