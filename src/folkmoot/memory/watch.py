"""Watching memory: every new version of a block, in order, as it commits.

A wake-up only says when to look; what is told is read from the history, so that there is no gap and nothing twice,
whichever process wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from folkmoot.errors import NotFound
from folkmoot.memory import attachments, blocks
from folkmoot.memory.attachments import Access, agent_exists, attached_rows
from folkmoot.memory.blocks import Block, find_block
from folkmoot.memory.history import Version, list_versions, read_texts
from folkmoot.store.engine import Store, Transaction

LOOK_AGAIN_SECONDS = 5.0
"""How often a watcher looks by itself, should a wake-up from another process be lost."""

VERSIONS_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Blocks as they are when a watch begins, or when an agent's set of blocks has changed."""

    blocks: Sequence[tuple[Block, Access | None]]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version of a block, with its text."""

    block_id: str
    version: Version
    text: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The block, or the agent whose blocks were watched, was deleted; nothing follows."""

    id: str


MemoryEvent: TypeAlias = Snapshot | NewVersion | Gone


async def watch_block(store: Store, block_id: str, seen: int | None = None) -> AsyncIterator[MemoryEvent]:
    """Yield the block as it is, then each new version; with `seen`, each version after that one instead.

    Raises:
        NotFound: there is no such block when the watch begins.
    """
    block = await store.read(lambda transaction: find_block(transaction, block_id))
    with store.signals.listening(blocks.topic(block_id)) as changed:
        if seen is None or seen > block.version:
            block = await store.read(lambda transaction: find_block(transaction, block_id))
            yield Snapshot([(block, None)])
            seen = block.version
        while True:
            changed.clear()
            try:
                async for event in _news(store, block_id, seen):
                    yield event
                    seen = event.version.number
            except NotFound:
                yield Gone(block_id)
                return
            await _wait(changed)


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
        topics = [attachments.topic(agent_id), *(blocks.topic(block.id) for block, _ in attached)]
        with store.signals.listening(*topics) as changed:
            attached = await _attached(store, agent_id)
            if not attached and not await store.read(lambda transaction: agent_exists(transaction, agent_id)):
                yield Gone(agent_id)
                return
            now = {block.id: access for block, access in attached}
            follows = {block.id for block, _ in attached if told.get(block.id, block.version + 1) <= block.version}
            if known != now and (known or seen is None or set(told) != set(now) or follows != set(now)):
                yield Snapshot(attached)
                told = {block.id: block.version for block, _ in attached}
            known = now
            while known == now:
                changed.clear()
                for block_id in now:
                    async for event in _news(store, block_id, told[block_id]):
                        yield event
                        told[block_id] = event.version.number
                await _wait(changed)
                now = {block.id: access for block, access in await _attached(store, agent_id)}


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
            found = await list_versions(transaction, block_id, VERSIONS_AT_ONCE, after=seen, ascending=True)
            texts = await read_texts(transaction, block_id, found[0].number, found[-1].number)
            return [NewVersion(block_id, version, text) for version, (_, text) in zip(found, texts, strict=True)]

        news = await store.read(read)
        for event in news:
            yield event
            seen = event.version.number
        if not news:
            return


async def _wait(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_AGAIN_SECONDS):
            await changed.wait()
    except TimeoutError:
        return
