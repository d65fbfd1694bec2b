"""Search over an archive of many passages, in this process: how long it takes, and what it misses of the exact answer.

The vectors are made, not a model's: directions of topics, with others mixed in. They lie in groups as real ones do; how
near together, and so how much the signs alone tell, differs from model to model.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from heapq import nlargest
from typing import Any

from sqlalchemy import bindparam, select

from bench import bars
from bench.bars import Figure
from bench.measuring import Timing
from folkmoot.archives.archives import NewArchive, create_archive
from folkmoot.archives.embedding import VECTORS
from folkmoot.archives.passages import NewPassage, PassageFilter, add_passages
from folkmoot.archives.search import PassageSearch, search_passages
from folkmoot.identifiers import ORGANIZATION
from folkmoot.memory.authors import Author
from folkmoot.models.embeddings import Purpose
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.nearest import nearest, vector_row
from folkmoot.store.opening import open_store
from folkmoot.store.tables import passage_vectors
from folkmoot.store.vectors import similarity, unit

DIMENSIONS = 1536
TOPICS = 1000
MIXED_IN = 500
"""Directions that are made, at most one for each passage."""

AT_ONCE = 200
WANTED = 10
COMPARED = 10
"""Queries whose exact answer is worked out."""

AUTHOR = Author("api", None, "bench")
WORDS = [f"word{number}" for number in range(5000)]

_vectors = (
    select(passage_vectors.c.passage_id, passage_vectors.c.vector, passage_vectors.c.place)
    .where(passage_vectors.c.place > bindparam("after"))
    .order_by(passage_vectors.c.place)
    .limit(1000)
)


class Nobody:
    """Embeds nothing: these searches are by words, or bring their vectors."""

    async def embed(self, handle: str, texts: Sequence[str], purpose: Purpose = "document") -> list[list[float]]:
        """Refuse."""
        raise NotImplementedError


class Library:
    """An archive of made passages on one store."""

    def __init__(self, store: Store, kind: str, passages: int) -> None:
        self._store = store
        self._kind = kind
        self._passages = passages
        self._chance = random.Random(1)
        self._topics = [self._direction() for _ in range(min(TOPICS, passages))]
        self._mixed = [self._direction() for _ in range(min(MIXED_IN, passages))]
        self._archive_id = ""

    async def fill(self) -> Figure:
        """Add all passages with their vectors, and return what adding one takes."""
        archive = await self._store.write(lambda transaction: create_archive(transaction, NewArchive("bench")))
        self._archive_id = archive.id
        for start in range(0, self._passages, AT_ONCE):
            await self._add(start, min(AT_ONCE, self._passages - start))
        await self._store.engine.index_vectors(passage_vectors, DIMENSIONS)
        return self._figure(bars.PASSAGE_INSERT, await _timed(50, lambda _: self._add_one()))

    async def searches(self, count: int) -> list[Figure]:
        """Return what searching takes, and how much of the exact answer is found."""
        queries = [self._vector() for _ in range(count)]
        await self._near(queries[0])  # the first one reads the signs of all
        by_meaning = await _timed(count, lambda number: self._near(queries[number]))
        by_words = await _timed(count, lambda _: self._by_words())
        compared = queries[: min(COMPARED, count)]
        exact = await self._exact(compared)
        found = [{near.item for near in await self._near(query)} for query in compared]
        shared = sum(len(one & other) for one, other in zip(found, exact, strict=True))
        recall = 100 * shared / sum(map(len, exact))
        return [
            self._figure(bars.PASSAGE_MEANING, by_meaning),
            Figure(bars.PASSAGE_RECALL, self._kind, value=recall, unit="%", note=f"{len(compared)} queries"),
            self._figure(bars.PASSAGE_WORDS, by_words),
        ]

    async def _add(self, start: int, count: int) -> None:
        new = [self._passage() for _ in range(count)]
        vectors = [self._vector() for _ in range(count)]

        async def write(transaction: Transaction) -> None:
            made = await add_passages(transaction, self._archive_id, new, AUTHOR)
            rows = [
                {
                    "archive_id": self._archive_id,
                    "version": 1,
                    "place": start + number,
                    "passage_id": passage.id,
                    **vector_row(self._store.engine, vectors[number]),
                }
                for number, passage in enumerate(made)
            ]
            await transaction.insert(passage_vectors, rows)

        await self._store.write(write)

    async def _add_one(self) -> None:
        new = [self._passage()]
        await self._store.write(lambda transaction: add_passages(transaction, self._archive_id, new, AUTHOR))

    async def _near(self, wanted: Sequence[float]) -> Any:
        return await nearest(self._store, VECTORS, self._archive_id, 1, wanted, WANTED)

    async def _by_words(self) -> None:
        query = " ".join(self._chance.sample(WORDS, 3))
        among = PassageFilter(archive_ids=[self._archive_id])
        await search_passages(self._store, Nobody(), PassageSearch(query, among, "text", WANTED))

    async def _exact(self, queries: Sequence[Sequence[float]]) -> list[set[str]]:
        """Return the nearest of each query, by looking at every vector."""
        best: list[list[tuple[float, str]]] = [[] for _ in queries]
        last, decode = -1, self._store.engine.read_vector
        while rows := await self._store.read(lambda transaction: transaction.all(_vectors, after=last)):  # noqa: B023
            decoded = [(row["passage_id"], decode(row["vector"])) for row in rows]
            for number, query in enumerate(queries):
                scored = [(similarity(query, vector), passage_id) for passage_id, vector in decoded]
                best[number] = nlargest(WANTED, [*best[number], *scored])
            last = rows[-1]["place"]
        return [{passage_id for _, passage_id in each} for each in best]

    def _direction(self) -> list[float]:
        return unit([self._chance.gauss(0, 1) for _ in range(DIMENSIONS)])

    def _vector(self) -> list[float]:
        topic, (one, other) = self._chance.choice(self._topics), self._chance.sample(self._mixed, 2)
        return unit([t + 0.5 * a + 0.3 * b for t, a, b in zip(topic, one, other, strict=True)])

    def _passage(self) -> NewPassage:
        return NewPassage.of(" ".join(self._chance.choices(WORDS, k=40)))

    def _figure(self, name: str, timing: Timing) -> Figure:
        return Figure(name, self._kind, timing=timing, note=f"{self._passages:,} passages")


async def measure(url: str, kind: str, passages: int, searches: int) -> list[Figure]:
    """Return the figures of one store.

    Args:
        url: an empty database.
        kind: the store's name in the table.
        passages: how many the archive has.
        searches: how often each search is made.
    """
    opened = await open_store(url, 60)
    library = Library(opened.of(ORGANIZATION), kind, passages)
    try:
        return [await library.fill(), *await library.searches(searches)]
    finally:
        await opened.close()


async def _timed(count: int, work: Callable[[int], Awaitable[object]]) -> Timing:
    latencies, begun = [], time.perf_counter()
    for number in range(count):
        start = time.perf_counter()
        await work(number)
        latencies.append((time.perf_counter() - start) * 1000)
    return Timing(tuple(sorted(latencies)), time.perf_counter() - begun)
