"""Reads that may take long: on threads of their own, a few at once, given up when nobody waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import func, literal_column, select

from folkmoot.errors import StoreOverloaded
from folkmoot.store import scans
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.tables import blocks
from support.polling import PATIENCE

_count = select(func.count().label("count")).select_from(blocks)


async def count_of(transaction: Transaction) -> int:
    row = await transaction.first(_count)
    return int(row["count"]) if row is not None else -1


@asynccontextmanager
async def held_scans(store: Store, number: int) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Begin scans that do not end before the block does."""
    begun, release = threading.Semaphore(0), threading.Event()

    def hold(_: int) -> str:
        begun.release()
        release.wait(PATIENCE)
        return threading.current_thread().name

    tasks = [asyncio.create_task(store.scan(count_of, hold)) for _ in range(number)]
    for _ in range(min(number, scans.AT_ONCE)):
        assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE)
    try:
        yield tasks
    finally:
        release.set()


async def test_what_a_scan_makes_of_its_rows_is_made_on_another_thread(opened: Store) -> None:
    made_by = await opened.scan(count_of, lambda _: threading.current_thread())
    assert made_by is not threading.current_thread()
    assert await opened.scan(count_of) == 0


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_scan_reads_on_another_thread_too(opened: Store) -> None:
    async def read(_: Transaction) -> threading.Thread:
        return threading.current_thread()

    assert await opened.scan(read) is not threading.current_thread()
    assert await opened.read(read) is threading.current_thread()


async def test_others_read_and_write_while_scans_are_held(opened: Store) -> None:
    async def note(transaction: Transaction) -> int:
        return await count_of(transaction)

    async with held_scans(opened, scans.AT_ONCE) as held:
        assert await opened.read(count_of) == 0
        assert await opened.write(note) == 0
        assert not any(task.done() for task in held)
    assert all(name.startswith("folkmoot-scan") for name in await asyncio.gather(*held))


async def test_scans_beyond_the_queue_are_refused(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "MOST_WAITING", 1)
    async with held_scans(opened, scans.AT_ONCE + 1) as held:
        with pytest.raises(StoreOverloaded, match="Try again in a moment"):
            await opened.scan(count_of)
    await asyncio.gather(*held)
    assert await opened.scan(count_of) == 0


async def test_a_scan_that_takes_too_long_is_given_up(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await opened.scan(count_of) == 0  # which opens a connection; that may take longer
    monkeypatch.setattr(scans, "LONGEST_SCAN", 0.05)
    release = threading.Event()
    with pytest.raises(StoreOverloaded, match="Ask for less"):
        await opened.scan(count_of, lambda _: release.wait(PATIENCE))
    release.set()


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_statement_ends_when_nobody_waits_for_it(opened: Store) -> None:
    numbers = select(literal_column("1").label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1))
    endless = select(func.max(numbers.c.n))
    begun = threading.Event()

    async def read(transaction: Transaction) -> Any:
        begun.set()
        return await transaction.first(endless)

    tasks = [asyncio.create_task(opened.everywhere.scan(read)) for _ in range(scans.AT_ONCE)]
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await opened.scan(count_of) == 0, "their threads are free again"
