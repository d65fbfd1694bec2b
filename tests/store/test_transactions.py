"""Transactions: all or nothing, each for itself, durable before they are told, heard of after they are done."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from contextlib import closing
from typing import Any

import asyncpg
import pytest
from sqlalchemy import bindparam, func, select, update

from folkmoot.errors import Conflict, InvalidInput, StoreError, StoreOverloaded, StoreUnavailable
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.tables import block_tags, blocks
from support.polling import PATIENCE
from support.stores import open_default


def block(name: str, **changes: Any) -> dict[str, Any]:
    row = {
        "id": name,
        "label": name,
        "value": "",
        "character_limit": 100,
        "read_only": False,
        "is_template": False,
        "extra": "{}",
        "version": 1,
        "created_at": 1,
        "updated_at": 1,
        "updated_by": "{}",
    }
    return row | changes


async def names(store: Store) -> list[str]:
    async def read(transaction: Transaction) -> list[str]:
        return [row["id"] for row in await transaction.all(select(blocks.c.id).order_by(blocks.c.id))]

    return await store.read(read)


def inserting(*rows: str) -> Any:
    async def work(transaction: Transaction) -> str:
        for name in rows:
            await transaction.insert(blocks, [block(name)])
        return rows[0]

    return work


class Refused(Exception):
    """What a piece of work raises by itself."""


async def test_work_returns_its_result_and_stays(opened: Store) -> None:
    assert await opened.write(inserting("a", "b")) == "a"
    assert await names(opened) == ["a", "b"]


async def test_values_come_back_as_they_went(opened: Store) -> None:
    odd = "\u202e 😀 \x01 '; DROP TABLE blocks; -- \\ \" %s ? :x $1 \r\n\t ä\u0308"

    async def work(transaction: Transaction) -> None:
        await transaction.insert(blocks, [block("a", value=odd, hidden=None, read_only=True, created_at=2**53)])

    await opened.write(work)

    async def read(transaction: Transaction) -> Any:
        return await transaction.first(select(blocks))

    row = await opened.read(read)
    assert (row["value"], row["hidden"], bool(row["read_only"]), row["created_at"]) == (odd, None, True, 2**53)


async def test_work_that_raises_is_undone_as_a_whole(opened: Store) -> None:
    async def work(transaction: Transaction) -> None:
        await transaction.insert(blocks, [block("a"), block("b")])
        raise Refused

    with pytest.raises(Refused):
        await opened.write(work)
    assert await names(opened) == []


async def test_a_statement_that_breaks_a_rule_is_a_conflict_and_undone(opened: Store) -> None:
    await opened.write(inserting("a"))
    with pytest.raises(Conflict):
        await opened.write(inserting("b", "a"))
    orphan = {"block_id": "nobody", "tag": "x"}
    with pytest.raises(Conflict):
        await opened.write(lambda transaction: transaction.insert(block_tags, [orphan]))
    assert await names(opened) == ["a"]


@pytest.mark.every_case_on_both
@pytest.mark.parametrize("together", [None, "a block"])
async def test_a_piece_that_raises_takes_nobody_with_it(opened: Store, together: str | None) -> None:
    """Pieces that come at once share a commit on SQLite, those on one thing on PostgreSQL too; each lands or fails."""

    async def failing(transaction: Transaction) -> None:
        await transaction.insert(blocks, [block("gone")])
        raise Refused

    pieces = [
        opened.write(
            failing if number % 3 == 1 else inserting("a" if number % 3 == 2 else f"piece {number:02}"),
            together=together,
        )
        for number in range(30)
    ]
    results = await asyncio.gather(*pieces, return_exceptions=True)
    for number, result in enumerate(results):
        if number % 3 == 1:
            assert isinstance(result, Refused)
        elif number % 3 == 0:
            assert result == f"piece {number:02}"
    assert sum(isinstance(result, Conflict) for result in results) == 9
    assert await names(opened) == ["a", *(f"piece {number:02}" for number in range(0, 30, 3))]


async def test_a_statement_the_database_refuses_takes_nobody_with_it(opened: Store, store: str) -> None:
    """More parameters than an engine takes, say: asyncpg 32,767, SQLite as it is usually built 250,000."""
    many = [f"x{number}" for number in range(300_000 if store == "sqlite" else 40_000)]

    async def too_much(transaction: Transaction) -> None:
        await transaction.all(select(blocks.c.id).where(blocks.c.id.in_(many)))

    pieces = [inserting("before"), too_much, inserting("after")]
    results = await asyncio.gather(*(opened.write(piece) for piece in pieces), return_exceptions=True)
    assert isinstance(results[1], Exception)
    assert [results[0], results[2]] == ["before", "after"]
    assert await names(opened) == ["after", "before"]


async def test_a_number_that_no_database_holds_is_refused_and_takes_nobody_with_it(opened: Store) -> None:
    async def late(transaction: Transaction) -> None:
        await transaction.insert(blocks, [block("late", created_at=2**63)])

    by_time = select(blocks.c.id).where(blocks.c.created_at == bindparam("at"))
    pieces = [inserting("before"), late, inserting("after")]
    results = await asyncio.gather(*(opened.write(piece) for piece in pieces), return_exceptions=True)
    assert [results[0], results[2]] == ["before", "after"]
    assert isinstance(results[1], InvalidInput)
    with pytest.raises(InvalidInput):
        await opened.read(lambda transaction: transaction.all(by_time, at=2**63))
    assert await names(opened) == ["after", "before"]


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_what_is_too_long_for_an_index_is_refused_and_takes_nobody_with_it(opened: Store) -> None:
    label = "".join(f"{number * number:x}" for number in range(4000))  # which does not pack to little

    async def too_long(transaction: Transaction) -> None:
        await transaction.insert(blocks, [block("long", label=label)])

    pieces = [inserting("before"), too_long, inserting("after")]
    results = await asyncio.gather(*(opened.write(piece) for piece in pieces), return_exceptions=True)
    assert [results[0], results[2]] == ["before", "after"]
    assert isinstance(results[1], InvalidInput)
    assert "too long" in results[1].message
    assert label[:20] not in results[1].message


async def test_each_piece_sees_what_the_ones_before_it_did(opened: Store) -> None:
    await opened.write(inserting("counter"))
    raised = update(blocks).where(blocks.c.id == "counter").values(version=blocks.c.version + 1)

    async def count(transaction: Transaction) -> int:
        assert await transaction.run(raised) == 1
        row = await transaction.first(select(blocks.c.version))
        assert row is not None
        version: int = row["version"]
        return version

    assert sorted(await asyncio.gather(*(opened.write(count) for _ in range(40)))) == list(range(2, 42))


async def test_how_many_rows_were_changed_is_told(opened: Store) -> None:
    await opened.write(inserting("a", "b", "c"))
    for name, count in (("a", 1), ("nobody", 0)):
        changed = update(blocks).where(blocks.c.id == bindparam("name")).values(label="new")
        assert await opened.write(lambda transaction, n=name, s=changed: transaction.run(s, name=n)) == count
    assert await opened.write(lambda transaction: transaction.run(update(blocks).values(label="all"))) == 3


async def test_inserting_no_rows_does_nothing(opened: Store) -> None:
    await opened.write(lambda transaction: transaction.insert(blocks, []))
    assert await names(opened) == []


async def test_a_read_sees_only_what_is_committed_and_writes_nothing(opened: Store) -> None:
    seen: list[Any] = []

    async def work(transaction: Transaction) -> None:
        await transaction.insert(blocks, [block("a")])
        row = await transaction.first(select(func.count().label("count")).select_from(blocks))
        seen.append(row["count"] if row else None)

    await opened.write(work)
    assert seen == [1]
    assert await names(opened) == ["a"]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_work_that_awaits_something_else_is_refused_and_undone(opened: Store) -> None:
    async def pausing(transaction: Transaction) -> None:
        await transaction.insert(blocks, [block("a")])
        await asyncio.sleep(0)

    results = await asyncio.gather(opened.write(pausing), opened.write(inserting("b")), return_exceptions=True)
    assert isinstance(results[0], RuntimeError)
    assert results[1] == "b"
    with pytest.raises(RuntimeError, match="something other than its transaction"):
        await opened.read(lambda transaction: asyncio.sleep(0))
    assert await names(opened) == ["b"]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_reading_cannot_write_on_sqlite(opened: Store) -> None:
    with pytest.raises(StoreUnavailable):
        await opened.read(inserting("a"))
    assert await names(opened) == []


async def test_a_cancelled_request_leaves_the_store_at_work(opened: Store) -> None:
    writing = [asyncio.create_task(opened.write(inserting(f"piece {number}"))) for number in range(10)]
    await asyncio.sleep(0)
    for task in writing[::2]:
        task.cancel()
    results = await asyncio.gather(*writing, return_exceptions=True)
    assert [results[number] for number in range(1, 10, 2)] == [f"piece {number}" for number in range(1, 10, 2)]
    await opened.write(inserting("after"))
    assert {"after", *(f"piece {number}" for number in range(1, 10, 2))} <= set(await names(opened))


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_refusal_that_nobody_waits_for_any_more_is_not_logged_as_overlooked(opened: Store) -> None:
    overlooked: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: overlooked.append(context["message"]))

    async def refuse(_: Transaction) -> None:
        writing.cancel()
        raise Conflict("refused")

    writing = asyncio.create_task(opened.write(refuse))
    with pytest.raises(asyncio.CancelledError):
        await writing
    await opened.write(inserting("after"))
    gc.collect()
    assert overlooked == []


async def test_what_is_committed_is_there_when_the_store_is_opened_again(opened: Store, database_url: str) -> None:
    writing = [asyncio.create_task(opened.write(inserting(f"piece {number}"))) for number in range(5)]
    await asyncio.gather(*writing)
    await opened.close()
    again = await open_default(database_url)
    try:
        assert len(await names(again)) == 5
    finally:
        await again.close()


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_closing_commits_what_waits(database_url: str) -> None:
    store = await open_default(database_url)
    writing = asyncio.gather(*(store.write(inserting(f"piece {number}")) for number in range(5)))
    await asyncio.sleep(0)
    await store.close()
    assert len(await writing) == 5


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_store_that_was_closed_refuses_at_once(database_url: str) -> None:
    store = await open_default(database_url)
    await store.close()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(StoreUnavailable, match="was closed"):
            await store.write(inserting("late"))


# -- signals -------------------------------------------------------------------------------------------------


async def test_a_commit_wakes_up_who_waits_for_its_topic(opened: Store) -> None:
    async def work(transaction: Transaction) -> None:
        transaction.signal("topic")

    with opened.signals.listening("other", "topic") as heard:
        await opened.write(work)
        await asyncio.wait_for(heard.wait(), PATIENCE)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_nobody_else_is_woken_up_and_nobody_too_early(opened: Store) -> None:
    """On PostgreSQL a wake-up may come for nothing, as after a lost connection."""

    async def work(transaction: Transaction) -> None:
        transaction.signal("topic")
        assert not heard.is_set()

    with opened.signals.listening("topic") as heard, opened.signals.listening("elsewhere") as unheard:
        await opened.write(work)
        assert heard.is_set()
        assert not unheard.is_set()


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_work_that_fails_gives_no_signal(opened: Store) -> None:
    async def failing(transaction: Transaction) -> None:
        transaction.signal("topic")
        raise Refused

    with opened.signals.listening("topic") as heard:
        with pytest.raises(Refused):
            await opened.write(failing)
        assert not heard.is_set()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_signal_reaches_other_processes(opened: Store, database_url: str) -> None:
    other = await open_default(database_url)
    try:
        with other.signals.listening("topic") as heard:
            # The other store begins to listen in its own time, and then wakes everybody up.
            await asyncio.wait_for(heard.wait(), PATIENCE)
            heard.clear()

            async def work(transaction: Transaction) -> None:
                transaction.signal("topic")

            await opened.write(work)
            await asyncio.wait_for(heard.wait(), PATIENCE)
    finally:
        await other.close()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_who_waits_hears_of_a_commit_that_was_cancelled_too_late(
    opened: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = asyncpg.Connection.execute

    async def cancel_once_committed(connection: asyncpg.Connection, query: str, *arguments: Any, **options: Any) -> str:
        status: str = await execute(connection, query, *arguments, **options)
        if query.startswith("COMMIT") and asyncio.current_task() is writing:
            writing.cancel()
            await asyncio.Event().wait()
        return status

    async def work(transaction: Transaction) -> None:
        await transaction.insert(blocks, [block("a")])
        transaction.signal("topic")

    other = await open_default(database_url)
    try:
        with other.signals.listening("topic") as heard:
            await asyncio.wait_for(heard.wait(), PATIENCE)  # it begins to listen
            heard.clear()
            monkeypatch.setattr(asyncpg.Connection, "execute", cancel_once_committed)
            writing = asyncio.create_task(opened.write(work))
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert await names(opened) == ["a"]
            await asyncio.wait_for(heard.wait(), PATIENCE)
    finally:
        await other.close()


# -- a database that is busy or gone -------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_what_was_overtaken_after_a_deadlock_is_done_again(opened: Store) -> None:
    failures = [asyncpg.DeadlockDetectedError("in each other's way"), asyncpg.UniqueViolationError("made meanwhile")]

    async def work(_: Transaction) -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    assert await opened.write(work) == "done"
    failures += [asyncpg.UniqueViolationError("made meanwhile")] * 2
    with pytest.raises(Conflict):
        await opened.write(work)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_lock_that_is_held_too_long_is_an_overload(database_url: str) -> None:
    first, second = await open_default(database_url), await open_default(database_url, 1.0)
    holding, refused = asyncio.Event(), asyncio.Event()
    locked = select(blocks.c.id).with_for_update()

    async def hold(transaction: Transaction) -> None:
        await transaction.all(locked)
        holding.set()
        await refused.wait()

    try:
        await first.write(inserting("a"))
        holder = asyncio.create_task(first.write(hold))
        await holding.wait()
        with pytest.raises(StoreOverloaded):
            await second.write(lambda transaction: transaction.all(locked))
        refused.set()
        await holder
        assert len(await second.write(lambda transaction: transaction.all(locked))) == 1
    finally:
        await second.close()
        await first.close()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_deadlock_is_tried_again_until_both_have_landed(opened: Store) -> None:
    await opened.write(inserting("a", "b"))
    raised = update(blocks).where(blocks.c.id == bindparam("name")).values(version=blocks.c.version + 1)
    both_hold_one = asyncio.Barrier(2)

    def crossing(first: str, second: str) -> Any:
        met = False

        async def work(transaction: Transaction) -> None:
            nonlocal met
            await transaction.run(raised, name=first)
            if not met:
                met = True
                await both_hold_one.wait()
            await transaction.run(raised, name=second)

        return work

    await asyncio.gather(opened.write(crossing("a", "b")), opened.write(crossing("b", "a")))

    async def versions(transaction: Transaction) -> list[int]:
        return [row["version"] for row in await transaction.all(select(blocks.c.version))]

    assert await opened.read(versions) == [3, 3]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_file_that_another_program_holds_is_told_and_comes_back(database_url: str) -> None:
    store = await open_default(database_url, wait=0.5)
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError):
            await store.write(inserting("a"))
        other.execute("ROLLBACK")
        await store.write(inserting("b"))
    assert await names(store) == ["b"]
    await store.close()


async def test_a_scan_sees_what_was_committed_and_holds_up_nobody(opened: Store, store: str) -> None:
    begun, other = threading.Event(), threading.Event()

    async def look(transaction: Transaction) -> tuple[int, bool]:
        begun.set()
        if store == "sqlite":
            assert other.wait(PATIENCE), "it holds up the event loop"
        return len(await transaction.all(select(blocks.c.id))), begun.is_set()

    await opened.write(lambda transaction: transaction.insert(blocks, [block("a")]))
    looking = asyncio.create_task(opened.scan(look))
    while not begun.is_set():
        await asyncio.sleep(0)
    other.set()
    assert await looking == (1, True)
