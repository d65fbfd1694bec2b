"""What models there are: each configured provider's own list, asked for when wanted and kept for some
minutes.

A list never fails. A provider that is down, slow or answers nonsense has no models in it and the others are
not kept waiting; any model name of that provider can be used all the same.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from folkmoot.errors import FolkmootError, NotFound, StoreUnavailable
from folkmoot.models import listing, offline_embedding
from folkmoot.models.directory import Directory
from folkmoot.models.listing import ModelDescription
from folkmoot.models.prices import read_prices
from folkmoot.models.providers import (
    DEFAULT_ALIAS,
    OFFLINE,
    OLD_NAMES,
    PROVIDERS,
    Provider,
    ResolvedModel,
    address_of,
    configured,
    default_model,
    resolve,
)
from folkmoot.models.windows import family_window
from folkmoot.settings import Settings

__all__ = ["Catalogue", "ModelDescription"]

log = logging.getLogger(__name__)

PATIENCE = 3.0
KEPT = 300.0
KEPT_AFTER_FAILURE = 30.0
OFFLINE_WINDOW = 128_000


@dataclass(slots=True)
class _Listed:
    """What one provider listed, and until when to believe it."""

    models: tuple[ModelDescription, ...] = ()
    until: float = float("-inf")
    refreshing: asyncio.Task[None] | None = None
    failing: bool = False
    revision: tuple[str, int] | None = None
    by_model: dict[str, ModelDescription] = field(default_factory=dict)


class Catalogue:
    """The models of all configured providers."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        directory: Directory | None = None,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        """Keep what is needed to ask.

        Args:
            settings: for `default_model` and the last-resort `context_window`.
            environ: the providers' variables, usually `os.environ`.
            directory: whom handles name; the providers of `environ` when None.
            clock: tells when a list is too old; seconds.
            patience: seconds to wait for a provider's list.

        Raises:
            StartupError: the file of prices cannot be used.
        """
        self._settings = settings
        self._environ = environ
        self._directory = directory or Directory(environ)
        self._clock = clock
        self._patience = patience
        self._listed: dict[str, _Listed] = {}
        self.prices = read_prices(settings.prices)

    def of(self, organization_id: str | None) -> Catalogue:
        """Return the models that an organisation can be given; what was listed is kept for all together."""
        found = copy.copy(self)
        found._directory = self._directory.of(organization_id)
        return found

    async def models(self) -> list[ModelDescription]:
        """Return the models that hold conversations."""
        return await self._all("llm")

    async def embedding_models(self) -> list[ModelDescription]:
        """Return the models that make embeddings."""
        return await self._all("embedding")

    async def default_model(self) -> str:
        """Return the handle for agents that name no model, asking a provider where only it can tell.

        A server of the user's own, at whatever address, may not have the usual model: then it is the first
        it lists.
        """
        for provider in self._undecided():
            await self._fresh(provider)
            if self._of(provider).models:
                break
        return self.known_default_model()

    def known_default_model(self) -> str:
        """Return the handle for agents that name no model, by what providers have listed so far."""
        chosen = default_model(self._settings, self._environ)
        for provider in self._undecided():
            self._refresh(provider)
            handles = [model.handle for model in self._of(provider).models if model.kind == "llm"]
            if handles and chosen not in handles:
                return handles[0]
        return chosen or f"offline/{OFFLINE.default_model}"

    async def find_handle(self, name: str) -> str:
        """Return what `handle_of` does, also of a provider that another process has added just now."""
        if name != DEFAULT_ALIAS:
            await self._directory.look_for(name)
        return self.handle_of(name)

    def handle_of(self, name: str) -> str:
        """Return the handle of the model that a request names: itself, or the default model's for its alias.

        Raises:
            InvalidInput: the handle is not of the form `provider/model`.
            NotFound: the provider is unknown or not configured.
        """
        handle = self.known_default_model() if name == DEFAULT_ALIAS else name
        self._directory.resolve(handle)
        return handle

    def names_of(self, handle: str | None, by_its_api: str | None) -> list[str]:
        """Return what a model of another server may be called here, the likeliest first.

        Args:
            handle: its handle on that server; None when it had none.
            by_its_api: a handle that names the API which served it.
        """
        old = handle is not None and handle.partition("/")[0] in OLD_NAMES and not self._directory.is_added(handle)
        names = (by_its_api, handle) if old else (handle, by_its_api)
        return list(dict.fromkeys(name for name in names if name is not None))

    async def context_window(self, resolved: ResolvedModel) -> int:
        """Return a model's context window, asking its provider first if that has not been done lately."""
        if resolved.provider is not OFFLINE:
            await self._fresh(resolved.provider)
        return self._best_known(resolved)

    def window_of(self, handle: str) -> int:
        """Return the tokens that a model takes as far as known without waiting, also of one that is not configured."""
        try:
            return self.known_context_window(self._directory.resolve(handle))
        except (NotFound, StoreUnavailable):
            return self._settings.context_window

    def describe(self, handle: str) -> ModelDescription:
        """Return what is known of a model without waiting, also when its provider is no longer configured."""
        try:
            resolved = self._directory.resolve(handle)
        except (NotFound, StoreUnavailable):  # not here, or with keys that cannot be read
            name, _, model = handle.partition("/")
            known = next((provider for provider in PROVIDERS if provider.name == name), Provider(name, name, "openai"))
            return listing.described(known, model, "", self._settings.context_window)
        self.known_context_window(resolved)
        return self.description(resolved)

    def known_context_window(self, resolved: ResolvedModel) -> int:
        """Return the best figure known without waiting; ask the provider for its own in the background."""
        if resolved.provider is not OFFLINE:
            self._refresh(resolved.provider)
        return self._best_known(resolved)

    def description(self, resolved: ResolvedModel) -> ModelDescription:
        """Return what is known of a model without waiting, listed or not."""
        listed = self._of(resolved.provider).by_model.get(resolved.model)
        if listed is not None:
            return listed
        return listing.described(resolved.provider, resolved.model, resolved.address, self._best_known(resolved))

    async def told_by(self, resolved: ResolvedModel) -> list[ModelDescription]:
        """Ask a provider for its models, however lately that was done; raises what `listing.listed_models` does."""
        window, private = self._settings.context_window, self._settings.private_providers
        return await listing.listed_models(resolved, window, allow_private=private)

    def keep(self, provider: Provider, models: Sequence[ModelDescription]) -> None:
        """Take these for what a provider lists, until they are too old."""
        listed = self._of(provider)
        listed.failing, listed.until = False, self._clock() + KEPT
        listed.models = tuple(models)
        listed.by_model = {model.name: model for model in models}

    async def aclose(self) -> None:
        """Give up what is still being asked."""
        tasks = [listed.refreshing for listed in self._listed.values() if listed.refreshing is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _real(self) -> list[Provider]:
        return [provider for provider in self._directory.configured() if provider is not OFFLINE]

    def _undecided(self) -> list[Provider]:
        """Return the providers whose lists tell the default model, where it is not certain."""
        chosen = default_model(self._settings, self._environ)
        if self._settings.default_model:
            return []
        if chosen is None:
            return [provider for provider in configured(self._environ) if provider is not OFFLINE]
        provider = resolve(chosen, self._environ).provider
        known = provider is OFFLINE or address_of(provider, self._environ) == provider.address
        return [] if known else [provider]

    def _of(self, provider: Provider) -> _Listed:
        """Return what a provider listed; of one that was changed since, for as long as nothing newer is known."""
        name = provider.name if provider.revision is None else provider.revision[0]
        listed = self._listed.setdefault(name, _Listed(revision=provider.revision))
        if listed.revision != provider.revision:
            listed = self._listed[name] = _Listed(listed.models, revision=provider.revision, by_model=listed.by_model)
        return listed

    async def _all(self, kind: Literal["llm", "embedding"]) -> list[ModelDescription]:
        await self._directory.read()
        providers = self._real()
        await asyncio.gather(*(self._fresh(provider) for provider in providers))
        found = [model for provider in providers for model in self._of(provider).models if model.kind == kind]
        if kind == "llm":
            found.append(listing.described(OFFLINE, OFFLINE.default_model or "", "", OFFLINE_WINDOW))
        elif offline_embedding.is_installed():
            found.append(listing.described(OFFLINE, offline_embedding.MODEL, "", offline_embedding.WINDOW))
        return found

    async def _fresh(self, provider: Provider) -> None:
        task = self._refresh(provider)
        if task is not None:
            await asyncio.shield(task)

    def _refresh(self, provider: Provider) -> asyncio.Task[None] | None:
        """Start to ask a provider unless its list is still good; several callers share one question."""
        listed = self._of(provider)
        if listed.refreshing is not None and not listed.refreshing.done():
            return listed.refreshing
        if self._clock() < listed.until:
            return None
        try:
            listed.refreshing = asyncio.get_running_loop().create_task(self._ask(provider, listed))
        except RuntimeError:  # no event loop: a caller outside the server gets the figures that are known
            return None
        return listed.refreshing

    async def _ask(self, provider: Provider, listed: _Listed) -> None:
        try:
            resolved = self._directory.resolve(f"{provider.name}/any")
            async with asyncio.timeout(self._patience):
                models = await self.told_by(resolved)
        except Exception as exc:  # whatever a server answers, the list of the others must not fail
            if not listed.failing:
                unsaid = "it did not answer in time" if isinstance(exc, TimeoutError) else type(exc).__name__
                why = exc.message if isinstance(exc, FolkmootError) else unsaid
                log.warning("%s does not list its models: %s", provider.title, why)
            listed.failing, listed.until = True, self._clock() + KEPT_AFTER_FAILURE
            listed.models = ()
            return
        self.keep(resolved.provider, models)

    def _best_known(self, resolved: ResolvedModel) -> int:
        if resolved.provider is OFFLINE:
            return OFFLINE_WINDOW
        told = self._of(resolved.provider).by_model.get(resolved.model)
        if told is not None:
            return told.context_window
        return family_window(resolved.model) or self._settings.context_window
