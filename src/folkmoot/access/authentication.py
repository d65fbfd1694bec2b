"""Who sends a request: one function, `Authentication.identify`, with one result, a `Principal`."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from folkmoot.access.keys import CHANGED, PREFIX, Key, find_by_secret, has_keys, note_use
from folkmoot.access.principals import ADMIN, LOCAL, Principal
from folkmoot.access.sessions import Sessions
from folkmoot.errors import StoreError
from folkmoot.store import clock
from folkmoot.store.engine import Store
from folkmoot.store.signals import wait_or_look_again

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 5.0
"""How often it is looked by itself what keys there are, should a signal of another process be lost."""


class Authentication:
    """Tells principals by FOLKMOOT_API_KEY, stored keys and sessions; without any, everybody is the local admin."""

    def __init__(self, api_key: str | None, *, insecure: bool = False) -> None:
        """Guard with `api_key`.

        Args:
            api_key: FOLKMOOT_API_KEY; None where there is none.
            insecure: without `api_key`, let everybody in although there are stored keys.
        """
        self._key = api_key.encode() if api_key is not None else None
        self._insecure = insecure
        self.sessions = Sessions(self._key)
        self._open = api_key is None
        self._following: asyncio.Task[None] | None = None
        self._listening = ExitStack()

    @property
    def needs_key(self) -> bool:
        """Whether nobody is let in without a key."""
        return not self._open

    async def open(self, store: Store) -> None:
        """See whether there are stored keys, and go on seeing: the first one closes a server that was open.

        Raises:
            StoreError: the database cannot be read.
        """
        if self._key is not None or self._insecure:
            return
        changed = self._listening.enter_context(store.signals.listening(CHANGED))
        await self._look(store)
        self._following = asyncio.create_task(self._follow(store, changed))

    def close_to_strangers(self) -> None:
        """Let nobody in without a key from now on, unless that was meant: there is one now."""
        self._open = self._key is None and self._insecure

    async def close(self) -> None:
        """Follow the keys no longer."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        self._listening.close()

    async def identify(self, headers: Mapping[bytes, bytes], store: Store | None) -> Principal | None:
        """Return who sends a request; None when nothing in it tells.

        Args:
            headers: the request's.
            store: where keys and sessions are looked up, each time anew; None where they make no difference.

        Raises:
            StoreUnavailable: a key or a session cannot be looked up.
        """
        for given in _shown_keys(headers):
            if self._key is not None and hmac.compare_digest(given, self._key):
                return ADMIN
            if given.startswith(PREFIX.encode()):
                # Even where nobody needs a key: whoever shows one is who the key says, or nobody.
                return await self.identify_secret(given.decode("latin-1"), store) if store is not None else None
        if self._open:
            return LOCAL
        if store is None or b"cookie" not in headers:
            return None
        return await self.sessions.find(store, headers[b"cookie"])

    async def identify_secret(self, given: str, store: Store) -> Principal | None:
        """Return who has a key; None when it is none, or none any more.

        Raises:
            StoreUnavailable: it cannot be looked up.
        """
        if self._key is not None and hmac.compare_digest(given.encode(), self._key):
            return ADMIN
        if not given.startswith(PREFIX):
            return None
        key = await store.everywhere.read(lambda transaction: find_by_secret(transaction, given))
        if key is None:
            return None
        if key.use_is_due(clock.now()):
            await _note_use(store, key)
        return key.principal()

    async def _follow(self, store: Store, changed: asyncio.Event) -> None:
        while self._open:
            await wait_or_look_again(changed, LOOK_AGAIN_SECONDS)
            changed.clear()
            try:
                await self._look(store)
            except StoreError as error:
                logger.warning("It could not be read whether there are keys: %s", error.message)

    async def _look(self, store: Store) -> None:
        if await store.everywhere.read(has_keys):
            self.close_to_strangers()


def _shown_keys(headers: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """Yield the keys that a request shows, in the usual header and in the older one that guides for the API have."""
    for name, scheme in ((b"authorization", b"bearer"), (b"x-bare-password", b"password")):
        given = headers.get(name, b"").partition(b" ")
        if given[0].lower() == scheme:
            yield given[2].strip()


async def _note_use(store: Store, key: Key) -> None:
    """Write that a key is in use; a database that takes no writes may still be read."""
    try:
        await store.of(key.organization_id).write(lambda transaction: note_use(transaction, key.id))
    except StoreError as error:
        logger.warning("The last use of key %s could not be written: %s", key.id, error.message)
