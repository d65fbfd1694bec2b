"""The nearest vectors without pgvector: what the looks through their signs may leave out, and what they must not."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from keeping import keep_vectors
from sqlalchemy import delete, select

from folkmoot.archives.embedding import VECTORS
from folkmoot.archives.passages import NewPassage, add_passages
from folkmoot.memory.authors import Author
from folkmoot.store import nearest as looks
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.nearest import nearest, vector_row
from folkmoot.store.tables import passage_vectors, passages
from folkmoot.store.vectors import similarity, unit
from support.stores import open_default

LIMIT = 10


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_default(f"sqlite:///{tmp_path}/folkmoot.db")
    yield store
    await store.close()


async def test_of_many_vectors_few_are_compared_exactly_and_the_nearest_found(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FIRST_SIGNS": 128, "CANDIDATES": 80, "LOOKED_THROUGH": 2}.items():
        monkeypatch.setattr(looks, name, value)
    chance = random.Random(1)
    directions = [[chance.gauss(0, 1) for _ in range(256)] for _ in range(8)]

    def vector() -> list[float]:
        weights = [chance.gauss(0, 1) for _ in directions]
        return unit([sum(map(float.__mul__, weights, values)) for values in zip(*directions, strict=True)])

    kept = [vector() for _ in range(400)]
    archive_id, ids = await keep_vectors(opened, kept)
    compared = 0

    def counted(one: Sequence[float], other: Sequence[float]) -> float:
        nonlocal compared
        compared += 1
        return similarity(one, other)

    monkeypatch.setattr(looks, "similarity", counted)
    shared = 0
    for wanted in [vector() for _ in range(10)]:
        exact = sorted(range(400), key=lambda place: -similarity(wanted, kept[place]))[:LIMIT]
        found = await nearest(opened, VECTORS, archive_id, 1, wanted, LIMIT)
        shared += len({near.item for near in found} & {ids[place] for place in exact})
        assert [near.similarity for near in found] == sorted((near.similarity for near in found), reverse=True)
    assert shared >= 95
    assert compared < 10 * 70


async def test_what_few_a_filter_leaves_are_all_compared_whatever_their_signs_say(opened: Store) -> None:
    wanted = unit([10.0, *[0.1] * 63])
    of_the_same_signs = [unit([0.01 + number / 1e6, *[1.0] * 63]) for number in range(300, 0, -1)]
    closest_of_other_signs = unit([10.0, *[-0.1] * 63])
    archive_id, ids = await keep_vectors(opened, [*of_the_same_signs, closest_of_other_signs])
    among = select(passages.c.id).where(passages.c.archive_id == archive_id)
    found = await nearest(opened, VECTORS, archive_id, 1, wanted, LIMIT, among)
    assert found[0].item == ids[-1]
    assert len(found) == LIMIT


async def test_a_vector_in_the_place_of_a_deleted_one_is_found_by_its_own_signs(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "CANDIDATES", 10)
    monkeypatch.setattr(looks, "LOOKED_THROUGH", 1)
    here, there = unit([1.0] * 64), unit([-1.0] * 64)
    between = [unit([1.0] * number + [-1.0] * (64 - number)) for number in range(1, 50)]
    archive_id, ids = await keep_vectors(opened, [*between, there])
    await nearest(opened, VECTORS, archive_id, 1, here, 1)

    async def replace(transaction: Transaction) -> str:
        await transaction.run(delete(passages).where(passages.c.id == ids[-1]))
        author = Author("api", None, "test")
        (passage,) = await add_passages(transaction, archive_id, [NewPassage("", "")], author)
        row = {"archive_id": archive_id, "version": 1, "place": len(between), "passage_id": passage.id}
        await transaction.insert(passage_vectors, [row | dict(vector_row(opened.engine, here))])
        return passage.id

    replacing = await opened.write(replace)
    assert [near.item for near in await nearest(opened, VECTORS, archive_id, 1, here, 1)] == [replacing]
