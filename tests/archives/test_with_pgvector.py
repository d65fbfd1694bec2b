"""The nearest vectors with pgvector: through an index that is made behind, long vectors by their signs first."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from keeping import keep_vectors

import folkmoot.store.nearest
from folkmoot.archives.embedding import VECTORS
from folkmoot.store import postgres_vectors
from folkmoot.store.engine import Store
from folkmoot.store.nearest import nearest
from folkmoot.store.tables import passage_vectors
from folkmoot.store.vectors import similarity, unit
from support.postgres import PostgresDatabases
from support.stores import open_default

LIMIT = 10
KEPT = 400


def vectors(dimensions: int, count: int, seed: int) -> list[list[float]]:
    """Return vectors that lie in a continuum of 16 directions, with noise."""
    chance = random.Random(1)
    directions = [[chance.gauss(0, 1) for _ in range(dimensions)] for _ in range(16)]
    chance = random.Random(seed)

    def one() -> list[float]:
        weights = [chance.gauss(0, 1) for _ in directions]
        mixed = (sum(map(float.__mul__, weights, values)) for values in zip(*directions, strict=True))
        return unit([value + chance.gauss(0, 0.5) for value in mixed])

    return [one() for _ in range(count)]


def exactly(wanted: Sequence[float], kept: Sequence[Sequence[float]], ids: Sequence[str]) -> set[str]:
    best = sorted(range(len(kept)), key=lambda place: -similarity(wanted, kept[place]))[:LIMIT]
    return {ids[place] for place in best}


async def found(store: Store, archive_id: str, wanted: Sequence[float]) -> list[str]:
    near = await nearest(store, VECTORS, archive_id, 1, wanted, LIMIT)
    assert [each.similarity for each in near] == sorted((each.similarity for each in near), reverse=True)
    return [each.item for each in near]


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize(("dimensions", "index"), [(1024, "by_signs_1024"), (64, "near_64")])
async def test_the_nearest_are_found_by_an_index_as_without_one(
    database_url: str,
    postgres_server: PostgresDatabases,
    monkeypatch: pytest.MonkeyPatch,
    dimensions: int,
    index: str,
) -> None:
    monkeypatch.setattr(postgres_vectors, "FEWEST_INDEXED", KEPT)
    monkeypatch.setattr(postgres_vectors, "CANDIDATES", 60)
    monkeypatch.setattr(folkmoot.store.nearest, "FEW", 100)
    database = database_url.rpartition("/")[2]
    postgres_server.run_sql(f'ALTER DATABASE "{database}" SET enable_sort = off')  # so few the planner would sort
    kept = vectors(dimensions, KEPT, 2)
    store = await open_default(database_url)
    archive_id, ids = await keep_vectors(store, kept)
    queries = vectors(dimensions, 10, 3)

    async def shared() -> int:
        """Return how many of the nearest, of all queries, are found."""
        return sum([len(exactly(one, kept, ids) & set(await found(store, archive_id, one))) for one in queries])

    assert await shared() >= 98
    await store.engine.index_vectors(passage_vectors, dimensions)
    assert await shared() >= 95
    other, _ = await keep_vectors(store, kept[:1])
    assert len(await found(store, other, queries[0])) == 1, "whatever stands in the index beside it"
    await store.close()  # what was used is counted when a connection ends
    used = f"SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'passage_vectors_{index}'"
    assert int(postgres_server.run_sql(used, database)) >= len(queries)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_few_vectors_are_compared_exactly_whatever_their_signs_are(database_url: str) -> None:
    """Some models' values are all positive, so that their signs tell nothing."""
    kept, wanted = (
        [unit([abs(value) for value in one]) for one in vectors(1024, count, seed)]
        for count, seed in ((300, 4), (1, 5))
    )
    store = await open_default(database_url)
    archive_id, ids = await keep_vectors(store, kept)
    assert set(await found(store, archive_id, wanted[0])) == exactly(wanted[0], kept, ids)
    await store.close()
