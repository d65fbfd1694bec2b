"""Reads on SQLite: those of a millisecond in place, scans on threads that have a connection each."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

from folkmoot.errors import InvalidInput, StoreUnavailable
from folkmoot.store.engine import NUMBER_TOO_LARGE, S, T, Work
from folkmoot.store.scans import Scans
from folkmoot.store.sqlite_transaction import STATEMENTS, SqliteTransaction, at_once, connect

LOOK_EVERY = 10_000
"""Steps of SQLite's machine between two looks whether a scan is still wanted: well below a millisecond."""

FOR_SCANS = "PRAGMA cache_size = -4000"
"""A scan comes back to pages that it has read; what else reads or writes takes few, and no less time with four times as
many at hand."""


class SqliteReaders:
    """The connections of one file that only read."""

    def __init__(self, path: Path, wait: float) -> None:
        """Open `path`, which has been migrated; scans wait `wait` seconds for their turn before they are refused."""
        self._path = path
        self._in_place = _Reader(path)
        self._idle: deque[_Reader] = deque()
        self._scans = Scans(wait)

    def read(self, work: Work[T], organization_id: str | None) -> T:
        """Run `work` on the newest committed state, here and now."""
        return self._in_place.read(work, organization_id)

    async def scan(self, work: Work[T], organization_id: str | None, then: Callable[[T], S]) -> S:
        """Run `work` on the newest committed state, and `then` on its result, on a thread."""
        scan = _Scan()
        async with self._scans.turn():
            return await self._scans.run(lambda: self._scan(scan, work, organization_id, then), scan.give_up)

    def texts_wait(self) -> bool:
        """Tell whether a committed message is not in the full-text index yet.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        return self._asked("SELECT 1 FROM messages_fulltext_waiting")

    def check(self) -> None:
        """See that the file can be read.

        Raises:
            StoreUnavailable: it cannot.
        """
        self._asked("SELECT 1 FROM sqlite_master")

    def _asked(self, statement: str) -> bool:
        """Tell whether a statement has a row."""
        try:
            return self._in_place.connection.execute(statement).fetchone() is not None
        except sqlite3.Error as error:
            raise StoreUnavailable(f"The database cannot be read: {error}.") from error

    async def close(self) -> None:
        """Wait for the scans that run, and close the connections."""
        await self._scans.close()
        for reader in (self._in_place, *self._idle):
            reader.connection.close()

    def _scan(self, scan: _Scan, work: Work[T], organization_id: str | None, then: Callable[[T], S]) -> S:
        try:
            reader = self._idle.pop()
        except IndexError:  # all are at work
            reader = _Reader(self._path)
            reader.connection.execute(FOR_SCANS)
        try:
            return scan.run(reader, work, organization_id, then)
        finally:
            self._idle.append(reader)


class _Reader:
    """A connection that only reads, for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open `path`, which has been migrated."""
        self.connection = connect(path)
        self.connection.execute("PRAGMA query_only = ON")
        self.connection.execute("SELECT 1 FROM sqlite_master").close()  # opens the write-ahead log

    def read(self, work: Work[T], organization_id: str | None) -> T:
        """Run `work` on the newest committed state."""
        try:
            self.connection.execute("BEGIN")
            try:
                transaction = SqliteTransaction(self.connection, STATEMENTS, organization_id, [])
                return cast("T", at_once(work(transaction)))
            finally:
                self.connection.execute("ROLLBACK")
        except OverflowError as error:
            raise InvalidInput(NUMBER_TOO_LARGE) from error
        except sqlite3.Error as error:
            if "pattern too complex" in str(error):
                raise InvalidInput(SOUGHT_TOO_LONG) from error
            raise StoreUnavailable(f"The database cannot be read: {error}.") from error


SOUGHT_TOO_LONG = (
    "A text that is looked for in others is too long; SQLite takes 25,000 characters. Look for less of it."
)


class _Scan:
    """One scan, which may be given up while it runs on its thread."""

    def __init__(self) -> None:
        """Begin with a scan that is wanted."""
        self._is_over = False

    def run(self, reader: _Reader, work: Work[T], organization_id: str | None, then: Callable[[T], S]) -> S:
        """Read with `reader` and return what `then` makes of it."""
        reader.connection.set_progress_handler(self._look, LOOK_EVERY)
        try:
            result = reader.read(work, organization_id)
        finally:
            reader.connection.set_progress_handler(None, 0)
        return then(result)

    def give_up(self) -> None:
        """End it at the next look; what it found so far is lost."""
        self._is_over = True

    def _look(self) -> bool:
        return self._is_over
