"""Many who watch one block: they share what is read, and each is told every version once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from folkmoot.errors import StoreUnavailable
from folkmoot.memory import watch
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import create_block, delete_block, update_block
from folkmoot.memory.watch import Gone, MemoryEvent, NewVersion, Snapshot, watch_block
from folkmoot.store.engine import Store, T, Work
from support.polling import PATIENCE
from support.stores import open_default

WATCHERS = 200
API = Author("api", name="local")


class Counted:
    """A store that counts its reads, and fails them while it is told to."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.signals = store.signals
        self.reads = 0
        self.under_way = 0
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, work: Work[T]) -> T:
        self.reads += 1
        if self.fails:
            raise StoreUnavailable("away")
        self.under_way += 1
        try:
            return await self._store.read(work)
        finally:
            self.under_way -= 1


@pytest.fixture
async def counted(database_url: str) -> AsyncIterator[Counted]:
    store = await open_default(database_url)
    yield Counted(store)
    await store.close()


async def new_block(store: Counted) -> str:
    fields = {"label": "shared", "value": "1"}
    return (await store.write(lambda transaction: create_block(transaction, fields, API))).id


async def edit(store: Counted, block_id: str, text: str) -> None:
    await store.write(lambda transaction: update_block(transaction, block_id, {"value": text}, API))


async def take(events: AsyncIterator[MemoryEvent], count: int) -> list[MemoryEvent]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(events) for _ in range(count)]


def numbers(events: list[MemoryEvent]) -> list[int]:
    return [event.version.number for event in events if isinstance(event, NewVersion)]


async def settled(store: Counted) -> None:
    """Wait until nobody reads, nor has for a while."""
    before = -1
    while store.reads != before or store.under_way:
        before = store.reads
        await asyncio.sleep(0.1)


async def test_each_version_is_read_once_for_all_who_watch_the_block(counted: Counted) -> None:
    block = await new_block(counted)
    watches = [watch_block(counted, block) for _ in range(WATCHERS)]
    first = [await take(each, 1) for each in watches]
    assert all(isinstance(event, Snapshot) for [event] in first)
    taking = [asyncio.create_task(take(each, 5)) for each in watches]
    await settled(counted)
    before = counted.reads
    for text in ("2", "3", "4", "5", "6"):
        await edit(counted, block, text)
    told = await asyncio.gather(*taking)
    assert {tuple(numbers(events)) for events in told} == {(2, 3, 4, 5, 6)}
    assert {tuple(event.text for event in events) for events in told} == {("2", "3", "4", "5", "6")}
    assert counted.reads - before < 30, "the reads do not depend on how many watch"
    assert len({id(event) for events in told for event in events}) == 5, "all are told the same, encoded once"
    for each in watches:
        await each.aclose()


async def test_nothing_is_read_once_the_last_watcher_has_left(counted: Counted) -> None:
    block = await new_block(counted)
    for each in [watch_block(counted, block) for _ in range(3)]:
        async with aclosing(each):
            await take(each, 1)
    await settled(counted)
    before = counted.reads
    await edit(counted, block, "2")
    await asyncio.sleep(0.1)
    assert counted.reads == before
    async with aclosing(watch_block(counted, block, 1)) as again:
        assert numbers(await take(again, 1)) == [2]


async def test_a_watcher_that_is_far_behind_misses_nothing(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "KEPT_CHARACTERS", 3)
    block = await new_block(counted)
    quick, slow = watch_block(counted, block), watch_block(counted, block)
    await take(quick, 1)
    await take(slow, 1)
    await edit(counted, block, "2")
    assert numbers(await take(slow, 1)) == [2]
    for text in range(3, 90):
        await edit(counted, block, str(text))
        await take(quick, 1 if text > 3 else 2)
    late = watch_block(counted, block, 50)
    assert numbers(await take(slow, 87)) == list(range(3, 90))
    assert numbers(await take(late, 39)) == list(range(51, 90))
    taking = [asyncio.create_task(take(each, 1)) for each in (quick, slow, late)]
    await edit(counted, block, "90")
    assert [numbers(events) for events in await asyncio.gather(*taking)] == [[90]] * 3
    for each in (quick, slow, late):
        await each.aclose()


async def test_all_watchers_are_told_that_the_block_is_gone(counted: Counted) -> None:
    block = await new_block(counted)
    watches = [watch_block(counted, block) for _ in range(30)]
    for each in watches:
        await take(each, 1)
    taking = [asyncio.create_task(take(each, 1)) for each in watches]
    await settled(counted)
    await counted.write(lambda transaction: delete_block(transaction, block))
    assert await asyncio.gather(*taking) == [[Gone(block)]] * 30


async def test_a_database_that_fails_ends_the_watches_and_a_new_one_goes_on(counted: Counted) -> None:
    block = await new_block(counted)
    watches = [watch_block(counted, block) for _ in range(3)]
    for each in watches:
        await take(each, 1)
    taking = [asyncio.create_task(take(each, 1)) for each in watches]
    await settled(counted)
    counted.fails = True
    await edit(counted, block, "2")
    outcomes = await asyncio.gather(*taking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    counted.fails = False
    async with aclosing(watch_block(counted, block, 1)) as again:
        assert numbers(await take(again, 1)) == [2]
        await edit(counted, block, "3")
        assert numbers(await take(again, 1)) == [3]


async def test_a_watch_begins_with_what_was_written_before_it_though_no_wake_up_has_come(counted: Counted) -> None:
    """As when another process wrote: its wake-up may be late, but a read after the write sees it."""
    block = await new_block(counted)
    async with aclosing(watch_block(counted, block)) as first:
        await take(first, 1)
        await settled(counted)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(counted.signals, "wake", lambda topics: None)
            await edit(counted, block, "2")
        async with aclosing(watch_block(counted, block, 1)) as resumed:
            assert numbers(await take(resumed, 1)) == [2]
        await edit(counted, block, "3")
        assert numbers(await take(first, 2)) == [2, 3]


async def test_a_reader_that_pauses_until_its_versions_are_forgotten_is_told_them_all(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_AGAIN_SECONDS", 0.02)
    block_id = await new_block(counted)
    async with aclosing(watch_block(counted, block_id)) as events:
        await take(events, 1)
        reading = asyncio.create_task(take(events, 1))
        await asyncio.sleep(0)
        await asyncio.gather(*(edit(counted, block_id, str(number)) for number in range(2, 7)))
        assert numbers(await reading) == [2]
        (feed,) = watch._feeds[counted.engine].values()
        async with asyncio.timeout(PATIENCE):
            while feed._kept:
                await asyncio.sleep(0)
        assert numbers(await take(events, 4)) == [3, 4, 5, 6]
