"""pgvector on PostgreSQL: whether it is there, the order by distance, and its indexes, made while others work."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import Column, ColumnElement, Select, Table, Text, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import UserDefinedType

from folkmoot.store.postgres_connections import FOR_LONG_WORK, SERVER, connect

logger = logging.getLogger(__name__)

LEAST = (0, 8, 4)
"""The first version that is used: those before it read beside their memory, or lose what a filter leaves."""

FEWEST_INDEXED = 5000
"""Vectors of one length below which looking at all of them is as fast as an index."""

FEWEST_SIGNS = 1024
"""Dimensions from which on signs tell well enough which vectors are worth a comparison."""

CANDIDATES = 200
"""Vectors at least that are compared by their numbers, of those that the index holds for the nearest."""

_LOCK = 0x766563
"""The advisory lock of the one process that makes an index ("vec")."""

_INSTALLED = "SELECT extversion, to_regtype('halfvec') IS NOT NULL FROM pg_extension WHERE extname = 'vector'"
"""Which version there is, and whether `search_path` leads to its types."""

_AVAILABLE = "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
_MORE_ROOM = (
    "SELECT set_config('maintenance_work_mem', '262144', false) FROM pg_settings "
    "WHERE name = 'maintenance_work_mem' AND setting::int < 262144"
)
"""kB in which an index of a quarter million vectors is made: many times as fast as with PostgreSQL's 64 MB."""

_IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"


class HalfVector(UserDefinedType[Any]):
    """pgvector's vector of 16-bit numbers, half as large as it is kept, which costs no place in a ranking."""

    cache_ok = True

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return f"halfvec({self.dimensions})"


@dataclass(frozen=True, slots=True)
class _Order:
    """By what vectors of so many dimensions are put in order first, and the index over it.

    The signs of long vectors are a sixteenth of their 16-bit numbers: their index is made in a quarter of the time,
    takes an eighth of the room, and finds more for what a search costs. What comes out best is compared exactly.
    """

    dimensions: int

    @property
    def by_signs(self) -> bool:
        return self.dimensions >= FEWEST_SIGNS

    def distance(self, table: Table, wanted: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return how far vectors of a table are from the one that is wanted."""
        numbers = cast(table.c.vector, HalfVector(self.dimensions))
        if not self.by_signs:
            return numbers.op("<=>")(_once(wanted))
        signs = cast(func.binary_quantize(numbers), postgresql.BIT(self.dimensions))
        return signs.op("<~>")(_once(func.binary_quantize(wanted)))

    def index_name(self, table: str) -> str:
        return f"{table}_by_signs_{self.dimensions}" if self.by_signs else f"{table}_near_{self.dimensions}"

    def index(self, table: str) -> str:
        numbers = f"vector::halfvec({self.dimensions})"
        expression = f"({numbers}) halfvec_cosine_ops"
        if self.by_signs:
            expression = f"(binary_quantize({numbers})::bit({self.dimensions})) bit_hamming_ops"
        return (
            f"CREATE INDEX CONCURRENTLY {self.index_name(table)} ON {table} USING hnsw ({expression}) "
            f"WITH (m = 32, ef_construction = 128) WHERE dimensions = {self.dimensions}"
        )


def _once(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Have something worked out once for a statement: in a prepared one a parameter would be read anew for each row."""
    return select(value).scalar_subquery()


async def find_pgvector(connection: asyncpg.Connection[Any]) -> bool:
    """Tell whether pgvector can be used, and add it to the database where the server has it and lets this user.

    That it cannot is said once, at the start: searches by meaning work without it, and slower.
    """
    version, in_sight = await connection.fetchrow(_INSTALLED) or (None, False)
    if version is None and _numbers(await connection.fetchval(_AVAILABLE)) >= LEAST:
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except asyncpg.PostgresError as error:  # whoever runs the database decides who may, and when
            logger.debug("pgvector could not be added: %s", error)
        version, in_sight = await connection.fetchrow(_INSTALLED) or (None, False)
    if _numbers(version) >= LEAST and in_sight:
        return True
    what = "no pgvector" if version is None else f"pgvector {version}"
    remedy = f"With pgvector {'.'.join(map(str, LEAST))} or later a superuser runs: CREATE EXTENSION vector"
    if _numbers(version) >= LEAST:
        what += " in a schema that this user does not look in"
        remedy = "It is used when that schema is in the user's search_path and the user has USAGE on it"
    logger.info(
        "PostgreSQL has %s: archives are searched by meaning in this process, which takes longer. %s", what, remedy
    )
    return False


async def prefer_whole_answers(connection: asyncpg.Connection[Any]) -> None:
    """Let searches on a connection go on until they have as many as were asked for, whatever a filter takes away.

    The planner does not know what it costs to turn an array into a vector, 10 µs a row; with pages that cost what they
    do on an SSD it takes the index from some thousand rows on, and not only from ten thousand.
    """
    await connection.execute("SET hnsw.iterative_scan = strict_order")
    await connection.execute("SET hnsw.ef_search = 400")
    await connection.execute("SET random_page_cost = 1.1")


def by_distance(
    table: Table,
    item: Column[str],
    dimensions: int,
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    *,
    exactly: bool,
) -> Select[Any]:
    """Return a select of `item` and `distance` to the parameter `wanted_vector`, the nearest first.

    Args:
        table: where the vectors are.
        item: what they are of.
        dimensions: only vectors of so many are looked at.
        conditions: what their rows must fulfil.
        limit: how many.
        exactly: whether all are compared by their numbers.
    """
    kind = HalfVector(dimensions)
    wanted = cast(cast(bindparam("wanted_vector", required=False, type_=Text), Text), kind)
    these = select(item.label("item"), table.c.vector).where(
        table.c.dimensions == literal_column(str(dimensions)), *conditions
    )
    if not exactly:
        order = _Order(dimensions).distance(table, wanted)
        these = these.order_by(order).limit(max(CANDIDATES, 4 * limit))
    candidates = these.subquery("candidates")
    distance = cast(candidates.c.vector, kind).op("<=>")(_once(wanted)).label("distance")
    return select(candidates.c.item, distance).order_by(distance).limit(limit)


async def make_index(url: str, table: Table, dimensions: int) -> None:
    """Make the index over vectors of so many dimensions, unless it is there, is being made, or they are few.

    Others read and write meanwhile. An index that a process left half-made is made anew.

    Args:
        url: the database; this takes a connection of its own.
        table: where the vectors are.
        dimensions: which of them.
    """
    order = _Order(dimensions)
    name = order.index_name(table.name)
    connection = await connect(url, FOR_LONG_WORK, name=SERVER)
    try:
        if await connection.fetchval(_IS_VALID, name):
            return
        enough = f"SELECT 1 FROM {table.name} WHERE dimensions = $1 OFFSET {FEWEST_INDEXED - 1} LIMIT 1"  # noqa: S608 - our own name
        if await connection.fetchval(enough, dimensions) is None:
            return
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            return
        await connection.execute(_MORE_ROOM)
        await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        await connection.execute(order.index(table.name), timeout=None)
        # Until it knows how many there are, the planner compares them all.
        await connection.execute(f"ANALYZE {table.name}", timeout=None)
        if order.by_signs:  # that of version 0.2.0
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {table.name}_near_{dimensions}")
    finally:
        await connection.close()


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version or "")))
