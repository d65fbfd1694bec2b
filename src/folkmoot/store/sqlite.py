"""The embedded engine: one SQLite file, one process.

Statements run in place on the event loop's thread, since each takes some ten microseconds, less than a hop to another
thread. Only COMMIT, which waits for the disk, runs elsewhere (`sqlite_writer.py`), and reads that may take long
(`sqlite_readers.py`).
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Column, ColumnElement, Select, Table, column, func, literal_column, or_, select
from sqlalchemy import table as sql_table

from folkmoot.errors import StartupError
from folkmoot.store.engine import S, T, Work
from folkmoot.store.files import make_private_file
from folkmoot.store.signals import Signals
from folkmoot.store.sqlite_readers import SqliteReaders
from folkmoot.store.sqlite_writer import SqliteWriter
from folkmoot.store.vectors import packed, unpacked
from folkmoot.store.words import is_found_whole, pieces_of

_FULLTEXT = (
    "CREATE VIRTUAL TABLE TABLE_fulltext USING fts5(text, content='', tokenize='unicode61 remove_diacritics 2')",
    """CREATE TRIGGER TABLE_fulltext_insert AFTER INSERT ON TABLE WHEN new.search_text <> '' BEGIN
        INSERT INTO TABLE_fulltext(rowid, text) VALUES (new.search_id, new.search_text);
    END""",
    """CREATE TRIGGER TABLE_fulltext_delete AFTER DELETE ON TABLE WHEN old.search_text <> '' BEGIN
        INSERT INTO TABLE_fulltext(TABLE_fulltext, rowid, text)
        VALUES ('delete', old.search_id, old.search_text);
    END""",
    """CREATE TRIGGER TABLE_fulltext_update AFTER UPDATE OF search_text ON TABLE BEGIN
        INSERT INTO TABLE_fulltext(TABLE_fulltext, rowid, text)
        SELECT 'delete', old.search_id, old.search_text WHERE old.search_text <> '';
        INSERT INTO TABLE_fulltext(rowid, text)
        SELECT new.search_id, new.search_text WHERE new.search_text <> '';
    END""",
)


_BEHIND = (
    "CREATE TABLE TABLE_fulltext_waiting (search_id INTEGER PRIMARY KEY)",
    """CREATE TRIGGER TABLE_fulltext_insert AFTER INSERT ON TABLE WHEN new.search_text <> '' BEGIN
        INSERT INTO TABLE_fulltext_waiting(search_id) VALUES (new.search_id);
    END""",
    """CREATE TRIGGER TABLE_fulltext_delete AFTER DELETE ON TABLE WHEN old.search_text <> '' BEGIN
        INSERT INTO TABLE_fulltext(TABLE_fulltext, rowid, text)
        SELECT 'delete', old.search_id, old.search_text
        WHERE NOT EXISTS (SELECT 1 FROM TABLE_fulltext_waiting WHERE search_id = old.search_id);
        DELETE FROM TABLE_fulltext_waiting WHERE search_id = old.search_id;
    END""",
    """CREATE TRIGGER TABLE_fulltext_update AFTER UPDATE OF search_text ON TABLE BEGIN
        INSERT INTO TABLE_fulltext(TABLE_fulltext, rowid, text)
        SELECT 'delete', old.search_id, old.search_text WHERE old.search_text <> ''
        AND NOT EXISTS (SELECT 1 FROM TABLE_fulltext_waiting WHERE search_id = old.search_id);
        DELETE FROM TABLE_fulltext_waiting WHERE search_id = old.search_id;
        INSERT INTO TABLE_fulltext_waiting(search_id) SELECT new.search_id WHERE new.search_text <> '';
    END""",
)


def fulltext(table: str) -> list[str]:
    """Return the statements that make a table's full-text index, which triggers keep; it holds no copy of the text."""
    return _named(_FULLTEXT, table)


def fulltext_behind(table: str) -> list[str]:
    """Return the statements that let new rows of a table wait to be indexed together, in place of those triggers.

    What each row alone costs grows with the index: FTS5 writes, and merges, for every statement of a trigger.
    """
    away = [f"DROP TRIGGER {table}_fulltext_{event}" for event in ("insert", "delete", "update")]
    return [*away, *_named(_BEHIND, table)]


def _named(statements: Sequence[str], table: str) -> list[str]:
    index = f"{table}_fulltext"
    return [
        re.sub(r"\bTABLE_fulltext", index, statement).replace(" ON TABLE ", f" ON {table} ") for statement in statements
    ]


FULLTEXT = (
    *fulltext("messages"),
    *fulltext_behind("messages"),
    *fulltext("passages"),
    *fulltext("file_chunks"),
)
"""The full-text indexes."""

KEPT_FREE = 16_000_000
"""Bytes of the disk that no upload may take: the log needs them to take anything away again."""


class SqliteEngine:
    """A SQLite file that this process has to itself."""

    def __init__(self, path: Path, signals: Signals, wait: float, lock: IO[str]) -> None:
        """Open `path`, which has been migrated.

        Args:
            path: the database file.
            signals: who is told of commits.
            wait: seconds a piece of work waits for its commit, or a scan for its turn, before it is refused.
            lock: the open file of `lock_file`, kept until the store is closed.
        """
        self.signals = signals
        self._lock = lock
        self._path = path
        self._readers = SqliteReaders(path, wait)  # first: it makes the log, which the writer sees stay in its place
        self._writer = SqliteWriter(path, signals, wait)

    async def read(self, work: Work[T], organization_id: str | None) -> T:
        """Run `work` on the newest committed state."""
        return self._readers.read(work, organization_id)

    async def scan(self, work: Work[T], organization_id: str | None, then: Callable[[T], S]) -> S:
        """Run `work` on the newest committed state, and `then` on its result, on a reader's thread."""
        return await self._readers.scan(work, organization_id, then)

    async def write(self, work: Work[T], organization_id: str | None, together: str | None = None) -> T:
        """Run `work` in a transaction; return when it is on the disk. All work shares transactions here."""
        return await self._writer.write(work, organization_id)

    async def index_texts(self) -> None:
        """Index the messages that wait for it."""
        if self._readers.texts_wait():
            await self._writer.index_texts()

    async def check(self) -> None:
        """See that the file is readable, writable and in its place.

        Raises:
            StoreUnavailable: it is not.
        """
        self._writer.check()
        self._readers.check()

    def text_search(self, statement: Select[Any], table: Table, words: Sequence[str]) -> Select[Any]:
        """Return `statement` limited to rows with one of `words`, the best first (FTS5's bm25)."""
        wanted, index = " OR ".join(way for word in words for way in _ways(word)), f"{table.name}_fulltext"
        found = sql_table(index, column("rowid"), column("rank"))
        contained = [func.instr(table.c.search_text, word) > 0 for word in words]
        if plain := [f'"{word}"' for word in words if word.isascii()]:  # the index's own words: no text has to be read
            whole = sql_table(index, column("rowid"))
            matching = select(whole.c.rowid).where(literal_column(index).op("MATCH")(" OR ".join(plain)))
            contained.insert(0, found.c.rowid.in_(matching))
        # The words first: the planner takes an organisation for ten rows, and would ask the index for each of its many.
        return (
            statement.with_hint(table, f"INDEXED BY {table.name}_by_search_id", "sqlite")
            .add_columns((-found.c.rank).label("text_score"))
            .join(found, found.c.rowid == table.c.search_id)
            .where(literal_column(index).op("MATCH")(wanted))
            .where(or_(*contained))
            .order_by(found.c.rank)
        )

    def has_room(self, size: int) -> bool:
        """Tell whether the disk has room for so many bytes, and for the log in which a later deletion stands first."""
        return self.free() >= size + KEPT_FREE

    async def size(self) -> int:
        """Return how many bytes the file and its log take."""
        places = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(place.stat().st_size for place in places if place.exists())

    def free(self) -> int:
        """Return how many bytes the file's disk has left."""
        return shutil.disk_usage(self._path.parent).free

    def nearest(
        self,
        table: Table,
        item: Column[str],
        dimensions: int,
        conditions: Sequence[ColumnElement[bool]],
        limit: int,
        *,
        exactly: bool,
    ) -> None:
        """Return None: vectors are looked through in memory (`nearest.nearest`)."""

    async def index_vectors(self, table: Table, dimensions: int) -> None:
        """Do nothing, as there is nothing to make."""

    def write_vector(self, values: Sequence[float]) -> bytes:
        """Return a vector as 32-bit numbers."""
        return packed(values)

    def read_vector(self, kept: bytes) -> Sequence[float]:
        """Return the vector that `write_vector` made."""
        return unpacked(kept)

    async def close(self) -> None:
        """Commit what waits and close the file."""
        await self._writer.close()
        await self._readers.close()
        self._lock.close()


def _ways(word: str) -> list[str]:
    """Return how FTS5 is asked for a word: as it is, and by its pieces."""
    whole = [f'"{word}"'] if is_found_whole(word) else []
    pieces = pieces_of(word)
    return [*whole, f"({' AND '.join(pieces)})"] if pieces else whole


def lock_file(path: Path) -> IO[str]:
    """Take the lock that says which process serves the database at `path`; it lasts as long as the process.

    Raises:
        StartupError: another process has it.
    """
    place = path.with_name(path.name + ".lock")
    make_private_file(place)
    lock = place.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        with lock:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
        raise StartupError(
            f"{path} is served by another Folkmoot process (pid {pid}). "
            "Stop it, choose another --database, or use PostgreSQL for several processes."
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
