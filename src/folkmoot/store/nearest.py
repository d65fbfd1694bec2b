"""The nearest vectors: those whose meaning is closest to that of a query.

PostgreSQL with pgvector looks for them itself. Everywhere else they are found here, in three looks: at the first signs
of all vectors of a space, which are held in memory once they were read, at all signs of those that come out best, and
at the vectors that are left, exactly. All run on threads of the scans.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappush, heapreplace
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from sqlalchemy import Column, ColumnElement, Select, Table, func, select

from folkmoot.store.engine import Engine, Row, Store, Transaction
from folkmoot.store.vectors import closest_by_signs, nearest_by_signs, signs, similarity

FIRST_SIGNS = 512
"""Signs that all vectors are compared by; of a vector that has fewer, those."""

CANDIDATES = 200
"""Vectors at least that may be compared exactly; more when many are wanted."""

PATIENCE = 4
"""Which part of them may be no better than the best before, one behind the other, until the rest is left alone."""

LOOKED_THROUGH = 10
"""How many times as many are compared by all of their signs: the first ones alone mistake some."""

FEW = 1000
"""Vectors that are compared exactly without a look at their signs."""

HELD_BYTES = 100_000_000
"""Bytes of signs that a process holds; spaces that were not searched for long go first."""

READ_AT_ONCE = 20_000

_Key: TypeAlias = tuple[str, str, str, int, int]
"""Organisation, table, space, version and dimensions."""

_PER_VECTOR = 180
"""Bytes that the first signs of a vector as a number, its place and Python's objects take beside its bits."""


@dataclass(frozen=True)
class VectorTable:
    """A table of vectors: rows of a space and version, numbered by `place` in the order in which they came."""

    table: Table
    space: Column[str]
    item: Column[str]
    """What a vector is of."""

    @property
    def columns(self) -> Any:
        """The table's columns: `version`, `place`, `dimensions`, `bits`, `vector`."""
        return self.table.c


@dataclass(frozen=True, slots=True)
class Near:
    """An item, and how close it is: the cosine of the angle, 1 for the same direction."""

    item: str
    similarity: float


@dataclass
class _Held:
    """The signs of one space, as far as they were read. It only grows, so that it is looked through without a copy."""

    places: array[int] = field(default_factory=lambda: array("q"))
    first: list[int] = field(default_factory=list)
    """The first signs of each vector, as a number."""

    bits: list[bytes] = field(default_factory=list)
    size: int = 0

    @property
    def last(self) -> int:
        return self.places[len(self.first) - 1] if self.first else -1

    def add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row["place"] > self.last:
                self.places.append(row["place"])
                self.bits.append(row["bits"])
                self.first.append(_first_signs(row["bits"]))  # last: who goes by these finds the rest
                self.size += len(row["bits"]) + _PER_VECTOR

    def ends_with(self, row: Row | None) -> bool:
        """Tell whether the last vector held is that of a row: the next one takes its place when it was deleted."""
        return not self.first if row is None else self.bits[bisect_left(self.places, row["place"])] == row["bits"]

    def among(self, places: set[int]) -> _Held:
        """Return what is held of some places."""
        chosen = [number for number, place in enumerate(self.places[: len(self.first)]) if place in places]
        return _Held(
            array("q", [self.places[number] for number in chosen]),
            [self.first[number] for number in chosen],
            [self.bits[number] for number in chosen],
        )

    def closest(self, wanted: bytes, most: int) -> list[int]:
        """Return the places of the vectors whose signs differ least from those wanted, the closest first."""
        promising = closest_by_signs(_first_signs(wanted), self.first, LOOKED_THROUGH * most)
        return [self.places[number] for number in nearest_by_signs(wanted, self.bits, promising, most)]


def _first_signs(bits: bytes) -> int:
    return int.from_bytes(bits[: FIRST_SIGNS // 8], "big")


class _Memory:
    """The signs that a process holds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._spaces: OrderedDict[_Key, _Held] = OrderedDict()

    def of(self, key: _Key) -> _Held:
        """Return what is held of a space, and count it as used now."""
        with self.lock:
            held = self._spaces.setdefault(key, _Held())
            self._spaces.move_to_end(key)
            return held

    def make_room(self) -> None:
        """Forget what was not used for longest; the newest stays only if it has room by itself."""
        with self.lock:
            while sum(held.size for held in self._spaces.values()) > HELD_BYTES and self._spaces:
                self._spaces.popitem(last=False)

    def replace(self, key: _Key, held: _Held) -> None:
        """Hold something else of a space."""
        with self.lock:
            self._spaces[key] = held


_memories: WeakKeyDictionary[Engine, _Memory] = WeakKeyDictionary()


async def nearest(
    store: Store,
    vectors: VectorTable,
    space: str,
    version: int,
    wanted: Sequence[float],
    limit: int,
    among: Select[Any] | None = None,
) -> list[Near]:
    """Return the items of a space that are nearest to a vector, the nearest first.

    Args:
        store: the database, of one organisation.
        vectors: where they are.
        space: which of its spaces.
        version: of which embedding.
        wanted: a vector of unit length; only those of as many dimensions are looked at.
        limit: how many.
        among: a select of the items that may be found; all of the space when None.

    Raises:
        StoreUnavailable: the database cannot be read.
        StoreOverloaded: too many scans wait, or this one took too long.
    """
    of_space = [vectors.space == space, vectors.columns.version == version]
    conditions = of_space if among is None else [*of_space, vectors.item.in_(among)]
    in_sql = partial(store.engine.nearest, vectors.table, vectors.item, len(wanted), conditions, limit)
    by_signs, exactly = in_sql(exactly=False), in_sql(exactly=True)
    if by_signs is not None and exactly is not None:
        more_than_few = select(vectors.columns.place).where(*of_space).offset(FEW).limit(1)
        return await _by_database(store, more_than_few, by_signs, exactly, wanted)
    look = _Look(store, vectors, space, version, wanted, limit, among)
    candidates = await look.candidates()
    found = await look.compare(candidates)
    if len(found) < limit and look.has_lost_many(candidates):
        look.forget()  # most of what is held was deleted since
        found = await look.compare(await look.candidates())
    return found


async def _by_database(
    store: Store, more_than_few: Select[Any], by_signs: Select[Any], exactly: Select[Any], wanted: Sequence[float]
) -> list[Near]:
    text = "[" + ",".join(f"{value:.7g}" for value in wanted) + "]"

    async def read(transaction: Transaction) -> list[Near]:
        statement = exactly if await transaction.first(more_than_few) is None else by_signs
        return [
            Near(row["item"], 1 - float(row["distance"]))
            for row in await transaction.all(statement, wanted_vector=text)
        ]

    return await store.scan(read)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Places of vectors that are worth an exact comparison; the most promising first, or all there are."""

    places: Sequence[int]
    are_all: bool = False


@dataclass
class _Look:
    """One search, in the looks that it takes without pgvector."""

    store: Store
    vectors: VectorTable
    space: str
    version: int
    wanted: Sequence[float]
    limit: int
    among: Select[Any] | None

    @property
    def _key(self) -> _Key:
        organization_id = self.store.organization_id or ""
        return (organization_id, self.vectors.table.name, self.space, self.version, len(self.wanted))

    @property
    def _conditions(self) -> Sequence[ColumnElement[bool]]:
        columns = self.vectors.columns
        return (
            self.vectors.space == self.space,
            columns.version == self.version,
            columns.dimensions == len(self.wanted),  # a model that changed under its name finds nothing, not nonsense
        )

    @property
    def _memory(self) -> _Memory:
        return _memories.setdefault(self.store.engine, _Memory())

    @property
    def _most(self) -> int:
        return max(CANDIDATES, 10 * self.limit)

    def forget(self) -> None:
        """Read the signs anew the next time."""
        self._memory.replace(self._key, _Held())

    def has_lost_many(self, candidates: _Candidates) -> bool:
        """Tell whether candidates of which too few were there were as many as are looked for."""
        return len(candidates.places) >= self._most

    async def candidates(self) -> _Candidates:
        """Return the vectors that are worth an exact comparison."""
        columns, known = self.vectors.columns, self._memory.of(self._key)
        in_space = select(columns.place).where(*self._conditions)
        with_bits = in_space.add_columns(columns.bits).order_by(columns.place).limit(READ_AT_ONCE)
        allowed = None if self.among is None else in_space.where(self.vectors.item.in_(self.among))

        async def read(transaction: Transaction) -> tuple[_Held, list[Row], set[int] | None]:
            few = None
            if allowed is not None:
                few = {row["place"] for row in await transaction.all(allowed)}
                if len(few) <= FEW:
                    return known, [], few
            newest = await transaction.first(with_bits.where(columns.place == known.last))
            held = known if known.ends_with(newest) else _Held()
            rows: list[Row] = []
            last = held.last
            while part := await transaction.all(with_bits.where(columns.place > last)):
                rows += part
                last = part[-1]["place"]
            return held, rows, few

        def choose(read: tuple[_Held, list[Row], set[int] | None]) -> _Candidates:
            held, rows, few = read
            if few is not None and len(few) <= FEW:
                return _Candidates(sorted(few), are_all=True)
            with self._memory.lock:
                held.add(rows)
            if held is not known:
                self._memory.replace(self._key, held)
            here = held if few is None else held.among(few)
            return _Candidates(here.closest(signs(self.wanted), self._most))

        chosen = await self.store.scan(read, choose)
        self._memory.make_room()
        return chosen

    async def compare(self, candidates: _Candidates) -> list[Near]:
        """Return the best of these by the exact figure, those that are gone left out."""
        columns, places = self.vectors.columns, candidates.places
        statement = select(self.vectors.item.label("item"), columns.place, columns.vector).where(
            *self._conditions, columns.place.in_(list(places))
        )

        async def read(transaction: Transaction) -> Sequence[Row]:
            return await transaction.all(statement) if places else []

        def rank(rows: Sequence[Row]) -> list[Near]:
            there = {row["place"]: row for row in rows}
            patience = len(places) if candidates.are_all else self._most // PATIENCE
            return self._best([there[place] for place in places if place in there], patience)

        return await self.store.scan(read, rank)

    def _best(self, rows: Sequence[Row], patience: int) -> list[Near]:
        """Return the best of some vectors, which are looked at until so many in a row were not among them."""
        decode = self.store.engine.read_vector
        best: list[tuple[float, str]] = []
        in_vain = 0
        for row in rows:
            one = (similarity(self.wanted, decode(row["vector"])), row["item"])
            if len(best) < self.limit:
                heappush(best, one)
            elif one > best[0]:
                heapreplace(best, one)
                in_vain = 0
            else:
                in_vain += 1
                if in_vain == patience:
                    break
        return [Near(item, figure) for figure, item in sorted(best, key=lambda each: (-each[0], each[1]))]


def vector_row(engine: Engine, values: Sequence[float]) -> Mapping[str, Any]:
    """Return the columns of a vector of unit length, as the engine keeps them."""
    return {"dimensions": len(values), "bits": signs(values), "vector": engine.write_vector(values)}


async def stored_bytes(transaction: Transaction, vectors: VectorTable) -> int:
    """Return how many bytes the vectors of the organisation take in a table: their numbers and their signs."""
    dimensions = vectors.columns.dimensions
    size = func.coalesce(func.sum(4 * dimensions + (dimensions + 7) // 8), 0)
    row = await transaction.first(select(size.label("size")))
    return 0 if row is None else int(row["size"])
