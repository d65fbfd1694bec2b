"""Whole databases on SQLite: read beside a server that goes on, written to a file that then takes the other's place."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Insert, Select, func, insert, select
from sqlalchemy.dialects.sqlite.pysqlite import dialect as sqlite_dialect

from folkmoot.errors import StartupError
from folkmoot.store.bulk import NOT_EMPTY, ROWS, Loading, Snapshot, TableShape, any_row, check_schema
from folkmoot.store.files import (
    APPLICATION_ID,
    check_database_file,
    make_private_file,
    make_private_folder,
    replace_durably,
)
from folkmoot.store.migrate import migrate_file
from folkmoot.store.migrations import HEAD
from folkmoot.store.sqlite import lock_file
from folkmoot.store.sqlite_transaction import index_rows, take_index_away
from folkmoot.store.tables import metadata

_DIALECT = sqlite_dialect(paramstyle="qmark")

_BEING_READ = """
PRAGMA busy_timeout = 10000;
PRAGMA query_only = ON;
PRAGMA cache_size = -16000;
"""

_BEING_FILLED = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -64000;
"""
"""The file is nobody's before it is whole, so that nothing is kept to undo what was done to it."""


INDEXED_AT_ONCE = 4_000_000
"""Characters of new rows that go into a full-text index together."""


class SqliteSnapshot:
    """A read transaction on a file that others may write meanwhile."""

    def __init__(self, connection: sqlite3.Connection, schema: str) -> None:
        """Read on `connection`, whose transaction has begun."""
        self.schema = schema
        self._connection = connection

    async def count(self, shape: TableShape) -> int:
        """Return how many rows a table has."""
        found: int = self._connection.execute(_text(select(func.count()).select_from(shape.clause))).fetchone()[0]
        return found

    async def rows(self, shape: TableShape) -> AsyncIterator[Sequence[Sequence[Any]]]:
        """Yield a table's rows, some at a time."""
        booleans = [place for place, kind in enumerate(shape.kinds) if kind == "boolean"]
        cursor = self._connection.execute(_text(select(shape.clause)))
        while rows := cursor.fetchmany(ROWS):
            yield [_with_booleans(row, booleans) for row in rows] if booleans else rows


def _text(statement: Select[Any] | Insert) -> str:
    """Return a statement as text; a number in it is written out, for rows are its only parameters."""
    options = {"literal_binds": True} if isinstance(statement, Select) else {}
    return str(statement.compile(dialect=_DIALECT, compile_kwargs=options))


def _with_booleans(row: Sequence[Any], places: Sequence[int]) -> list[Any]:
    """Return a row with true and false where SQLite, which has neither, has 1 and 0."""
    values = list(row)
    for place in places:
        if values[place] is not None:
            values[place] = bool(values[place])
    return values


@asynccontextmanager
async def sqlite_snapshot(path: Path) -> AsyncIterator[Snapshot]:
    """Give the database in a file as it is now.

    Raises:
        StartupError: there is none, or it cannot be read, or its schema is another than this version's.
    """
    if not path.exists():
        raise StartupError(f"There is no database {path}. Name another one with --database.")
    check_database_file(path)
    with _sqlite_errors(path), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(_BEING_READ)
        connection.execute("BEGIN")
        yield SqliteSnapshot(connection, check_schema(path, _schema(connection)))


def sqlite_has_rows(path: Path) -> bool:
    """Tell whether a file has any of a database's rows.

    Raises:
        StartupError: it is not Folkmoot's, or cannot be read.
    """
    check_database_file(path)
    if not path.exists():
        return False
    with _sqlite_errors(path), closing(sqlite3.connect(path)) as connection:
        there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        tables = [table for name, table in metadata.tables.items() if name in there]
        return any(connection.execute(_text(any_row(table))).fetchone() for table in tables)


class SqliteLoading:
    """A file that is being filled."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Write on `connection`, whose transaction has begun."""
        self._connection = connection
        self._indexes = _take_indexes_away(connection)
        self._triggers: dict[str, str | None] = {}
        self._unindexed: list[tuple[int, str]] = []
        self._size = 0

    async def load(self, shape: TableShape, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a table, after all those of the table before."""
        if shape.name not in self._triggers:
            self._index()
            self._triggers[shape.name] = take_index_away(self._connection, shape.name)
        self._connection.executemany(_text(insert(shape.clause)), rows)
        if self._triggers[shape.name] is not None:
            number, text = shape.columns.index("search_id"), shape.columns.index("search_text")
            self._unindexed += [(row[number], row[text]) for row in rows]
            self._size += sum(len(row[text]) for row in rows)
            if self._size >= INDEXED_AT_ONCE:
                self._index()

    def finish(self) -> None:
        """Index what is left, and bring indexes and triggers back."""
        self._index()
        for index in self._indexes:
            self._connection.execute(index)
        for trigger in self._triggers.values():
            if trigger is not None:
                self._connection.execute(trigger)

    def _index(self) -> None:
        if self._unindexed:
            index_rows(self._connection, [*self._triggers][-1], self._unindexed)
            self._unindexed, self._size = [], 0


def _take_indexes_away(connection: sqlite3.Connection) -> list[str]:
    """Remove the indexes that no constraint needs and return what makes them again: of sorted rows, at a fraction."""
    found = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in found:
        connection.execute(f'DROP INDEX "{name}"')
    return [sql for _, sql in found]


@asynccontextmanager
async def sqlite_loading(path: Path, schema: str, *, replace: bool) -> AsyncIterator[Loading]:
    """Give a file beside `path` to be filled, which at the end is moved there.

    Raises:
        StartupError: what is there is not empty, is being served, or cannot be written.
    """
    new = path.with_name(f"{path.name}.loading")
    with _locked(path), _sqlite_errors(path):
        if not replace and sqlite_has_rows(path):
            raise StartupError(f"The database {path} {NOT_EMPTY}")
        _remove(new)
        try:
            make_private_file(new)
            with closing(sqlite3.connect(new)) as connection:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            migrate_file(new, schema)
            with closing(sqlite3.connect(new, isolation_level=None)) as connection:
                connection.executescript(_BEING_FILLED)
                connection.execute("BEGIN")
                loading = SqliteLoading(connection)
                yield loading
                loading.finish()
                if broken := connection.execute("PRAGMA foreign_key_check").fetchone():
                    raise StartupError(f"A row of {broken[0]} belongs to one of {broken[2]} that is not there.")
                connection.execute("COMMIT")
            if schema != HEAD:
                migrate_file(new, HEAD)
            _take_place(new, path)
        finally:
            _remove(new)


def sqlite_refuse_served(path: Path) -> None:
    """Refuse a file that a server has.

    Raises:
        StartupError: a server has it, or it cannot be opened.
    """
    with _locked(path):
        pass


def _locked(path: Path) -> IO[str]:
    """Return a file's lock, which only one process has.

    Raises:
        StartupError: another one has it, or the file cannot be opened.
    """
    try:
        make_private_folder(path.parent)
        return lock_file(path)
    except OSError as error:
        raise StartupError(f"The database {path} cannot be opened: {error.strerror}.") from error


def _take_place(new: Path, path: Path) -> None:
    """Put the file in the place of the other one, whose log must be empty: SQLite would play it into the new one."""
    if path.exists():
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            # This plays the log into the file and removes it, unless another program has the file open.
            (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            if mode != "delete":
                raise StartupError(f"The database {path} is open in another program; close that first.")
    replace_durably(new, path)


def _remove(new: Path) -> None:
    for ending in ("", "-journal", "-wal", "-shm"):
        Path(f"{new}{ending}").unlink(missing_ok=True)


def _schema(connection: sqlite3.Connection) -> str | None:
    with contextlib.suppress(sqlite3.OperationalError):  # an empty file has no tables
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return row[0] if row else None
    return None


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Put SQLite's errors into Folkmoot's terms.

    Raises:
        StartupError: the file could not be read or written.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise StartupError(f"The database {path} cannot be used: {error}.") from error
