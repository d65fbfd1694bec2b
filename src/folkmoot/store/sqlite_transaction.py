"""A transaction on SQLite, whose statements run in place, and which pauses between two of them when it takes long."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Coroutine, Generator, Iterable, Sequence
from pathlib import Path
from types import coroutine
from typing import Any, cast

from sqlalchemy import Executable, Table
from sqlalchemy.dialects.sqlite.pysqlite import dialect as sqlite_dialect

from folkmoot.store.engine import Parameters, Row, narrowed
from folkmoot.store.statements import Statements

LONGEST_WITHOUT_PAUSE = 0.005
"""Seconds of work after which a batch lets the event loop turn to something else."""

INSERTED_AT_ONCE = 100
"""Rows that are inserted without a pause."""

_FOR_LOADING = ("PRAGMA cache_size = -32000", "PRAGMA wal_autocheckpoint = 16000")
"""What is loaded goes all over the indexes, of which more is kept at hand then, so that it is written less often."""

STATEMENTS = Statements(sqlite_dialect(paramstyle="qmark"))
"""For every connection of this process, be it for writing or reading or of another file."""

WAITED = "Work in a transaction waited for something other than its transaction."

_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA busy_timeout = 50;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -1000;
PRAGMA journal_size_limit = 67108864;
"""


def connect(path: Path) -> sqlite3.Connection:
    """Open the file with the settings every connection needs; transactions are begun by hand."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    connection.row_factory = sqlite3.Row
    connection.executescript(_PRAGMAS)
    # SQLite's own folds ASCII only, so that a search would miss what PostgreSQL finds.
    connection.create_function("lower", 1, lambda text: text.lower() if isinstance(text, str) else text)
    return connection


class Pace:
    """When work that has a connection to itself must let the event loop turn to something else."""

    def __init__(self) -> None:
        """Begin now."""
        self._pause_at = 0.0
        self.begin()

    def begin(self) -> None:
        """Begin after a pause."""
        self._pause_at = time.monotonic() + LONGEST_WITHOUT_PAUSE

    def is_due(self) -> bool:
        """Tell whether it has gone on for long enough."""
        return time.monotonic() > self._pause_at


PAUSE: Any = object()
"""What work yields to the engine when it lets the event loop turn to something else."""


@coroutine
def _pause() -> Generator[Any, None, None]:
    yield PAUSE


class SqliteTransaction:
    """An open transaction on one connection; one that writes pauses between two statements when it takes long."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        statements: Statements,
        organization_id: str | None,
        topics: list[str],
        pace: Pace | None = None,
    ) -> None:
        """Run on `connection`, for an organisation or for all, and gather `topics` to signal.

        Args:
            connection: where to run.
            statements: as text.
            organization_id: whose rows are reached; None for everybody's.
            topics: where what is to be signalled is gathered.
            pace: when to pause, where nobody else uses the connection meanwhile.
        """
        self._pace = pace
        self._connection = connection
        self._statements = statements
        self.organization_id = organization_id
        self.topics = topics

    def within(self, organization_id: str) -> SqliteTransaction:
        """Return this transaction as one of the organisation's only."""
        organization_id = narrowed(self.organization_id, organization_id)
        return SqliteTransaction(self._connection, self._statements, organization_id, self.topics, self._pace)

    async def all(self, statement: Executable, **parameters: Any) -> Sequence[Row]:
        """Return every row of `statement`."""
        rows = self._execute(statement, parameters).fetchall()
        if self._pace is not None and self._pace.is_due():
            await _pause()
        return rows

    async def first(self, statement: Executable, **parameters: Any) -> Row | None:
        """Return the first row of `statement`, or None."""
        cursor = self._execute(statement, parameters)
        row = cursor.fetchone()
        cursor.close()
        return cast("Row | None", row)

    async def run(self, statement: Executable, **parameters: Any) -> int:
        """Execute `statement` and return how many rows it changed."""
        count = self._execute(statement, parameters).rowcount
        if self._pace is not None and self._pace.is_due():
            await _pause()
        return count

    async def insert(self, table: Table, rows: Sequence[Parameters], *, or_keep: bool = False) -> None:
        """Insert `rows` into `table`; with `or_keep`, rows that are there stay as they are."""
        if rows:
            text, values = self._statements.insert(table, rows, self.organization_id, or_keep=or_keep)
            for at in range(0, len(values), INSERTED_AT_ONCE):
                self._connection.executemany(text, values[at : at + INSERTED_AT_ONCE])
                if self._pace is not None and self._pace.is_due():
                    await _pause()

    async def load(self, table: Table, rows: Sequence[Parameters]) -> None:
        """Insert many new rows, and into the full-text index, if the table has one, all of them together."""
        if not rows:
            return
        for setting in _FOR_LOADING:
            self._connection.execute(setting)
        text, values = self._statements.insert(table, rows, self.organization_id, or_keep=False)
        trigger = take_index_away(self._connection, table.name)
        self._connection.executemany(text, values)
        if trigger is not None:
            index_rows(self._connection, table.name, ((row["search_id"], row["search_text"]) for row in rows))
            self._connection.execute(trigger)

    def signal(self, topic: str) -> None:
        """Wake up who waits for `topic` after the commit."""
        self.topics.append(topic)

    def _execute(self, statement: Executable, parameters: Parameters) -> sqlite3.Cursor:
        text, values = self._statements.text(statement, parameters, self.organization_id)
        return self._connection.execute(text, values)


def take_index_away(connection: sqlite3.Connection, table: str) -> str | None:
    """Let a table's full-text index hear of no new rows; return what brings it back, None where there is no index.

    FTS5 writes what it was told to the disk before each statement that a trigger runs for, so that rows which are
    indexed together, in the transaction that inserts them, take a tenth of the time.
    """
    name = f"{table}_fulltext_insert"
    found = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?", (name,)).fetchone()
    if found is None:
        return None
    connection.execute(f"DROP TRIGGER {name}")
    return str(found[0])


def index_rows(connection: sqlite3.Connection, table: str, rows: Iterable[tuple[int, str]]) -> None:
    """Put rows, by the numbers that they have in a table's full-text index, into it; in rising order it is quickest."""
    text = f"INSERT INTO {table}_fulltext(rowid, text) VALUES (?, ?)"  # noqa: S608
    connection.executemany(text, sorted(row for row in rows if row[1]))


def at_once(work: Any) -> Any:
    """Run a coroutine that must not pause, and return its result."""
    coroutine = cast("Coroutine[Any, Any, Any]", work)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(WAITED)
