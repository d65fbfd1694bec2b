"""The PostgreSQL engine: asyncpg's connections, any number of processes on one database."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import asyncpg
from sqlalchemy import Column, ColumnElement, Executable, Select, Table, func, select
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from folkmoot.errors import Conflict, FolkmootError, StoreError, StoreOverloaded, StoreUnavailable
from folkmoot.store import clock
from folkmoot.store.engine import CHANGED_MEANWHILE, Parameters, Row, S, T, Transaction, Work, narrowed
from folkmoot.store.leases import Trouble
from folkmoot.store.postgres_connections import LISTENER, NO_ANSWER, READ_ONLY, SERVER, connect, unreachable
from folkmoot.store.postgres_errors import OVERTAKEN, PASSING, UNAVAILABLE, InOurTerms
from folkmoot.store.postgres_pool import Pool
from folkmoot.store.postgres_vectors import by_distance, find_pgvector, make_index, prefer_whole_answers
from folkmoot.store.postgres_words import matching
from folkmoot.store.scans import AT_ONCE, LONGEST_SCAN, Scans
from folkmoot.store.scoping import COLUMN
from folkmoot.store.signals import Signals, wait_or_look_again
from folkmoot.store.statements import Statements

logger = logging.getLogger(__name__)

STATEMENTS = Statements(asyncpg_dialect())  # type: ignore[no-untyped-call]
"""For every connection of this process."""

CHANNEL = "folkmoot"
"""The LISTEN/NOTIFY channel; a payload is a topic."""


def fulltext(table: str) -> tuple[str, ...]:
    """Return the statement that makes a table's full-text index."""
    return (f"CREATE INDEX {table}_fulltext ON {table} USING gin (to_tsvector('simple', search_text))",)


FULLTEXT = (*fulltext("messages"), *fulltext("passages"), *fulltext("file_chunks"))
"""The full-text indexes."""

FOR_SCANS = {"enable_seqscan": "off", "jit": "off"}
"""How scans are planned. PostgreSQL takes it for cheap to cut each text of a table into words anew, which takes 50 µs,
and so leaves the index of words aside for common ones. Every table has an index by organisation."""

RECONNECT_SECONDS = 1.0

LATER = 5.0
"""Seconds after which a scan is given up that PostgreSQL should have ended, since nothing is heard of it."""

CLOCK_SECONDS = 5.0
"""How often the database is asked for the time; a process that slept is soon right again."""

CLOCK_PATIENCE = 30.0
"""Seconds after which a connection that does not tell it counts as lost."""

_CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

LARGEST_BATCH = 50
"""Pieces of work on one thing that share a transaction at the most."""

RETRY_PAUSE = 0.01
"""Seconds, about, before a transaction that met a deadlock is tried again; doubled each time."""

_read_only = select(func.current_setting("transaction_read_only").label("read_only"))
_size = select(func.pg_database_size(func.current_database()).label("size"))

_ATTEMPTS = 5
_COLLECT = 0.005


@dataclass(slots=True)
class _Done:
    """What a transaction has done: the topics to signal, and how many statements may have changed something."""

    topics: list[str] = field(default_factory=list)
    writes: int = 0


class PostgresTransaction:
    """Statements on one connection."""

    def __init__(
        self, connection: asyncpg.Connection[Any], statements: Statements, organization_id: str | None, done: _Done
    ) -> None:
        """Run on `connection`, for an organisation or for all, and keep in `done` what was done."""
        self._connection = connection
        self._statements = statements
        self.organization_id = organization_id
        self.done = done

    def within(self, organization_id: str) -> PostgresTransaction:
        """Return this transaction as one of the organisation's only."""
        organization_id = narrowed(self.organization_id, organization_id)
        return PostgresTransaction(self._connection, self._statements, organization_id, self.done)

    async def all(self, statement: Executable, **parameters: Any) -> Sequence[Row]:
        """Return every row of `statement`."""
        text, values = self._statements.text(statement, parameters, self.organization_id)
        return cast("Sequence[Row]", await self._connection.fetch(text, *values))

    async def first(self, statement: Executable, **parameters: Any) -> Row | None:
        """Return the first row of `statement`, or None."""
        text, values = self._statements.text(statement, parameters, self.organization_id)
        return cast("Row | None", await self._connection.fetchrow(text, *values))

    async def run(self, statement: Executable, **parameters: Any) -> int:
        """Execute `statement` and return how many rows it changed."""
        self.done.writes += 1
        text, values = self._statements.text(statement, parameters, self.organization_id)
        tag = await self._connection.execute(text, *values)
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def insert(self, table: Table, rows: Sequence[Parameters], *, or_keep: bool = False) -> None:
        """Insert `rows` into `table`; with `or_keep`, rows that are there stay as they are."""
        if not rows:
            return
        self.done.writes += 1
        text, values = self._statements.insert(table, rows, self.organization_id, or_keep=or_keep)
        if len(values) == 1:
            await self._connection.execute(text, *values[0])
        else:
            await self._connection.executemany(text, values)

    async def load(self, table: Table, rows: Sequence[Parameters]) -> None:
        """Insert many new rows, by COPY."""
        if not rows:
            return
        self.done.writes += 1
        whose = {} if self.organization_id is None else {COLUMN: self.organization_id}
        columns = [*whose, *rows[0]]
        records = [(*whose.values(), *row.values()) for row in rows]
        await self._connection.copy_records_to_table(table.name, records=records, columns=columns)

    def signal(self, topic: str) -> None:
        """Wake up who waits for `topic` after the commit."""
        self.done.topics.append(topic)


@dataclass(slots=True)
class _Pending:
    work: Work[Any]
    organization_id: str | None
    future: asyncio.Future[Any]


def _piece(transaction: PostgresTransaction, pending: _Pending) -> PostgresTransaction:
    return transaction if pending.organization_id is None else transaction.within(pending.organization_id)


async def _run_all(batch: Sequence[_Pending], transaction: Transaction) -> list[Any]:
    """Run pieces of work in one transaction; one that raises before it wrote anything takes nobody with it."""
    assert isinstance(transaction, PostgresTransaction)
    outcomes: list[Any] = []
    for pending in batch:
        written = transaction.done.writes
        try:
            outcomes.append(await pending.work(_piece(transaction, pending)))
        except FolkmootError as error:
            if transaction.done.writes != written:
                raise
            outcomes.append(error)
    return outcomes


def _settle(pending: _Pending, outcome: Any) -> None:
    if pending.future.done():
        return
    if isinstance(outcome, Exception):
        pending.future.set_exception(outcome)
    else:
        pending.future.set_result(outcome)


async def _follow_clock(connection: asyncpg.Connection[Any]) -> None:
    """Go by the database's clock, which all processes share: one with another would take their runs for dead ones."""
    since = clock.monotonic()
    clock.follow(await connection.fetchval(_CLOCK, timeout=CLOCK_PATIENCE), since)


class PostgresEngine:
    """A pool of connections to one database."""

    def __init__(self, url: str, pool: Pool, scan_pool: Pool, signals: Signals, wait: float) -> None:
        """Use `pool`, for scans `scan_pool`; wait `wait` seconds for a connection or a lock before work is refused."""
        self.signals = signals
        self.has_pgvector = False
        self._url = url
        self._pool = pool
        self._scan_pool = scan_pool
        self._scans = Scans(wait)
        self._wait = wait
        self._statements = STATEMENTS
        self._together: dict[str, deque[_Pending]] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._unsent: set[str] = set()
        self._sending: asyncio.Task[None] | None = None
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def open(
        cls, url: str, signals: Signals, wait: float, connections: int = 16, for_scans: int = AT_ONCE
    ) -> PostgresEngine:
        """Connect to `url`, which has been migrated, by so many connections at most, and one more that listens.

        Raises:
            StartupError: the database cannot be reached.
        """
        settings = {"lock_timeout": str(int(wait * 1000)), "idle_in_transaction_session_timeout": "60000"}
        opened = partial(connect, url, name=SERVER, timeout=wait, statement_cache_size=500)
        longest = {**settings, **FOR_SCANS, "statement_timeout": str(int(LONGEST_SCAN * 1000))}

        async def connect_for_scans() -> asyncpg.Connection[Any]:
            connection = await opened(longest, command_timeout=LONGEST_SCAN + LATER)
            if has_pgvector:
                await prefer_whole_answers(connection)
            return connection

        pool = Pool(partial(opened, settings, command_timeout=max(wait * 3, 30)), connections, wait)
        try:
            async with pool.lend() as connection:
                has_pgvector = await find_pgvector(connection)
                await _follow_clock(connection)
        except NO_ANSWER as error:
            raise unreachable(url, error) from error
        scan_pool = Pool(connect_for_scans, for_scans, wait)
        engine = cls(url, pool, scan_pool, signals, wait)
        engine.has_pgvector = has_pgvector
        return engine

    async def read(self, work: Work[T], organization_id: str | None) -> T:
        """Run `work`; each of its statements sees everything that was committed before it."""
        async with self._connection() as connection:
            return await work(PostgresTransaction(connection, self._statements, organization_id, _Done()))

    async def scan(self, work: Work[T], organization_id: str | None, then: Callable[[T], S]) -> S:
        """Run `work` on a connection of the scans' own, in one snapshot, and `then` on its result on a thread."""
        async with self._scans.turn():
            async with (
                self._connection(self._scan_pool) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                result = await work(PostgresTransaction(connection, self._statements, organization_id, _Done()))
            return await self._scans.run(lambda: then(result))

    async def write(self, work: Work[T], organization_id: str | None, together: str | None = None) -> T:
        """Run `work` in one transaction, with other work on the same thing if it names one.

        After a deadlock it is run again, and once more when what it had seen was not so any more as it wrote.
        """
        if together is None:
            return await self._write(work, organization_id)
        pending = _Pending(work, organization_id, asyncio.get_running_loop().create_future())
        queue = self._together.get(together)
        if queue is not None:
            queue.append(pending)
        else:
            self._together[together] = deque([pending])
            task = asyncio.create_task(self._write_together(together))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        return cast("T", await asyncio.shield(pending.future))

    async def _write_together(self, key: str) -> None:
        """Commit the queued pieces of work on one thing, many at a time, so that they do not pass its lock around."""
        queue = self._together[key]
        while queue:
            batch = [queue.popleft() for _ in range(min(len(queue), LARGEST_BATCH))]
            try:
                outcomes = await self._write(partial(_run_all, batch), None)
            except StoreError as error:  # a commit whose fate is unknown must not be tried again
                outcomes = [error] * len(batch)
            except Exception as error:  # whatever it is, it belongs to one of the pieces: each finds out by itself
                outcomes = [error] if len(batch) == 1 else [await self._try(pending) for pending in batch]
            for pending, outcome in zip(batch, outcomes, strict=True):
                _settle(pending, outcome)
        del self._together[key]

    async def _try(self, pending: _Pending) -> Any:
        try:
            return await self._write(pending.work, pending.organization_id)
        except Exception as error:  # handed to whoever waits for this piece
            return error

    async def _write(self, work: Work[T], organization_id: str | None) -> T:
        overtaken = False
        for attempt in range(_ATTEMPTS):
            done = _Done()
            try:
                async with self._connection() as connection:
                    transaction = PostgresTransaction(connection, self._statements, organization_id, done)
                    async with connection.transaction():
                        result = await work(transaction)
                self._tell(done.topics)
                return result
            except asyncio.CancelledError:
                self._tell(done.topics)  # it may have been committed, and a wake-up too many does no harm
                raise
            except OVERTAKEN as error:
                if overtaken or attempt + 1 == _ATTEMPTS:
                    raise Conflict(CHANGED_MEANWHILE) from error
                overtaken = True
            except PASSING as error:
                if attempt + 1 == _ATTEMPTS:
                    raise StoreOverloaded from error
                await asyncio.sleep(random.random() * RETRY_PAUSE * 2**attempt)
        raise AssertionError("unreachable")

    async def check(self) -> None:
        """See that PostgreSQL can be reached and takes writes.

        Raises:
            StoreUnavailable: it cannot, or it is read-only, as a standby is.
        """

        async def ask(transaction: Transaction) -> Row | None:
            return await transaction.first(_read_only)

        row = await self.read(ask, None)
        if row is not None and row["read_only"] == "on":
            raise StoreUnavailable(f"PostgreSQL is read-only: {READ_ONLY}.")

    async def size(self) -> int:
        """Return how many bytes the database takes, other applications' tables in it too.

        Raises:
            StoreUnavailable: PostgreSQL cannot be reached.
        """

        async def ask(transaction: Transaction) -> Row | None:
            return await transaction.first(_size)

        row = await self.read(ask, None)
        return 0 if row is None else int(row["size"])

    def free(self) -> None:
        """Return None: only PostgreSQL knows its disk."""

    async def index_texts(self) -> None:
        """Do nothing: the index is part of each transaction."""

    def text_search(self, statement: Select[Any], table: Table, words: Sequence[str]) -> Select[Any]:
        """Return `statement` limited to rows with one of `words`, the best first (Okapi BM25)."""
        return matching(statement, table, words)

    def has_room(self, size: int) -> bool:
        """Say yes: only PostgreSQL knows its disk."""
        return True

    def nearest(
        self,
        table: Table,
        item: Column[str],
        dimensions: int,
        conditions: Sequence[ColumnElement[bool]],
        limit: int,
        *,
        exactly: bool,
    ) -> Select[Any] | None:
        """Return a select of `item` and `distance`, by pgvector, the nearest first; None without it."""
        return by_distance(table, item, dimensions, conditions, limit, exactly=exactly) if self.has_pgvector else None

    async def index_vectors(self, table: Table, dimensions: int) -> None:
        """Make pgvector's index for vectors of so many dimensions, unless it is there or they are few.

        Searches work without it, more slowly; so that it could not be made is logged, and tried again the next time.
        """
        if self.has_pgvector:
            try:
                await make_index(self._url, table, dimensions)
            except (*UNAVAILABLE, asyncpg.PostgresError, TimeoutError) as error:
                logger.warning("The index over vectors of %d dimensions could not be made: %s", dimensions, error)

    def write_vector(self, values: Sequence[float]) -> list[float]:
        """Return a vector as the driver takes an array."""
        return list(values)

    def read_vector(self, kept: Sequence[float]) -> Sequence[float]:
        """Return the vector that `write_vector` made."""
        return kept

    async def close(self) -> None:
        """Send what is to be told and close every connection."""
        self._listening.cancel()
        clock.follow_nobody()
        if self._writing:
            await asyncio.wait(self._writing)
        if self._sending is not None:
            await asyncio.wait([self._sending])
        await self._scans.close()
        for pool in (self._scan_pool, self._pool):
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    def _connection(self, pool: Pool | None = None) -> InOurTerms:
        """Lend a connection, for an `async with`, and put the driver's errors into Folkmoot's terms."""
        return InOurTerms((pool or self._pool).lend())

    def _tell(self, topics: Sequence[str]) -> None:
        """Wake this process at once, the others soon: NOTIFY inside a transaction would make commits queue up."""
        if not topics:
            return
        self.signals.wake(topics)
        self._unsent.update(topics)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._notify())

    async def _notify(self) -> None:
        while self._unsent:
            await asyncio.sleep(_COLLECT)
            topics, self._unsent = list(self._unsent), set()
            try:
                async with self._connection() as connection:
                    await connection.execute(
                        "SELECT pg_notify($1, topic) FROM unnest($2::text[]) AS topic", CHANNEL, topics
                    )
            except (StoreUnavailable, StoreOverloaded) as error:
                logger.warning("Other processes were not woken up: %s", error.message)

    async def _listen(self) -> None:
        """Hold one connection that hears the other processes; connect again when it drops."""
        trouble = Trouble(logger, "Not listening to other processes")
        while True:
            closed = asyncio.Event()
            try:
                connection = await connect(self._url, {}, name=LISTENER, timeout=self._wait)
                try:
                    connection.add_termination_listener(lambda _, closed=closed: closed.set())
                    await connection.add_listener(CHANNEL, lambda *heard: self.signals.wake([str(heard[-1])]))
                    self.signals.wake_all()
                    trouble.is_over()
                    while not closed.is_set():
                        await _follow_clock(connection)
                        await wait_or_look_again(closed, CLOCK_SECONDS)
                finally:
                    await connection.close(timeout=5)
            except (*UNAVAILABLE, asyncpg.PostgresError, TimeoutError) as error:
                trouble.tell(error)
            await asyncio.sleep(RECONNECT_SECONDS)
