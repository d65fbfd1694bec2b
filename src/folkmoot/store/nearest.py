"""The nearest vectors: those whose meaning is closest to that of a query.

PostgreSQL with pgvector looks for them itself. Everywhere else they are found here, in two looks: through the signs of
all vectors of a space, which are held in memory once they were read, then exactly through the best of those. Both run
on threads of the scans.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from sqlalchemy import Column, ColumnElement, Select, Table, func, select

from folkmoot.store.engine import Engine, Row, Store, Transaction
from folkmoot.store.vectors import closest_by_signs, signs, similarity

CANDIDATES = 200
"""Vectors at least that are compared exactly; more when many are wanted."""

FEW = 1000
"""Vectors that are compared exactly without a look at their signs."""

HELD_BYTES = 64_000_000
"""Bytes of signs that a process holds; spaces that were not searched for long go first."""

READ_AT_ONCE = 20_000

_Key: TypeAlias = tuple[str, str, str, int, int]
"""Organisation, table, space, version and dimensions."""

_PER_VECTOR = 60
"""Bytes that a number of Python's and its place take beside its bits."""


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
    """The signs of one space, as far as they were read."""

    places: array[int] = field(default_factory=lambda: array("q"))
    bits: list[int] = field(default_factory=list)
    size: int = 0

    @property
    def last(self) -> int:
        return self.places[-1] if self.places else -1

    def add(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row["place"] > self.last:
                self.places.append(row["place"])
                self.bits.append(int.from_bytes(row["bits"], "big"))
                self.size += len(row["bits"]) + _PER_VECTOR


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

    def forget(self, key: _Key) -> None:
        """Read a space anew the next time."""
        with self.lock:
            self._spaces.pop(key, None)


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
    in_sql = store.engine.nearest(vectors.table, vectors.item, len(wanted))
    if in_sql is not None:
        return await _by_database(store, in_sql, vectors, space, version, wanted, limit, among)
    look = _Look(store, vectors, space, version, wanted, limit, among)
    places = await look.candidates()
    found = await look.compare(places)
    if len(found) < limit and look.has_lost_many(places, found):
        look.forget()  # most of what is held was deleted since
        found = await look.compare(await look.candidates())
    return found


async def _by_database(
    store: Store,
    in_sql: Select[Any],
    vectors: VectorTable,
    space: str,
    version: int,
    wanted: Sequence[float],
    limit: int,
    among: Select[Any] | None,
) -> list[Near]:
    statement = in_sql.where(vectors.space == space, vectors.columns.version == version).limit(limit)
    if among is not None:
        statement = statement.where(vectors.item.in_(among))
    text = "[" + ",".join(f"{value:.7g}" for value in wanted) + "]"

    async def read(transaction: Transaction) -> list[Near]:
        return [
            Near(row["item"], 1 - float(row["distance"]))
            for row in await transaction.all(statement, wanted_vector=text)
        ]

    return await store.scan(read)


@dataclass
class _Look:
    """One search, in the two looks that it takes without pgvector."""

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
        """Read the signs anew."""
        self._memory.forget(self._key)

    def has_lost_many(self, places: Sequence[int], found: Sequence[Near]) -> bool:
        """Tell whether the candidates were mostly vectors that are gone."""
        return len(places) >= self._most and len(found) < self.limit

    async def candidates(self) -> list[int]:
        """Return the places of the vectors that are worth an exact comparison."""
        columns, held = self.vectors.columns, self._memory.of(self._key)
        here = select(columns.place).where(*self._conditions)
        with_bits = here.add_columns(columns.bits).order_by(columns.place).limit(READ_AT_ONCE)
        allowed = None if self.among is None else here.where(self.vectors.item.in_(self.among))

        async def read(transaction: Transaction) -> tuple[list[Row], set[int] | None]:
            few = None
            if allowed is not None:
                few = {row["place"] for row in await transaction.all(allowed)}
                if len(few) <= FEW:
                    return [], few
            rows: list[Row] = []
            last = held.last
            while part := await transaction.all(with_bits.where(columns.place > last)):
                rows += part
                last = part[-1]["place"]
            return rows, few

        def choose(read: tuple[list[Row], set[int] | None]) -> list[int]:
            rows, few = read
            if few is not None and len(few) <= FEW:
                return sorted(few)
            with self._memory.lock:
                held.add(rows)
                places, bits = held.places[:], held.bits[:]
            if few is not None:
                chosen = [number for number, place in enumerate(places) if place in few]
                places, bits = array("q", [places[n] for n in chosen]), [bits[n] for n in chosen]
            wanted = int.from_bytes(signs(self.wanted), "big")
            best = closest_by_signs(wanted, bits, self._most) if bits else []
            return [places[number] for number in best]

        chosen = await self.store.scan(read, choose)
        self._memory.make_room()
        return chosen

    async def compare(self, places: Sequence[int]) -> list[Near]:
        """Return the best of these places by the exact figure, those that are gone left out."""
        columns, decode = self.vectors.columns, self.store.engine.read_vector
        statement = select(self.vectors.item.label("item"), columns.vector).where(
            *self._conditions, columns.place.in_(list(places))
        )

        async def read(transaction: Transaction) -> Sequence[Row]:
            return await transaction.all(statement) if places else []

        def rank(rows: Sequence[Row]) -> list[Near]:
            found = [Near(row["item"], similarity(self.wanted, decode(row["vector"]))) for row in rows]
            return sorted(found, key=lambda near: (-near.similarity, near.item))[: self.limit]

        return await self.store.scan(read, rank)


def vector_row(engine: Engine, values: Sequence[float]) -> Mapping[str, Any]:
    """Return the columns of a vector of unit length, as the engine keeps them."""
    return {"dimensions": len(values), "bits": signs(values), "vector": engine.write_vector(values)}


async def stored_bytes(transaction: Transaction, vectors: VectorTable) -> int:
    """Return how many bytes the vectors of the organisation take in a table: their numbers and their signs."""
    dimensions = vectors.columns.dimensions
    size = func.coalesce(func.sum(4 * dimensions + (dimensions + 7) // 8), 0)
    row = await transaction.first(select(size.label("size")))
    return 0 if row is None else int(row["size"])
