"""The embedded engine: one SQLite file, one process.

Statements run in place on the event loop's thread, since each takes some ten microseconds, less than a hop to another
thread. Only COMMIT, which waits for the disk, runs elsewhere, and reads that may take long (`scan`). Work that arrives
during a COMMIT waits and then commits together (group commit), each piece in a savepoint of its own: many writers share
one wait for the disk, and a piece that fails takes nobody with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import coroutine
from typing import IO, Any, cast

from sqlalchemy import Executable, Select, Table, column, func, literal_column, or_, table
from sqlalchemy.dialects.sqlite.pysqlite import dialect as sqlite_dialect

from folkmoot.errors import Conflict, InvalidInput, StartupError, StoreMoved, StoreOverloaded, StoreUnavailable
from folkmoot.store.engine import CHANGED_MEANWHILE, Parameters, Row, S, Statements, T, Work, narrowed
from folkmoot.store.files import OpenFiles, make_private_file
from folkmoot.store.scans import Scans
from folkmoot.store.signals import Signals
from folkmoot.store.tables import messages
from folkmoot.store.words import is_found_whole, pieces_of

LONGEST_QUEUE = 10_000
"""Pieces of work that may wait for the disk before more are refused."""

LOOK_EVERY = 10_000
"""Steps of SQLite's machine between two looks whether a scan is still wanted: well below a millisecond."""

LONGEST_WITHOUT_PAUSE = 0.005
"""Seconds of work after which a batch lets the event loop turn to something else."""

INSERTED_AT_ONCE = 100
"""Rows that are inserted without a pause."""

WAITED = "Work in a transaction waited for something other than its transaction."

BUSY_PAUSE = 0.05
"""Seconds between two looks at a file that another program holds."""

FULLTEXT = (
    "CREATE VIRTUAL TABLE messages_fulltext USING fts5(text, content='', tokenize='unicode61 remove_diacritics 2')",
    """CREATE TRIGGER messages_fulltext_insert AFTER INSERT ON messages WHEN new.search_text <> '' BEGIN
        INSERT INTO messages_fulltext(rowid, text) VALUES (new.search_id, new.search_text);
    END""",
    """CREATE TRIGGER messages_fulltext_delete AFTER DELETE ON messages WHEN old.search_text <> '' BEGIN
        INSERT INTO messages_fulltext(messages_fulltext, rowid, text)
        VALUES ('delete', old.search_id, old.search_text);
    END""",
    """CREATE TRIGGER messages_fulltext_update AFTER UPDATE OF search_text ON messages BEGIN
        INSERT INTO messages_fulltext(messages_fulltext, rowid, text)
        SELECT 'delete', old.search_id, old.search_text WHERE old.search_text <> '';
        INSERT INTO messages_fulltext(rowid, text)
        SELECT new.search_id, new.search_text WHERE new.search_text <> '';
    END""",
)
"""The full-text index over messages, which triggers keep; it holds no copy of the text."""

_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA busy_timeout = 50;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -4000;
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


class _Pace:
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


_PAUSE: Any = object()
"""What work yields to the engine when it lets the event loop turn to something else."""


@coroutine
def _pause() -> Generator[Any, None, None]:
    yield _PAUSE


class SqliteTransaction:
    """An open transaction on one connection; one that writes pauses between two statements when it takes long."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        statements: Statements,
        organization_id: str | None,
        topics: list[str],
        pace: _Pace | None = None,
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

    def signal(self, topic: str) -> None:
        """Wake up who waits for `topic` after the commit."""
        self.topics.append(topic)

    def _execute(self, statement: Executable, parameters: Parameters) -> sqlite3.Cursor:
        text, values = self._statements.text(statement, parameters, self.organization_id)
        return self._connection.execute(text, values)


@dataclass(slots=True)
class _Pending:
    work: Work[Any]
    organization_id: str | None
    future: asyncio.Future[Any]
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


class _Reader:
    """A connection that only reads, for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open `path`, which has been migrated."""
        self.connection = connect(path)
        self.connection.execute("PRAGMA query_only = ON")
        self.connection.execute("SELECT 1 FROM sqlite_master").close()  # opens the write-ahead log
        self._statements = Statements(sqlite_dialect(paramstyle="qmark"))

    def read(self, work: Work[T], organization_id: str | None) -> T:
        """Run `work` on the newest committed state."""
        try:
            self.connection.execute("BEGIN")
            try:
                transaction = SqliteTransaction(self.connection, self._statements, organization_id, [])
                return cast("T", _at_once(work(transaction)))
            finally:
                self.connection.execute("ROLLBACK")
        except OverflowError as error:
            raise InvalidInput("A number in the request is larger than the database can hold.") from error
        except sqlite3.Error as error:
            raise StoreUnavailable(f"The database cannot be read: {error}.") from error


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


class SqliteEngine:
    """A SQLite file that this process has to itself."""

    def __init__(self, path: Path, signals: Signals, wait: float, lock: IO[str]) -> None:
        """Open `path`, which has been migrated.

        Args:
            path: the database file.
            signals: who is told of commits.
            wait: seconds a piece of work waits for its commit before it is refused.
            lock: the open file of `lock_file`, kept until the store is closed.
        """
        self.signals = signals
        self._lock = lock
        self._wait = wait
        self._statements = Statements(sqlite_dialect(paramstyle="qmark"))
        self._writer = connect(path)
        self._path = path
        self._reader = _Reader(path)
        self._idle_readers: deque[_Reader] = deque()
        self._scans = Scans(wait)
        self._files = OpenFiles(path)
        self._queue: deque[_Pending] = deque()
        self._committing: asyncio.Task[None] | None = None
        self._pace = _Pace()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="folkmoot-commit")

    async def read(self, work: Work[T], organization_id: str | None) -> T:
        """Run `work` on the newest committed state."""
        return self._reader.read(work, organization_id)

    async def scan(self, work: Work[T], organization_id: str | None, then: Callable[[T], S]) -> S:
        """Run `work` on the newest committed state, and `then` on its result, on a reader's thread."""
        scan = _Scan()
        async with self._scans.turn():
            return await self._scans.run(lambda: self._scan(scan, work, organization_id, then), scan.give_up)

    def _scan(self, scan: _Scan, work: Work[T], organization_id: str | None, then: Callable[[T], S]) -> S:
        try:
            reader = self._idle_readers.pop()
        except IndexError:  # all are at work
            reader = _Reader(self._path)
        try:
            return scan.run(reader, work, organization_id, then)
        finally:
            self._idle_readers.append(reader)

    async def write(self, work: Work[T], organization_id: str | None, together: str | None = None) -> T:
        """Run `work` in a transaction; return when it is on the disk. All work shares transactions here.

        Work that has not begun when its caller is cancelled is not done.
        """
        if len(self._queue) >= LONGEST_QUEUE:
            raise StoreOverloaded
        pending = _Pending(work, organization_id, asyncio.get_running_loop().create_future())
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
            raise

    async def check(self) -> None:
        """See that the file is readable, writable and in its place.

        Raises:
            StoreUnavailable: it is not.
        """
        self._files.check()
        self._files.check_disk()
        try:
            self._reader.connection.execute("SELECT 1 FROM sqlite_master").close()
        except sqlite3.Error as error:
            raise StoreUnavailable(f"The database cannot be read: {error}.") from error

    def matching(self, statement: Select[Any], words: Sequence[str]) -> Select[Any]:
        """Return `statement` limited to messages with one of `words`, the best first (FTS5's bm25)."""
        wanted = " OR ".join(way for word in words for way in _ways(word))
        found = table("messages_fulltext", column("rowid"), column("rank"))
        return (
            statement.join(found, found.c.rowid == messages.c.search_id)
            .where(literal_column("messages_fulltext").op("MATCH")(wanted))
            .where(or_(*(func.instr(messages.c.search_text, word) > 0 for word in words)))
            .order_by(found.c.rank)
        )

    async def close(self) -> None:
        """Commit what waits and close the file."""
        if self._committing is not None:
            await self._committing
        self._thread.shutdown()
        await self._scans.close()
        for reader in (self._reader, *self._idle_readers):
            reader.connection.close()
        self._writer.close()
        self._lock.close()

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
            await asyncio.get_running_loop().run_in_executor(self._thread, self._commit_to_file)
        except (sqlite3.Error, StoreUnavailable) as error:
            self._roll_back()
            reason = f"The database cannot be written: {error}." if isinstance(error, sqlite3.Error) else str(error)
            for pending in batch:
                pending.error = StoreUnavailable(reason)
                pending.error.__cause__ = error
                pending.settle()
            return
        for pending in batch:
            pending.settle()
        self.signals.wake(topics)

    def _commit_to_file(self) -> None:
        """Commit, if the file is there before and after: what is acknowledged is in the file that people see.

        Raises:
            StoreUnavailable: the file was deleted, replaced or made read-only.
        """
        try:
            self._files.check()
            self._writer.commit()
            self._files.check()
        except StoreMoved:
            # What was committed goes from the log to the file it belongs to, wherever that is now: no log may stay
            # beside another file, which SQLite would play it into.
            self._roll_back()
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raise

    async def _run_in_savepoint(self, pending: _Pending, topics: list[str]) -> None:
        transaction = SqliteTransaction(self._writer, self._statements, pending.organization_id, [], self._pace)
        self._writer.execute("SAVEPOINT piece")
        try:
            pending.result = await self._with_pauses(pending.work(transaction))
        except Exception as error:
            database_fails = isinstance(error, sqlite3.OperationalError) and (
                error.sqlite_errorcode != sqlite3.SQLITE_ERROR or not self._writer.in_transaction
            )
            if database_fails:  # a full disk, say: it is not this piece's fault
                raise
            self._writer.execute("ROLLBACK TO piece")
            pending.error = error
            if isinstance(error, sqlite3.IntegrityError):
                pending.error = Conflict(CHANGED_MEANWHILE)
                pending.error.__cause__ = error
        else:
            topics.extend(transaction.topics)
        self._writer.execute("RELEASE piece")

    async def _with_pauses(self, work: Any) -> Any:
        """Run a coroutine that waits for nothing but its transaction; where that pauses, others have their turn."""
        running = cast("Coroutine[Any, Any, Any]", work)
        while True:
            try:
                yielded = running.send(None)
            except StopIteration as stop:
                return stop.value
            if yielded is not _PAUSE:
                running.close()
                raise RuntimeError(WAITED)
            await asyncio.sleep(0)
            self._pace.begin()

    async def _begin(self) -> None:
        """Begin a transaction; wait, without holding up the event loop, for another program that holds the file."""
        deadline = asyncio.get_running_loop().time() + self._wait
        while True:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                late = asyncio.get_running_loop().time() > deadline
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or late:
                    raise
                await asyncio.sleep(BUSY_PAUSE)
            else:
                return

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            self._writer.rollback()


def _ways(word: str) -> list[str]:
    """Return how FTS5 is asked for a word: as it is, and by its pieces."""
    whole = [f'"{word}"'] if is_found_whole(word) else []
    pieces = pieces_of(word)
    return [*whole, f"({' AND '.join(pieces)})"] if pieces else whole


def _at_once(work: Any) -> Any:
    """Run a coroutine that must not pause, and return its result."""
    coroutine = cast("Coroutine[Any, Any, Any]", work)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(WAITED)


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
