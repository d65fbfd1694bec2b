"""Whole databases on PostgreSQL: read in one snapshot, written in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import asyncpg
from sqlalchemy import Connection, Select, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from folkmoot.errors import StartupError
from folkmoot.store.bulk import NOT_EMPTY, ROWS, Loading, Snapshot, TableShape, any_row, check_schema
from folkmoot.store.migrate import LOCK, create_or_upgrade, refuse_encoding, schema_of, upgrade
from folkmoot.store.migrations import HEAD
from folkmoot.store.postgres_connections import (
    NO_ANSWER,
    SERVERS,
    connect_first,
    in_one_line,
    unreachable,
)
from folkmoot.store.tables import metadata
from folkmoot.store.vectors import packed, unpacked

_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]

_VECTORS = {
    table.name: [column.name for column in table.c if isinstance(column.type.dialect_impl(_DIALECT), ARRAY)]
    for table in metadata.sorted_tables
}
"""Columns that hold vectors: arrays here, bytes in a file and in SQLite."""

_SERVED = "A Folkmoot server works with this database; stop it first."

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"


class PostgresSnapshot:
    """A transaction that sees the database as it was when it began."""

    def __init__(self, connection: asyncpg.Connection[Any], schema: str) -> None:
        """Read on `connection`, whose transaction has begun."""
        self.schema = schema
        self._connection = connection

    async def count(self, shape: TableShape) -> int:
        """Return how many rows a table has."""
        found: int = await self._connection.fetchval(_text(select(func.count()).select_from(shape.clause)))
        return found

    async def rows(self, shape: TableShape) -> AsyncIterator[Sequence[Sequence[Any]]]:
        """Yield a table's rows, some at a time."""
        cursor = await self._connection.cursor(_text(select(shape.clause)))
        while rows := await cursor.fetch(ROWS):
            yield _with_vectors(shape, rows, packed)


def _with_vectors(
    shape: TableShape, rows: Sequence[Sequence[Any]], turn: Callable[[Any], Any]
) -> Sequence[Sequence[Any]]:
    """Return rows as tuples, with their vectors turned into the other form."""
    places = {shape.columns.index(name) for name in _VECTORS.get(shape.name, ())}
    if not places:
        return [tuple(row) for row in rows]
    return [tuple(turn(value) if place in places else value for place, value in enumerate(row)) for row in rows]


def _text(statement: Select[Any]) -> str:
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


@asynccontextmanager
async def postgres_snapshot(url: str) -> AsyncIterator[Snapshot]:
    """Give the database at `url` as it is now.

    Raises:
        StartupError: it cannot be reached, has no tables, or its schema is another than this version's.
    """
    with _postgres_errors():
        connection = await _connect(url)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield PostgresSnapshot(connection, check_schema("in PostgreSQL", await schema_of(connection)))
        finally:
            await connection.close()


async def postgres_has_rows(url: str) -> bool:
    """Tell whether the database at `url` has any rows.

    Raises:
        StartupError: it cannot be reached.
    """
    with _postgres_errors():
        connection = await _connect(url)
        try:
            there = [row[0] for row in await connection.fetch(_TABLES)]
            for table in (each for name, each in metadata.tables.items() if name in there):
                if await connection.fetchval(_text(any_row(table))):
                    return True
            return False
        finally:
            await connection.close()


class PostgresLoading:
    """A transaction that fills the database."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        """Write on `connection`, whose transaction has begun."""
        self._connection = connection

    async def load(self, shape: TableShape, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a table."""
        records = _with_vectors(shape, rows, unpacked)
        await self._connection.copy_records_to_table(shape.name, records=records, columns=shape.columns)


@asynccontextmanager
async def postgres_loading(url: str, schema: str, *, replace: bool) -> AsyncIterator[Loading]:
    """Give the database at `url` to be filled in one transaction, which is committed at the end.

    Raises:
        StartupError: it is not empty, is being served, or cannot be written.
    """
    engine = create_async_engine("postgresql+asyncpg://", async_creator=partial(_connect, url), poolclass=NullPool)
    try:
        with _postgres_errors():
            async with engine.begin() as connection:
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
                raw = (await connection.get_raw_connection()).driver_connection
                assert raw is not None
                refuse_encoding(raw)
                await connection.run_sync(
                    partial(_make_empty, found=await schema_of(raw), schema=schema, replace=replace)
                )
                later = await _take_away(raw)
                yield PostgresLoading(raw)
                for statement in later:
                    await raw.execute(statement)
                if schema != HEAD:
                    await connection.run_sync(upgrade)
    finally:
        await engine.dispose()


def _make_empty(connection: Connection, *, found: str | None, schema: str, replace: bool) -> None:
    """Remove this application's tables, if they are there, and make those of `schema`."""
    if connection.execute(text(SERVERS)).first():
        raise StartupError(_SERVED)
    if found is not None:
        upgrade(connection)  # so that the tables are those that this version knows
        for table in () if replace else metadata.sorted_tables:
            if connection.execute(any_row(table)).first() is not None:
                raise StartupError(f"The database in PostgreSQL {NOT_EMPTY}")
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    create_or_upgrade(connection, schema)


_INDEXES = """
SELECT format('DROP INDEX %s', i.indexrelid::regclass), pg_get_indexdef(i.indexrelid)
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($1)
AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
"""
_FOREIGN_KEYS = """
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', c.oid::regclass, k.conname),
       format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.oid::regclass, k.conname, pg_get_constraintdef(k.oid))
FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
WHERE k.contype = 'f' AND c.relnamespace = current_schema()::regnamespace AND c.relname = ANY($1)
"""


async def _take_away(connection: asyncpg.Connection[Any]) -> list[str]:
    """Remove what would be kept up row by row, and return what makes it again of all rows, at a fraction.

    Those are the indexes that no constraint needs, and what sees that rows belong to others that are there.
    """
    names, later = list(metadata.tables), ["SET LOCAL maintenance_work_mem = '128MB'"]
    for text_ in (_INDEXES, _FOREIGN_KEYS):
        for remove, make in await connection.fetch(text_, names):
            await connection.execute(remove)
            later.append(make)
    return later


async def postgres_refuse_served(url: str) -> None:
    """Refuse a database that a server works with.

    Raises:
        StartupError: a server does, or the database cannot be reached.
    """
    with _postgres_errors():
        connection = await _connect(url)
        try:
            if await connection.fetchval(SERVERS):
                raise StartupError(_SERVED)
        finally:
            await connection.close()


async def _connect(url: str) -> asyncpg.Connection[Any]:
    try:
        return await connect_first(url, name="folkmoot transfer")
    except NO_ANSWER as error:
        raise unreachable(url, error) from error


@contextmanager
def _postgres_errors() -> Iterator[None]:
    """Put the driver's errors into Folkmoot's terms.

    Raises:
        StartupError: the database could not be reached, read or written.
    """
    try:
        yield
    except DBAPIError as error:
        raise StartupError(f"PostgreSQL cannot do this: {str(error.orig).rpartition(': ')[2]}.") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise StartupError(f"PostgreSQL cannot do this: {in_one_line(error)}.") from error
