"""Embeddings: texts as vectors that lie near each other when they mean the same.

    vectors = await client.embed("openai/text-embedding-3-small", ["one text", "another"])

Providers' own packages are asked, OpenAI's for all who speak its API, and imported when the first text is embedded;
nobody for the model that comes with `folkmoot[embed]`.
What comes back is looked at: one vector a text, all of one length, every value a finite number.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from folkmoot import tracing
from folkmoot.errors import BadRequest, FolkmootError, InvalidInput, NotFound, ProviderError, ProviderTimeout
from folkmoot.loading import LOADING
from folkmoot.models import offline_embedding
from folkmoot.models.directory import Directory
from folkmoot.models.observing import model_attributes
from folkmoot.models.openai_client import openai_client
from folkmoot.models.provider_client import provider_client
from folkmoot.models.providers import DEFAULT_ALIAS, OFFLINE, ResolvedModel
from folkmoot.models.wire import error_in, words_in
from folkmoot.outbound.proxies import is_this_machine
from folkmoot.settings import Settings
from folkmoot.store.engine import Row
from folkmoot.store.vectors import unit, unpacked

if TYPE_CHECKING:
    import httpx2

Purpose: TypeAlias = Literal["query", "document"]
"""What a text is embedded for: some models tell what is looked for from what is found."""

MOST_DIMENSIONS = 16_000
"""Values of a vector, at most."""

AT_ONCE = 32
"""Texts of one request."""

QUERY_SECONDS = 10.0
"""How long a query waits for its vector, at most: a search goes by words then, and somebody waits for it."""

_CONNECT_SECONDS = 5.0


class _Asker(Protocol):
    async def __call__(self, texts: Sequence[str], purpose: Purpose) -> list[Sequence[float]]:
        """Return what the provider answers, unlooked at."""


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


@dataclass(slots=True)
class _Kept:
    """The connections of a process to the providers of all organisations."""

    loop: asyncio.AbstractEventLoop | None = None
    http: dict[tuple[bool, bool], httpx2.AsyncClient] = field(default_factory=dict)
    askers: dict[tuple[str, str], tuple[ResolvedModel, _Asker]] = field(default_factory=dict)


class EmbeddingClient:
    """Asks embedding models by their handles, and keeps the connections to their providers."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], directory: Directory | None = None) -> None:
        """Ask the models that `directory` knows: those of `environ` when None."""
        self._settings = settings
        self._directory = directory or Directory(environ)
        self._kept = _Kept()

    def of(self, organization_id: str | None) -> EmbeddingClient:
        """Return what asks the models of an organisation, over the same connections."""
        found = copy.copy(self)
        found._directory = self._directory.of(organization_id)
        return found

    async def find_handle(self, named: str | None) -> str | None:
        """Return what `handle_of` does, also of a provider that another process has added just now."""
        if named is not None and named != DEFAULT_ALIAS:
            await self._look_for(named)
        return self.handle_of(named)

    def handle_of(self, named: str | None) -> str | None:
        """Return the handle of the model that a request names, or else the server's default; None for none.

        Raises:
            BadRequest: it is not of the form `provider/model`, or its provider is unknown, not configured, missing here
                or makes none.
        """
        handle = self._settings.default_embedding if named in (None, DEFAULT_ALIAS) else named
        if handle is None:
            return None
        try:
            resolved = self._resolve(handle)
        except (InvalidInput, NotFound) as error:
            raise BadRequest(f"embedding: {error.message}") from error
        if resolved.dialect not in ("openai", "responses", "google", "offline"):
            title = resolved.provider.title
            raise BadRequest(f"embedding: {title} makes no embeddings. Name a model of another provider.")
        return handle

    def usable(self, named: str | None) -> str | None:
        """Return what `handle_of` does; the server's default, or None, for a handle that cannot be used here."""
        try:
            return self.handle_of(named)
        except BadRequest:
            return None if named is None else self.usable(None)

    def space(self, handle: str) -> str:
        """Return the name of the space of a handle's vectors: another one for each provider that it may mean.

        Raises:
            InvalidInput: the handle is not of the form `provider/model`.
            NotFound: its provider is not configured.
        """
        return f"{self._resolve(handle).provider.revision} {handle}"

    async def embed(self, handle: str, texts: Sequence[str], purpose: Purpose = "document") -> list[list[float]]:
        """Return a vector of length 1 for each text.

        Nothing is tried again here: who waits for a query does not want to, and a job tries again by itself.

        Args:
            handle: the model.
            texts: at least one, none of them empty.
            purpose: what for.

        Raises:
            InvalidInput: the handle is not of the form `provider/model`.
            NotFound: the handle's provider is not configured, or the offline model is not installed.
            ProviderError: the provider failed, or what it answered cannot be used; its subclasses say how.
        """
        await self._look_for(handle)
        resolved = self._resolve(handle)
        with tracing.span(
            f"embeddings {resolved.model}",
            {"gen_ai.operation.name": "embeddings", **model_attributes(handle)},
            kind="client",
        ):
            return _checked(await self._answer(resolved, texts, purpose), len(texts), resolved)

    async def _answer(
        self, resolved: ResolvedModel, texts: Sequence[str], purpose: Purpose
    ) -> Sequence[Sequence[float]]:
        patience = self._settings.model_timeout
        if purpose == "query":
            patience = min(patience, QUERY_SECONDS)
        try:
            async with asyncio.timeout(patience):
                asker = await self._asker(resolved)
                return await asker(texts, purpose)
        except TimeoutError as error:
            raise ProviderTimeout(
                f"{resolved.provider.title} did not answer for {resolved.handle} within {patience:g} s."
            ) from error
        except FolkmootError:
            raise
        except Exception as error:
            from folkmoot.models.failures import translated

            raise translated(error, resolved) from error

    async def aclose(self) -> None:
        """Close the HTTP connections."""
        kept, self._kept.http, self._kept.askers = self._kept.http, {}, {}
        if self._kept.loop is asyncio.get_running_loop():
            for http in kept.values():
                await http.aclose()

    async def _look_for(self, handle: str) -> None:
        if handle.partition("/")[0] != OFFLINE.name:
            await self._directory.look_for(handle)

    def _resolve(self, handle: str) -> ResolvedModel:
        """Return the model of a handle.

        Raises:
            InvalidInput: it is not of the form `provider/model`.
            NotFound: its provider is not configured, or the offline model is not installed.
        """
        provider, _, model = handle.partition("/")
        if provider != OFFLINE.name:
            return self._directory.resolve(handle)
        if handle != offline_embedding.HANDLE:
            raise NotFound(f"There is no embedding model {handle}; offline there is {offline_embedding.HANDLE}.")
        if not offline_embedding.is_installed():
            raise NotFound(f"{handle} is not installed on the server: {offline_embedding.EXTRA}")
        return ResolvedModel(handle, OFFLINE, model, "", dialect=OFFLINE.dialect)

    async def _asker(self, resolved: ResolvedModel) -> _Asker:
        kept, loop = self._kept, asyncio.get_running_loop()
        if kept.loop is not loop:  # connections belong to their event loop
            kept.loop, kept.http, kept.askers = loop, {}, {}
        of, asker = kept.askers.get(resolved.kept_as, (None, None))
        if asker is None or of != resolved:
            asker = await asyncio.to_thread(self._build, resolved)
            kept.askers[resolved.kept_as] = resolved, asker
        return asker

    def _build(self, resolved: ResolvedModel) -> _Asker:
        if resolved.provider is OFFLINE:
            return _offline()
        kept = self._kept
        with LOADING:
            way = resolved.is_added, is_this_machine(resolved.address)
            if way not in kept.http:
                kept.http[way] = self._client(resolved)
            build = _google if resolved.dialect == "google" else _openai
            return build(resolved, kept.http[way])

    def _client(self, resolved: ResolvedModel) -> httpx2.AsyncClient:
        import httpx2

        from folkmoot.outbound.bounded import BoundedClient

        patience = httpx2.Timeout(self._settings.model_timeout + 1, connect=_CONNECT_SECONDS)
        limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20)
        allow_private = self._settings.private_providers
        return provider_client(resolved, BoundedClient, limits, allow_private=allow_private, timeout=patience)


def check_dimensions(vectors: Sequence[Sequence[float] | None], first: Row | None, kept_in: str, kept: str) -> None:
    """Hold vectors to the dimensions of those that are kept already.

    Args:
        vectors: what the model sent.
        first: a row with the `dimensions` of what is kept; None while nothing is.
        kept_in: what is embedded, such as "archive".
        kept: what that has, such as "passages".

    Raises:
        ProviderError: the model sent other ones than before.
    """
    for vector in vectors:
        if first is not None and vector is not None and len(vector) != first["dimensions"]:
            raise ProviderError(
                f"The embedding model sent a vector of {len(vector)} dimensions, and this {kept_in}'s {kept} have "
                f"{first['dimensions']}. If the model was changed on purpose, set the {kept_in}'s embedding to null "
                "and back, and all is embedded anew."
            )


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


def _offline() -> _Asker:
    model = offline_embedding.OfflineEmbedding()

    async def ask(texts: Sequence[str], purpose: Purpose) -> list[Sequence[float]]:
        return await asyncio.to_thread(model.embed, texts)

    return ask


def _openai(resolved: ResolvedModel, http: httpx2.AsyncClient) -> _Asker:
    from openai import APIConnectionError, APIStatusError, APITimeoutError
    from pydantic_ai.exceptions import ModelConnectionError, ModelHTTPError

    client = openai_client(resolved, http)
    options: dict[str, Any] = {"encoding_format": "float"}

    async def ask(texts: Sequence[str], purpose: Purpose) -> list[Sequence[float]]:
        post: Any = client.post
        body = {"model": resolved.model, "input": list(texts)}
        try:
            try:
                answer = await post("/embeddings", cast_to=object, body=body | options)
            except APIStatusError as error:
                if error.status_code not in (400, 422) or "encoding_format" not in f"{error.body}" or not options:
                    raise
                options.clear()  # a server that knows no such option, or another value of it
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
    if error := error_in(answer):
        raise ProviderError(f"The provider sent an error in the place of vectors: {words_in(error) or error}")
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
