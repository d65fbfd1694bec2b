"""A block's history as it is kept: deltas and whole copies, and that a long one costs no more to read than a short."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from sqlalchemy import Executable, Table

from folkmoot.memory import history
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import create_block, delete_block, edit_block, find_block, revert_block
from folkmoot.memory.edits import Insert, Revert, SetText, describe
from folkmoot.memory.history import FULL_COPY_EVERY, SHORT_TEXT, blame_block, find_version, list_versions, read_texts
from folkmoot.memory.undo import MOST_STRETCHES, UndoneBlock, undo_run
from folkmoot.store.engine import Parameters, Row, Store, Transaction
from folkmoot.store.postgres import PostgresEngine
from folkmoot.store.tables import block_versions
from support.read_costs import Cost
from support.stores import open_default

ADA, BOB = Author("agent", "agent-ada", "ada", "run-1", "step-1"), Author("api", name="local")
LONG = 10_000


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Store]:
    """The store itself, in this process."""
    store = await open_default(database_url)
    yield store
    await store.close()


async def new_block(store: Store, value: str) -> str:
    block = await store.write(lambda t: create_block(t, {"label": "notes", "value": value, "limit": 1_000_000}, ADA))
    return block.id


async def set_texts(store: Store, block_id: str, texts: Sequence[str]) -> None:
    async def work(transaction: Transaction) -> None:
        for text in texts:
            await edit_block(transaction, block_id, SetText(text), BOB)

    await store.write(work)


async def kept(store: Store, block_id: str) -> list[Row]:
    statement = block_versions.select().where(block_versions.c.block_id == block_id).order_by(block_versions.c.version)
    return list(await store.read(lambda transaction: transaction.all(statement)))


# -- what a row keeps ----------------------------------------------------------------------------------------


async def test_long_texts_are_kept_as_deltas_with_a_whole_copy_every_fifty(opened: Store) -> None:
    line = "x" * (SHORT_TEXT // 2)
    texts = [f"{line}\n{number}\n{line}" for number in range(1, 131)]
    block_id = await new_block(opened, texts[0])
    await set_texts(opened, block_id, texts[1:])
    rows = await kept(opened, block_id)
    whole = [row["version"] for row in rows if row["text"] is not None]
    assert whole == [1, FULL_COPY_EVERY, 2 * FULL_COPY_EVERY]
    assert [row["version"] for row in rows if row["delta"] is None] == [1]
    assert max(len(row["delta"]) for row in rows if row["delta"] is not None) < 30
    found = [await opened.read(lambda t, n=n: find_version(t, block_id, n)) for n in range(1, 131)]
    assert [text for _, text in found] == texts
    assert [version.length for version, _ in found] == [len(text) for text in texts]
    assert await opened.read(lambda t: read_texts(t, block_id, 60, 70)) == list(enumerate(texts, 1))[59:70]


async def test_texts_that_grow_shrink_and_turn_over_replay_byte_for_byte(opened: Store) -> None:
    random = Random(1)
    texts = [""]
    for _ in range(200):
        cut = sorted(random.choices(range(len(texts[-1]) + 1), k=2))
        new = "".join(random.choices('ab\r\n\t"\\ä日😀\u2028', k=random.choice([0, 3, 200])))
        texts.append(texts[-1][: cut[0]] + new + texts[-1][cut[1] :])
    block_id = await new_block(opened, texts[0])
    await set_texts(opened, block_id, texts[1:])
    assert [text for _, text in await opened.read(lambda t: read_texts(t, block_id, 1, 201))] == texts
    for number in (1, 2, 49, 50, 51, 99, 100, 101, 201):
        assert (await opened.read(lambda t, n=number: find_version(t, block_id, n)))[1] == texts[number - 1]


async def test_reverting_again_and_again_keeps_every_version(opened: Store) -> None:
    block_id = await new_block(opened, "one" * 500)
    await set_texts(opened, block_id, ["two" * 500, "three" * 500])
    for number in (1, 2, 4, 3):
        _, text = await opened.read(lambda t, n=number: find_version(t, block_id, n))
        edit = Revert(number, text)
        await opened.write(lambda t, edit=edit: revert_block(t, block_id, edit, ADA))
    texts = [text for _, text in await opened.read(lambda t: read_texts(t, block_id, 1, 7))]
    assert [text[:3] for text in texts] == ["one", "two", "thr", "one", "two", "one", "thr"]
    assert [json.loads(row["edit"]) for row in await kept(opened, block_id)][3:] == [
        {"kind": "revert", "version": number} for number in (1, 2, 4, 3)
    ]


async def test_a_deleted_block_leaves_no_history(opened: Store) -> None:
    block_id = await new_block(opened, "one")
    await set_texts(opened, block_id, ["two"])
    await opened.write(lambda t: delete_block(t, block_id))
    assert await kept(opened, block_id) == []


async def test_a_transaction_that_fails_leaves_neither_text_nor_version(opened: Store) -> None:
    block_id = await new_block(opened, "one")

    async def work(transaction: Transaction) -> None:
        await edit_block(transaction, block_id, Insert("two"), ADA)
        raise LookupError

    with pytest.raises(LookupError):
        await opened.write(work)
    block = await opened.read(lambda t: find_block(t, block_id))
    assert (block.value, block.version, len(await kept(opened, block_id))) == ("one", 1, 1)


# -- ten thousand versions -----------------------------------------------------------------------------------


class Collected:
    """A transaction that collects what is inserted, so that a long history is written at once."""

    def __init__(self) -> None:
        self.rows: list[Parameters] = []

    async def insert(self, table: Table, rows: Sequence[Parameters]) -> None:
        assert table is block_versions
        self.rows += rows

    all = first = run = signal = None


async def long_history(store: Store, versions: int) -> tuple[str, list[str]]:
    """Return a block of `versions` versions and their texts: a hundred lines, of which each version changes one."""
    lines = [f"line {number} as it was at first" for number in range(100)]
    texts = ["\n".join(lines)]
    collected: Any = Collected()
    block_id = await new_block(store, texts[0])
    for number in range(2, versions + 1):
        lines[number % 100] = f"line {number % 100} of version {number}"
        texts.append("\n".join(lines))
        author = ADA if number % 2 else BOB
        edit = describe(SetText(lines[number % 100]))
        await history.record(collected, block_id, number, texts[-2], texts[-1], edit, author, number)

    async def work(transaction: Transaction) -> None:
        await transaction.insert(block_versions, collected.rows)

    if collected.rows:
        await store.write(work)
    await store.write(lambda t: t.run(_set_version, id=block_id, number=versions, text=texts[-1]))
    if isinstance(store.engine, PostgresEngine):
        await store.everywhere.write(lambda t: t.run(_analyze))
    return block_id, texts


def _prepared() -> tuple[Executable, Executable]:
    from sqlalchemy import bindparam, text, update

    from folkmoot.store.tables import blocks

    moved = (
        update(blocks)
        .where(blocks.c.id == bindparam("id", type_=blocks.c.id.type))
        .values(version=bindparam("number"), value=bindparam("text"))
    )
    return moved, text("ANALYZE block_versions")


_set_version, _analyze = _prepared()


async def test_a_history_of_ten_thousand_versions_is_read_at_the_cost_of_a_short_one(
    opened: Store, database_url: str
) -> None:
    short, _ = await long_history(opened, 200)
    long, texts = await long_history(opened, LONG)
    cost = Cost(opened, database_url)

    async def newest_page(transaction: Transaction, block_id: str) -> Any:
        return await list_versions(transaction, block_id, 50)

    page = await cost.of(lambda t: newest_page(t, short))
    short_page = cost.work
    page = await cost.of(lambda t: newest_page(t, long))
    assert [version.number for version in page] == list(range(LONG, LONG - 50, -1))
    assert (cost.statements, cost.rows) == (1, 50)
    assert cost.work <= short_page * 1.2
    await cost.of(lambda t: find_version(t, short, 149))
    short_one = cost.work
    for number in (2, 49, 4_999, 5_000, 5_001, LONG - 1, LONG):
        found = await cost.of(lambda t, n=number: find_version(t, long, n))
        assert found[1] == texts[number - 1]
        assert cost.statements <= 3
        assert cost.rows <= FULL_COPY_EVERY + 2
        assert cost.work <= short_one * 1.2, number
    deep = await cost.of(lambda t: list_versions(t, long, 50, after=5_000))
    assert [version.number for version in deep] == list(range(4_999, 4_949, -1))
    assert cost.work <= short_page * 1.2
    assert cost.work > 0


async def test_blame_of_ten_thousand_versions_names_the_last_writer_of_each_line(opened: Store) -> None:
    block_id, texts = await long_history(opened, LONG)
    lines = await blame_block(opened, block_id, LONG, lambda lines, _: lines)
    assert "".join(line.text for line in lines) == texts[-1]
    for line in lines:
        number = int(line.text.rsplit(" ", 1)[1])
        assert line.version.number == number
        assert line.version.author == (ADA if number % 2 else BOB)


async def test_pages_in_both_directions_meet_without_gap_or_overlap(opened: Store) -> None:
    block_id, _ = await long_history(opened, 25)
    for ascending in (False, True):
        everything = list(range(1, 26)) if ascending else list(range(25, 0, -1))
        forwards: list[int] = []
        while page := await opened.read(
            lambda t: list_versions(t, block_id, 7, after=forwards[-1] if forwards else None, ascending=ascending)  # noqa: B023
        ):
            forwards += [version.number for version in page]
        assert forwards == everything
        backwards: list[int] = []
        before = 0 if not ascending else 26
        while page := await opened.read(
            lambda t: list_versions(t, block_id, 7, before=before, ascending=ascending)  # noqa: B023
        ):
            backwards = [version.number for version in page] + backwards
            before = backwards[0]
        assert backwards == everything
    between = await opened.read(lambda t: list_versions(t, block_id, 100, after=20, before=10))
    assert [version.number for version in between] == list(range(19, 10, -1))
    assert all(one.number == other.number + 1 for one, other in pairwise(between))


async def test_a_run_that_wrote_in_turn_with_others_all_too_often_is_not_taken_back(opened: Store) -> None:
    """It would be read and compared version by version, while nobody else can write."""

    async def work(transaction: Transaction) -> tuple[UndoneBlock, UndoneBlock]:
        block = await create_block(transaction, {"label": "notes", "value": "a", "limit": 1_000_000}, BOB)
        for place in range(2 * MOST_STRETCHES):
            await edit_block(transaction, block.id, Insert(f"{place}", -1), BOB if place % 2 else ADA)
        (within,) = await undo_run(transaction, "run-1", BOB)
        for author in (ADA, BOB, ADA):
            await edit_block(transaction, block.id, Insert("more", -1), author)
        (above,) = await undo_run(transaction, "run-1", BOB)
        return within, above

    within, above = await opened.write(work)
    assert (within.reason, within.version) == (None, 2 * MOST_STRETCHES + 2)
    assert above.version is None
    assert "in turn with others" in (above.reason or "")
