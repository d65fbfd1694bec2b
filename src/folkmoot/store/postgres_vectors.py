"""pgvector on PostgreSQL: whether it is there, the order by distance, and its indexes, made while others work."""

from __future__ import annotations

import logging
import re
from typing import Any

import asyncpg
from sqlalchemy import Column, Select, Table, Text, bindparam, cast, literal_column, select
from sqlalchemy.types import UserDefinedType

logger = logging.getLogger(__name__)

LEAST = (0, 8, 4)
"""The first version that is used: those before it read beside their memory, or lose what a filter leaves."""

FEWEST_INDEXED = 5000
"""Vectors of one length below which looking at all of them is as fast as an index."""

MOST_INDEXED_DIMENSIONS = 4000
"""What pgvector's index of 16-bit numbers takes."""

_LOCK = 0x766563
"""The advisory lock of the one process that makes an index ("vec")."""

_INSTALLED = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
_AVAILABLE = "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
_IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"


class HalfVector(UserDefinedType[Any]):
    """pgvector's vector of 16-bit numbers, half as large as it is kept, which costs no place in a ranking."""

    cache_ok = True

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return f"halfvec({self.dimensions})"


async def find_pgvector(connection: asyncpg.Connection[Any]) -> bool:
    """Tell whether pgvector can be used, and add it to the database where the server has it and lets this user.

    That it cannot is said once, at the start: searches by meaning work without it, and slower.
    """
    version = await connection.fetchval(_INSTALLED)
    if version is None and _numbers(await connection.fetchval(_AVAILABLE)) >= LEAST:
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except (asyncpg.InsufficientPrivilegeError, asyncpg.UniqueViolationError) as error:
            logger.debug("pgvector could not be added: %s", error)
        version = await connection.fetchval(_INSTALLED)
    if _numbers(version) >= LEAST:
        return True
    least = ".".join(map(str, LEAST))
    logger.info(
        "PostgreSQL has %s: archives are searched by meaning in this process, which takes longer. With pgvector %s or "
        "later a superuser runs: CREATE EXTENSION vector",
        "no pgvector" if version is None else f"pgvector {version}",
        least,
    )
    return False


async def prefer_whole_answers(connection: asyncpg.Connection[Any]) -> None:
    """Let searches on a connection go on until they have as many as were asked for, whatever a filter takes away.

    The planner does not know what it costs to turn an array into a vector, 20 µs a row; with pages that cost what they
    do on an SSD it takes the index from some thousand rows on, and not only from ten thousand.
    """
    await connection.execute("SET hnsw.iterative_scan = strict_order")
    await connection.execute("SET hnsw.ef_search = 400")
    await connection.execute("SET random_page_cost = 1.1")


def by_distance(table: Table, item: Column[str], dimensions: int) -> Select[Any]:
    """Return a select of `item` and `distance` to the parameter `wanted_vector`, the nearest first."""
    kind = HalfVector(dimensions)
    wanted = cast(cast(bindparam("wanted_vector", required=False, type_=Text), Text), kind)
    distance = cast(table.c.vector, kind).op("<=>")(wanted)
    return (
        select(item.label("item"), distance.label("distance"))
        .where(table.c.dimensions == literal_column(str(dimensions)))
        .order_by(distance)
    )


async def make_index(url: str, table: Table, dimensions: int) -> None:
    """Make the index over vectors of so many dimensions, unless it is there, is being made, or they are few.

    Others read and write meanwhile. An index that a process left half-made is made anew.

    Args:
        url: the database; this takes a connection of its own.
        table: where the vectors are.
        dimensions: which of them.
    """
    name = f"{table.name}_near_{dimensions}"
    connection = await asyncpg.connect(url, server_settings={"application_name": "folkmoot"})
    try:
        if dimensions > MOST_INDEXED_DIMENSIONS or await connection.fetchval(_IS_VALID, name):
            return
        enough = f"SELECT 1 FROM {table.name} WHERE dimensions = $1 OFFSET {FEWEST_INDEXED - 1} LIMIT 1"  # noqa: S608 - our own name
        if await connection.fetchval(enough, dimensions) is None:
            return
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            return
        await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        await connection.execute(
            f"CREATE INDEX CONCURRENTLY {name} ON {table.name} "
            f"USING hnsw ((vector::halfvec({dimensions})) halfvec_cosine_ops) WHERE dimensions = {dimensions}",
            timeout=None,
        )
    finally:
        await connection.close()


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version or "")))
