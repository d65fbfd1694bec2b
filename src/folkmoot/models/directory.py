"""Whom a model's handle names: a provider that the server is configured with, or one that an organisation has added.

A process keeps what was added in memory, and reads it anew when a commit of any process concerned it, so that a handle
is read without waiting.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from folkmoot.errors import FolkmootError, NotFound
from folkmoot.models.added import TOPIC, AddedProvider, all_providers
from folkmoot.models.providers import Provider, ResolvedModel, configured, resolve
from folkmoot.store.engine import Store
from folkmoot.store.leases import again_and_again
from folkmoot.store.sealing import Sealer
from folkmoot.store.signals import wait_or_look_again

LOOK_AGAIN_SECONDS = 30.0
"""How often is looked for providers that no signal told of."""


@dataclass(slots=True)
class _Added:
    """What organisations have added, by organisation and name, as this process last read it."""

    store: Store | None = None
    sealer: Sealer | None = None
    providers: Mapping[str | None, Mapping[str, AddedProvider]] = field(default_factory=dict)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    keys: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """What is sealed of them and has been read; a list of agents asks for it many times."""

    def unseal(self, sealed: str | None) -> Mapping[str, str]:
        """Return keys that are sealed.

        Raises:
            StoreUnavailable: they were sealed with another key than the server's.
        """
        if sealed is None or self.sealer is None:
            return {}
        if sealed not in self.keys:
            self.keys[sealed] = self.sealer.unseal(sealed)
        return self.keys[sealed]


class Directory:
    """The providers of one organisation; `of` gives another one's, and all of them share what was read."""

    def __init__(
        self, environ: Mapping[str, str], organization_id: str | None = None, added: _Added | None = None
    ) -> None:
        """Know the providers that `environ` configures, and none that was added before `open`."""
        self._environ = environ
        self._organization_id = organization_id
        self._added = added or _Added()
        self._listening = ExitStack()
        self._task: asyncio.Task[None] | None = None

    async def open(self, store: Store, sealer: Sealer) -> None:
        """Read what organisations have added, and go on doing so when it changes."""
        self._added.store, self._added.sealer = store.everywhere, sealer
        changed = self._listening.enter_context(store.signals.listening(TOPIC))
        await self.read()

        async def follow() -> None:
            await wait_or_look_again(changed, LOOK_AGAIN_SECONDS)
            changed.clear()
            await self.read()

        self._task = asyncio.create_task(again_and_again("Providers that were added could not be read", follow))

    async def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._listening.close()

    def of(self, organization_id: str | None) -> Directory:
        """Return the providers of an organisation."""
        return Directory(self._environ, organization_id, self._added)

    async def read(self) -> None:
        """Read what all organisations have added: every commit before counts from here on."""
        if self._added.store is None:
            return
        async with self._added.reading:  # one after the other, so that none puts back what an earlier one saw
            found: defaultdict[str | None, dict[str, AddedProvider]] = defaultdict(dict)
            for each in await self._added.store.read(all_providers):
                found[each.organization_id][each.name] = each
            kept = {each.sealed for providers in found.values() for each in providers.values()}
            self._added.providers = dict(found)
            self._added.keys = {sealed: keys for sealed, keys in self._added.keys.items() if sealed in kept}

    async def look_for(self, handle: str) -> None:
        """Read anew what was added, if nobody is known here whom a handle names: another process may just have it."""
        try:
            self.resolve(handle)
        except NotFound:
            await self.read()
        except FolkmootError:
            return  # whoever resolves it says what is wrong

    def is_added(self, handle: str) -> bool:
        """Tell whether a handle names a provider that the organisation has added."""
        return self._find(handle.partition("/")[0]) is not None

    def resolve(self, handle: str) -> ResolvedModel:
        """Return the model that a handle stands for; raises what `providers.resolve` does.

        Raises:
            StoreUnavailable: the provider's keys were encrypted with another key than the server's.
        """
        name, _, model = handle.partition("/")
        added = self._find(name)
        if added is None or not model.strip():
            return resolve(handle, self._environ)
        return added.resolve(model, self._added.unseal)

    def configured(self) -> list[Provider]:
        """Return the providers that can be asked: those that were added first, and `offline` last."""
        added = self._added.providers.get(self._organization_id, {})
        return [*(each.provider for each in added.values()), *configured(self._environ)]

    def _find(self, name: str) -> AddedProvider | None:
        return self._added.providers.get(self._organization_id, {}).get(name)
