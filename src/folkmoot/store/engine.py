"""What every engine offers: transactions that run SQLAlchemy Core statements, compiled once, on the driver itself.

A piece of work is an async function of a `Transaction`:

    async def rename(transaction: Transaction) -> None:
        await transaction.run(update_name, new_name="a")

    await store.write(rename)

It may be called more than once (after a deadlock), so it must do nothing but use the transaction: no model call, no
other await, which the engine enforces on SQLite. Other requests may run between two of its statements.

A `Store` is the database as one organisation sees it: the statements of its work reach that organisation's rows only,
and what they insert is that organisation's. `Store.everywhere` is for what a process does for all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, TypeAlias, TypeVar, cast, overload

from sqlalchemy import Column, ColumnElement, Executable, Select, Table

from folkmoot import tracing
from folkmoot.metrics import STORE_SECONDS, add_all, counting
from folkmoot.store.signals import Signals

T = TypeVar("T")
S = TypeVar("S")

Parameters: TypeAlias = Mapping[str, Any]

NUMBER_TOO_LARGE = "A number in the request is larger than the database can hold."

CHANGED_MEANWHILE = "Another request changed this at the same moment; nothing was done. Try again."


class Row(Protocol):
    """One row of a result; columns by name."""

    def __getitem__(self, key: str, /) -> Any:
        """Return the column's value."""


class Transaction(Protocol):
    """A transaction that is open, of one organisation or of all."""

    @property
    def organization_id(self) -> str | None:
        """Whose rows its statements reach; None for everybody's."""

    def within(self, organization_id: str) -> Transaction:
        """Return this transaction, of everybody's rows until now, as one of an organisation's only."""

    async def all(self, statement: Executable, **parameters: Any) -> Sequence[Row]:
        """Return every row of `statement`, with `parameters` for its bindparams."""

    async def first(self, statement: Executable, **parameters: Any) -> Row | None:
        """Return the first row of `statement`, or None."""

    async def run(self, statement: Executable, **parameters: Any) -> int:
        """Execute `statement` and return how many rows it changed."""

    async def insert(self, table: Table, rows: Sequence[Parameters], *, or_keep: bool = False) -> None:
        """Insert `rows`, all with the same columns; with `or_keep`, those that are there already stay as they are."""

    async def load(self, table: Table, rows: Sequence[Parameters]) -> None:
        """Insert many new rows the quickest way; nobody else has a turn meanwhile, so it is for no running server."""

    def signal(self, topic: str) -> None:
        """Wake up who waits for `topic`, in every process, once this transaction has committed."""


Work: TypeAlias = Callable[[Transaction], Awaitable[T]]


class Engine(Protocol):
    """A database: where work is done for any organisation, and where commits are heard of."""

    signals: Signals

    async def read(self, work: Work[T], organization_id: str | None) -> T:
        """Run `work`, which only reads; it sees everything that was committed before."""

    async def scan(self, work: Work[T], organization_id: str | None, then: Callable[[T], S]) -> S:
        """Run `work`, which only reads one snapshot and may take long, and return what `then` makes of its result."""

    async def write(self, work: Work[T], organization_id: str | None, together: str | None = None) -> T:
        """Run `work` in one transaction and return its result once the commit is durable."""

    async def check(self) -> None:
        """See whether work can be done.

        Raises:
            StoreUnavailable: the database cannot be reached or cannot be written.
        """

    async def size(self) -> int:
        """Return how many bytes the database takes.

        Raises:
            StoreUnavailable: it does not tell.
        """

    def free(self) -> int | None:
        """Return how many bytes its disk has left; None where that is another server's to tell."""

    def has_room(self, size: int) -> bool:
        """Tell whether so many bytes can be stored, as far as that can be told before."""

    def text_search(self, statement: Select[Any], table: Table, words: Sequence[str]) -> Select[Any]:
        """Return `statement`, a select from `table`, limited to rows with one of `words`, the best first.

        Each row gets a `text_score`, which is higher for a better match. The table has the columns `search_text`, as
        `words.indexed_text` makes it, and `search_id`; its index is one of the engine's `FULLTEXT`.
        """

    async def index_texts(self) -> None:
        """Let `text_search` find every message that is committed by now; some may have waited to be indexed."""

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
        """Return a select of `item` and `distance` to the parameter `wanted_vector`, the nearest first.

        None for an engine that cannot tell distances: then `nearest.nearest` finds them.

        Args:
            table: where the vectors are.
            item: what they are of.
            dimensions: only vectors of so many are looked at.
            conditions: what their rows must fulfil.
            limit: how many.
            exactly: whether every vector is compared by its numbers, not only those whose signs are nearest.
        """

    async def index_vectors(self, table: Table, dimensions: int) -> None:
        """Make what lets `nearest` look for vectors of so many dimensions without looking at all of them."""

    def write_vector(self, values: Sequence[float]) -> Any:
        """Return a vector as the engine keeps it."""

    def read_vector(self, kept: Any) -> Sequence[float]:
        """Return the vector that `write_vector` made."""

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""


@dataclass(frozen=True, slots=True)
class Store:
    """The database as one organisation sees it; with None, as the server itself does."""

    engine: Engine
    organization_id: str | None = None

    def of(self, organization_id: str) -> Store:
        """Return the database as this organisation sees it."""
        return Store(self.engine, organization_id)

    @property
    def everywhere(self) -> Store:
        """The database with every organisation's rows, for what a process does for all of them."""
        return Store(self.engine)

    @property
    def signals(self) -> Signals:
        """Where commits are heard of."""
        return self.engine.signals

    def read(self, work: Work[T]) -> Coroutine[Any, Any, T]:
        """Run `work`, which only reads; it sees everything that was committed before."""
        return self.engine.read(work, self.organization_id)

    @overload
    def scan(self, work: Work[T]) -> Coroutine[Any, Any, T]: ...

    @overload
    def scan(self, work: Work[T], then: Callable[[T], S]) -> Coroutine[Any, Any, S]: ...

    def scan(self, work: Work[T], then: Callable[[T], S] | None = None) -> Coroutine[Any, Any, S]:
        """Run `work`, which only reads and may take long, and return what `then` makes of its result.

        Nobody else waits for it: on SQLite both run on a reader's thread, on PostgreSQL `work` has a connection of the
        scans' own and `then` a thread. It is given up when its caller is cancelled. `read` is for what takes a
        millisecond.

        Args:
            work: what to read; it sees one snapshot of what was committed before.
            then: what to make of it, without the database.

        Raises:
            StoreUnavailable: the database cannot be read.
            StoreOverloaded: too many scans wait, or this one took too long.
        """
        scan = self.engine.scan(work, self.organization_id, then or cast("Callable[[T], S]", _as_it_is))
        return _timed("scan", scan)

    def write(self, work: Work[T], together: str | None = None) -> Coroutine[Any, Any, T]:
        """Run `work` in one transaction and return its result once the commit is durable.

        Args:
            work: what to do.
            together: work that names the same thing here may share a transaction, for it would wait for the same lock
                anyway; each piece still succeeds or fails by itself.

        Raises:
            StoreUnavailable: the database cannot be reached or cannot write; nothing was changed.
            StoreOverloaded: the wait for the database was too long; nothing was changed.
        """
        return self._write(work, together)

    async def _write(self, work: Work[T], together: str | None) -> T:
        tally: list[Any] = []
        place = tracing.here()  # the work may be done by another task

        async def counted(transaction: Transaction) -> T:
            with counting() as of_this_try, tracing.under(place):
                result = await work(transaction)
            tally[:] = of_this_try
            return result

        result = await _timed("write", self.engine.write(counted, self.organization_id, together))
        add_all(tally)
        return result

    async def check(self) -> None:
        """See whether work can be done.

        Raises:
            StoreUnavailable: the database cannot be reached or cannot be written.
        """
        await self.engine.check()

    def text_search(self, statement: Select[Any], table: Table, words: Sequence[str]) -> Select[Any]:
        """Return `statement`, a select from `table`, limited to rows with one of `words`, the best first.

        Each row gets a `text_score`, which is higher for a better match.

        Args:
            statement: a select without an order; further orders come behind that by score.
            table: one with a full-text index.
            words: what `words.looked_for` returns, at least one.
        """
        return self.engine.text_search(statement, table, words)

    async def index_texts(self) -> None:
        """Let `text_search` find every message that is committed by now; before a search of messages.

        Raises:
            StoreUnavailable: the database cannot be read or written.
        """
        await self.engine.index_texts()

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""
        await self.engine.close()


async def _timed(kind: str, waiting: Coroutine[Any, Any, T]) -> T:
    """Wait for the database, and note how long that took."""
    begun = perf_counter()
    try:
        return await waiting
    finally:
        STORE_SECONDS.observe(perf_counter() - begun, kind)


def _as_it_is(result: T) -> T:
    return result


def narrowed(current: str | None, organization_id: str) -> str:
    """Return the organisation that a transaction of `current` is narrowed to; one of an organisation stays in it."""
    if current not in (None, organization_id):
        raise AssertionError("a transaction of one organisation cannot become another's")
    return organization_id
