"""Databases for these tests: rows in every table there is, and all of them read back."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    Table,
    create_engine,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from folkmoot.store.opening import open_store
from folkmoot.store.tables import metadata
from folkmoot.store.vectors import packed

AT_ONCE = 20
"""Rows that tests let be read at once."""

ROWS = 21
"""Rows of each table: more than are read at once."""


_FILES: dict[int, bytes] = {}
"""SQLite files that were made, by the rows of each table; the next one is a copy."""


async def make_database(url: str, rows: int = ROWS) -> None:
    """Make a database with rows in every table of the schema, those of rooms that are new among them."""
    file = Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else None
    if file is not None and rows in _FILES:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(_FILES[rows])
        return
    await (await open_store(url, 5)).close()
    await on_connection(url, lambda connection: _fill(connection, rows))
    if file is not None:
        assert not file.with_name(f"{file.name}-wal").exists()
        _FILES[rows] = file.read_bytes()


async def all_rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table."""

    def read(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
        found = {}
        for name, table in metadata.tables.items():
            rows = [tuple(map(_comparable, row)) for row in connection.execute(select(table))]
            found[name] = sorted(rows, key=repr)
        return found

    found: dict[str, list[tuple[Any, ...]]] = await on_connection(url, read)
    return found


async def on_connection(url: str, work: Any) -> Any:
    """Call `work` with a SQLAlchemy connection, in a transaction."""
    if url.startswith("sqlite"):
        with _engine(url).begin() as connection:
            return work(connection)
    async with _asynchronous_engine(url).begin() as connection:
        return await connection.run_sync(work)


@lru_cache(maxsize=4)
def _engine(url: str) -> Engine:
    """Return the engine of a SQLite file; it keeps the statements that it has compiled, and no connection."""
    return create_engine(url, poolclass=NullPool)


@lru_cache(maxsize=4)
def _asynchronous_engine(url: str) -> AsyncEngine:
    """Return that of a PostgreSQL database."""
    return create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)


def _fill(connection: Connection, rows: int) -> None:
    made: dict[str, list[dict[str, Any]]] = {}
    for table in metadata.sorted_tables:
        made[table.name] = [_row(table, number, made, connection.dialect) for number in range(rows)]
        connection.execute(table.insert(), made[table.name])


def _comparable(value: Any) -> Any:
    """Return a value as SQLite has it: a vector as bytes."""
    return packed(value) if isinstance(value, list) else value


def _row(table: Table, number: int, made: dict[str, list[dict[str, Any]]], dialect: Dialect) -> dict[str, Any]:
    row = {column.name: _value(column, number, dialect) for column in table.c}
    for key in table.foreign_key_constraints:
        of = made[key.referred_table.name][number]
        row |= {each.parent.name: of[each.column.name] for each in key.elements}
    return row


def _value(column: Column[Any], number: int, dialect: Dialect) -> Any:
    if column.nullable and number % 3 == 1:
        return None
    if isinstance(column.type, Boolean):
        return number % 2 == 0
    if isinstance(column.type, BigInteger):
        return 2**50 + number
    if isinstance(column.type, Integer):
        return number
    if column.name == "vector":
        vector = [0.5, -0.25, float(number)]
        return vector if isinstance(column.type.dialect_impl(dialect), ARRAY) else packed(vector)
    if isinstance(column.type, LargeBinary):
        return bytes([0, 255, number % 256])
    return f'{column.name} {number} – "ünï" 会议 😀\n\t\\'
