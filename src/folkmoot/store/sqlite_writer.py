"""Writes on SQLite: all through one connection, what arrives during a COMMIT together in the next one.

Work that waits commits together (group commit), each piece in a savepoint of its own: many writers share one wait for
the disk, and a piece that fails takes nobody with it. Only COMMIT, which waits for the disk, runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from folkmoot.errors import Conflict, InvalidInput, StoreFull, StoreMoved, StoreOverloaded, StoreUnavailable
from folkmoot.store.engine import CHANGED_MEANWHILE, NUMBER_TOO_LARGE, T, Transaction, Work
from folkmoot.store.files import OpenFiles
from folkmoot.store.signals import Signals
from folkmoot.store.sqlite_transaction import PAUSE, STATEMENTS, WAITED, Pace, SqliteTransaction, connect

LONGEST_QUEUE = 10_000
"""Pieces of work that may wait for the disk before more are refused."""

INDEXED_TOGETHER = 250
"""Messages that wait to be put into the full-text index, unless somebody searches before."""

BUSY_PAUSE = 0.05
"""Seconds between two looks at a file that another program holds."""


_INDEX = """
INSERT INTO messages_fulltext(rowid, text)
SELECT search_id, search_text FROM messages_fulltext_waiting CROSS JOIN messages USING (search_id) ORDER BY search_id
"""


async def _nothing(_: Transaction) -> None:
    """Commit what waits, and no more."""


@dataclass(slots=True)
class _Pending:
    work: Work[Any]
    organization_id: str | None
    future: asyncio.Future[Any]
    is_search: bool
    result: Any = None
    error: Exception | None = None

    def settle(self) -> None:
        """Tell whoever waits what came of it, once the commit is durable: an error may speak of what was committed."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def _look_at(future: asyncio.Future[Any]) -> None:
    """Look at an error that nobody waits for any more, or asyncio would log it as one that was overlooked."""
    if not future.cancelled():
        future.exception()


class SqliteWriter:
    """The one connection of a file that writes, and the work that waits for it."""

    def __init__(self, path: Path, signals: Signals, wait: float) -> None:
        """Open `path`, which has been migrated.

        Args:
            path: the database file.
            signals: who is told of commits.
            wait: seconds a piece of work waits for its commit before it is refused.
        """
        self._signals = signals
        self._wait = wait
        self._connection = connect(path)
        self._files = OpenFiles(path)
        self._queue: deque[_Pending] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._is_closed = False
        self._pace = Pace()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="folkmoot-commit")

    async def write(self, work: Work[T], organization_id: str | None, *, is_search: bool = False) -> T:
        """Run `work` in a transaction; return when it is on the disk.

        Work that has not begun when its caller is cancelled is not done.

        Args:
            work: what to do.
            organization_id: whose rows it reaches; None for everybody's.
            is_search: whether the messages that wait are indexed with it.
        """
        if self._is_closed:
            raise StoreUnavailable("The database was closed: the server stops.")
        if len(self._queue) >= LONGEST_QUEUE:
            raise StoreOverloaded
        pending = _Pending(work, organization_id, asyncio.get_running_loop().create_future(), is_search)
        self._queue.append(pending)
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_queue())
        try:
            async with asyncio.timeout(self._wait):
                return cast("T", await asyncio.shield(pending.future))
        except TimeoutError:
            return cast("T", await self._give_up(pending))
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self._queue.remove(pending)
            pending.future.add_done_callback(_look_at)
            raise

    async def index_texts(self) -> None:
        """Put every message that was committed before into the full-text index."""
        await self.write(_nothing, None, is_search=True)

    def check(self) -> None:
        """See that the file is writable and in its place.

        Raises:
            StoreUnavailable: it is not.
        """
        self._files.check()
        self._files.check_disk()

    async def close(self) -> None:
        """Commit what waits, take nothing more and close the connection."""
        self._is_closed = True
        if self._committing is not None:
            await self._committing
        self._thread.shutdown()
        self._connection.close()

    async def _give_up(self, pending: _Pending) -> Any:
        """Take `pending` out of the queue; when it has begun already, its result is what counts."""
        with contextlib.suppress(ValueError):
            self._queue.remove(pending)
            raise StoreOverloaded
        return await pending.future

    async def _commit_queue(self) -> None:
        try:
            while self._queue:
                batch = list(self._queue)
                self._queue.clear()
                await self._commit(batch)
        finally:
            self._committing = None

    async def _commit(self, batch: list[_Pending]) -> None:
        """Run a batch in one transaction; a piece that raises is undone by itself."""
        topics: list[str] = []
        try:
            await self._begin()
            self._pace.begin()
            for pending in batch:
                await self._run_in_savepoint(pending, topics)
                if self._pace.is_due():  # nobody else uses this connection
                    await asyncio.sleep(0)
                    self._pace.begin()
            searched = any(pending.is_search for pending in batch)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._commit_to_file, searched)
        except (sqlite3.Error, StoreUnavailable) as error:
            with contextlib.suppress(sqlite3.Error):  # whoever waits is told what came first
                self._roll_back()
            reason = f"The database cannot be written: {error}." if isinstance(error, sqlite3.Error) else str(error)
            is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            for pending in batch:
                pending.error = StoreFull(reason) if is_full else StoreUnavailable(reason)
                pending.error.__cause__ = error
                pending.settle()
            return
        for pending in batch:
            pending.settle()
        self._signals.wake(topics)

    def _commit_to_file(self, searched: bool) -> None:
        """Commit, if the file is there before and after: what is acknowledged is in the file that people see.

        Args:
            searched: whether somebody waits for it to search.

        Raises:
            StoreUnavailable: the file was deleted, replaced or made read-only.
        """
        try:
            self._files.check()
            self._index_texts(1 if searched else INDEXED_TOGETHER)
            self._connection.commit()
            self._files.check()
        except StoreMoved:
            # What was committed goes from the log to the file it belongs to, wherever that is now: no log may stay
            # beside another file, which SQLite would play it into.
            self._roll_back()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raise

    def _index_texts(self, fewest: int) -> None:
        """Put the messages that wait into the full-text index, if there are so many."""
        waiting = self._connection.execute("SELECT count(*) FROM messages_fulltext_waiting").fetchone()[0]
        if waiting >= fewest:
            self._connection.execute(_INDEX)
            self._connection.execute("DELETE FROM messages_fulltext_waiting")

    async def _run_in_savepoint(self, pending: _Pending, topics: list[str]) -> None:
        transaction = SqliteTransaction(self._connection, STATEMENTS, pending.organization_id, [], self._pace)
        self._connection.execute("SAVEPOINT piece")
        try:
            pending.result = await self._with_pauses(pending.work(transaction))
        except Exception as error:
            database_fails = isinstance(error, sqlite3.OperationalError) and (
                error.sqlite_errorcode != sqlite3.SQLITE_ERROR or not self._connection.in_transaction
            )
            if database_fails:  # a full disk, say: it is not this piece's fault
                raise
            self._connection.execute("ROLLBACK TO piece")
            pending.error = error
            if isinstance(error, sqlite3.IntegrityError):
                pending.error = Conflict(CHANGED_MEANWHILE)
                pending.error.__cause__ = error
            elif isinstance(error, OverflowError):
                pending.error = InvalidInput(NUMBER_TOO_LARGE)
                pending.error.__cause__ = error
        else:
            topics.extend(transaction.topics)
        self._connection.execute("RELEASE piece")

    async def _with_pauses(self, work: Any) -> Any:
        """Run a coroutine that waits for nothing but its transaction; where that pauses, others have their turn."""
        running = cast("Coroutine[Any, Any, Any]", work)
        while True:
            try:
                yielded = running.send(None)
            except StopIteration as stop:
                return stop.value
            if yielded is not PAUSE:
                running.close()
                raise RuntimeError(WAITED)
            await asyncio.sleep(0)
            self._pace.begin()

    async def _begin(self) -> None:
        """Begin a transaction; wait, without holding up the event loop, for another program that holds the file."""
        deadline = asyncio.get_running_loop().time() + self._wait
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                late = asyncio.get_running_loop().time() > deadline
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or late:
                    raise
                await asyncio.sleep(BUSY_PAUSE)
            else:
                return

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.rollback()
