"""Watching memory: every new version of a block, in order, as it commits.

A wake-up only says when to look; what is told is read from the history, so that there is no gap and nothing twice,
whichever process wrote. Those who watch one block share a `_Feed`, which reads each new version once for all of them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias
from weakref import WeakKeyDictionary

from folkmoot.errors import NotFound
from folkmoot.memory import attachments, blocks, deltas
from folkmoot.memory.attachments import Access, agent_exists, attached_rows
from folkmoot.memory.blocks import Block, find_block
from folkmoot.memory.history import Version, list_versions, read_texts
from folkmoot.store.engine import Engine, Store, Transaction
from folkmoot.store.signals import wait_or_look_again

LOOK_AGAIN_SECONDS = 5.0
"""How often a block is looked at without a wake-up, should one from another process be lost."""

VERSIONS_AT_ONCE = 50
CHARACTERS_AT_ONCE = 1_000_000
"""How much is read at once for those who watch a block: fewer versions of a long one."""

KEPT_VERSIONS = 500
KEPT_CHARACTERS = 500_000
"""How much text of a block's newest versions is kept for the watchers that have not been told yet."""

WOKEN_AT_ONCE = 10
"""Watchers that are woken before the event loop may turn to something else."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Blocks as they are when a watch begins, or when an agent's set of blocks has changed."""

    blocks: Sequence[tuple[Block, Access | None]]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class NewVersion:
    """A version of a block, with its text; the same object for all who are told of it at about the same time."""

    block_id: str
    version: Version
    text: str
    change: str
    """What of the text differs from the version before, as `memory/deltas.py` says it."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The block, or the agent whose blocks were watched, was deleted; nothing follows."""

    id: str


MemoryEvent: TypeAlias = Snapshot | NewVersion | Gone


async def watch_block(store: Store, block_id: str, seen: int | None = None) -> AsyncIterator[MemoryEvent]:
    """Yield the block as it is, then each new version; with `seen`, each version after that one instead.

    The answer has begun by then, so that a block which is deleted at any moment is an event, too.
    """
    try:
        block = await store.read(lambda transaction: find_block(transaction, block_id))
        changed = asyncio.Event()
        with _joined(store, block_id, changed) as feed:
            if seen is None or seen > block.version:
                block = await store.read(lambda transaction: find_block(transaction, block_id))
                yield Snapshot([(block, None)])
                seen = block.version
            news = _news(store, block_id, seen)  # its own look at first: the feed may not have heard yet
            while True:
                async for event in news:
                    yield event
                    seen = event.version.number
                await changed.wait()
                changed.clear()
                news = feed.after(seen)
    except NotFound:
        yield Gone(block_id)


async def watch_agent(store: Store, agent_id: str, seen: Mapping[str, int] | None = None) -> AsyncIterator[MemoryEvent]:
    """Yield the agent's blocks as they are, then each new version of any, and all blocks anew when the set changes.

    Args:
        store: the database.
        agent_id: whose blocks.
        seen: the version of each block that a watch before this one has told; None for a new watch.
    """
    told = dict(seen or {})
    known: dict[str, Access] | None = None if seen is None else {}
    while True:
        attached = await _attached(store, agent_id)
        with store.signals.listening(attachments.topic(agent_id)) as changed, ExitStack() as joined:
            feeds = {block.id: joined.enter_context(_joined(store, block.id, changed)) for block, _ in attached}
            attached = await _attached(store, agent_id)
            if not attached and not await store.read(lambda transaction: agent_exists(transaction, agent_id)):
                yield Gone(agent_id)
                return
            now = {block.id: access for block, access in attached}
            if now.keys() != feeds.keys():
                continue  # changed between the two looks
            follows = {block.id for block, _ in attached if told.get(block.id, block.version + 1) <= block.version}
            if known != now and (known or seen is None or set(told) != set(now) or follows != set(now)):
                yield Snapshot(attached)
                told = {block.id: block.version for block, _ in attached}
            known = now
            news = {block_id: _news(store, block_id, told[block_id]) for block_id in now}
            while known == now:
                for block_id in now:
                    with suppress(NotFound):  # it is gone, as the next look at the agent's blocks says
                        async for event in news[block_id]:
                            yield event
                            told[block_id] = event.version.number
                await wait_or_look_again(changed, LOOK_AGAIN_SECONDS)
                changed.clear()
                news = {block_id: feed.after(told[block_id]) for block_id, feed in feeds.items()}
                now = {block.id: access for block, access in await _attached(store, agent_id)}


class _Feed:
    """The newest versions of one block, each read from the history once for all who watch it."""

    def __init__(self, store: Store, block_id: str) -> None:
        """Begin to follow the block."""
        self._store = store
        self._block_id = block_id
        self._kept: deque[NewVersion] = deque(maxlen=KEPT_VERSIONS)
        self._version: int | None = None
        self._failure: Exception | None = None
        self._following = asyncio.create_task(self._follow())
        self.watchers: set[asyncio.Event] = set()

    @property
    def is_over(self) -> bool:
        """Whether nothing new will come from it: the block is gone, or the database failed."""
        return self._failure is not None or self._following.done()

    def stop(self) -> None:
        """Follow the block no longer."""
        self._following.cancel()

    async def after(self, seen: int) -> AsyncIterator[NewVersion]:
        """Yield the versions after `seen` there are now; its watcher is woken when there are more.

        Raises:
            NotFound: the block is gone.
            StoreError: the database failed.
        """
        while self._kept and 0 <= (place := seen + 1 - self._kept[0].version.number) < len(self._kept):
            event = self._kept[place]
            yield event
            seen = event.version.number
        if self._version is None or seen < self._version:  # the feed does not have it any more, or not yet
            async for event in _news(self._store, self._block_id, seen):
                yield event
        if self._failure is not None:
            raise self._failure

    async def _follow(self) -> None:
        try:
            with self._store.signals.listening(blocks.topic(self._block_id)) as changed:
                block = await self._store.read(lambda transaction: find_block(transaction, self._block_id))
                self._version = block.version
                await self._wake()
                while True:
                    await self._look(self._version)
                    if not await wait_or_look_again(changed, LOOK_AGAIN_SECONDS):
                        self._kept.clear()
                    changed.clear()
        except Exception as error:  # the watchers raise it
            self._failure = error
            await self._wake()

    async def _look(self, seen: int) -> None:
        """Keep what is new and wake the watchers."""
        async for event in _news(self._store, self._block_id, seen):
            self._kept.append(event)
            self._version = event.version.number
            while len(self._kept) > 1 and sum(len(kept.text) for kept in self._kept) > KEPT_CHARACTERS:
                self._kept.popleft()
        if self._version != seen:
            await self._wake()

    async def _wake(self) -> None:
        """Wake the watchers, some at a time, so that the server answers others meanwhile."""
        for number, watcher in enumerate(list(self.watchers), 1):
            watcher.set()
            if number % WOKEN_AT_ONCE == 0:
                await asyncio.sleep(0)


_feeds: WeakKeyDictionary[Engine, dict[tuple[str | None, str], _Feed]] = WeakKeyDictionary()
"""By organisation and block; each request has a `Store` of its own, all have one engine."""


@contextmanager
def _joined(store: Store, block_id: str, changed: asyncio.Event) -> Iterator[_Feed]:
    """Share the block's feed, which sets `changed` whenever there is something new; the last who leaves ends it."""
    feeds = _feeds.setdefault(store.engine, {})
    key = (store.organization_id, block_id)
    feed = feeds.get(key)
    if feed is None or feed.is_over:
        feed = feeds[key] = _Feed(store, block_id)
    feed.watchers.add(changed)
    try:
        yield feed
    finally:
        feed.watchers.discard(changed)
        if not feed.watchers:
            feed.stop()
            if feeds.get(key) is feed:
                del feeds[key]


async def _attached(store: Store, agent_id: str) -> list[tuple[Block, Access]]:
    async def read(transaction: Transaction) -> list[tuple[Block, Access]]:
        return [(Block.from_row(row), row["access"]) for row in await attached_rows(transaction, agent_id)]

    return await store.read(read)


async def _news(store: Store, block_id: str, seen: int) -> AsyncIterator[NewVersion]:
    """Yield the versions after `seen`, some at a time.

    Raises:
        NotFound: the block is gone.
    """
    while True:

        async def read(transaction: Transaction, seen: int = seen) -> list[NewVersion]:
            block = await find_block(transaction, block_id)
            if block.version == seen:
                return []
            some = max(min(VERSIONS_AT_ONCE, CHARACTERS_AT_ONCE // (len(block.value) + 1)), 1)
            found = await list_versions(transaction, block_id, some, after=seen, ascending=True)
            if not found:  # deleted since it was found
                raise NotFound(f"Block {block_id} has no version {block.version}.")
            texts = [text for _, text in await read_texts(transaction, block_id, seen, found[-1].number)]
            before = texts[-len(found) - 1 : -1] if len(texts) > len(found) else ["", *texts[:-1]]
            return [
                NewVersion(block_id, version, text, deltas.encode(earlier, text))
                for version, earlier, text in zip(found, before, texts[-len(found) :], strict=True)
            ]

        news = await store.read(read)
        for event in news:
            yield event
            seen = event.version.number
        if not news:
            return
