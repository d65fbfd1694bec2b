"""What every engine offers: transactions that run SQLAlchemy Core statements, compiled once, on the driver itself.

A piece of work is an async function of a `Transaction`:

    async def rename(transaction: Transaction) -> None:
        await transaction.run(update_name, new_name="a")

    await store.write(rename)

It may be called more than once (after a deadlock), so it must do nothing but use the transaction: no model call, no
other await. On SQLite it runs without a pause between two statements, which the engine enforces.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Executable, Select, Table, insert
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

from folkmoot.store.signals import Signals

T = TypeVar("T")

Parameters: TypeAlias = Mapping[str, Any]

CHANGED_MEANWHILE = "Another request changed this at the same moment; nothing was done. Try again."


class Row(Protocol):
    """One row of a result; columns by name."""

    def __getitem__(self, key: str, /) -> Any:
        """Return the column's value."""


class Transaction(Protocol):
    """A transaction that is open."""

    async def all(self, statement: Executable, **parameters: Any) -> Sequence[Row]:
        """Return every row of `statement`, with `parameters` for its bindparams."""

    async def first(self, statement: Executable, **parameters: Any) -> Row | None:
        """Return the first row of `statement`, or None."""

    async def run(self, statement: Executable, **parameters: Any) -> int:
        """Execute `statement` and return how many rows it changed."""

    async def insert(self, table: Table, rows: Sequence[Parameters], *, or_keep: bool = False) -> None:
        """Insert `rows`, all with the same columns; with `or_keep`, those that are there already stay as they are."""

    def signal(self, topic: str) -> None:
        """Wake up who waits for `topic`, in every process, once this transaction has committed."""


Work: TypeAlias = Callable[[Transaction], Awaitable[T]]


class Store(Protocol):
    """A database: where work is done, and where commits are heard of."""

    signals: Signals

    async def read(self, work: Work[T]) -> T:
        """Run `work`, which only reads; it sees everything that was committed before."""

    async def read_long(self, work: Work[T]) -> T:
        """Run `work`, which only reads and may look at many rows; it holds up nobody else meanwhile."""

    async def write(self, work: Work[T], together: str | None = None) -> T:
        """Run `work` in one transaction and return its result once the commit is durable.

        Args:
            work: what to do.
            together: work that names the same thing here may share a transaction, for it would wait for the same lock
                anyway; each piece still succeeds or fails by itself.

        Raises:
            StoreUnavailable: the database cannot be reached or cannot write; nothing was changed.
            StoreOverloaded: the wait for the database was too long; nothing was changed.
        """

    def matching(self, statement: Select[Any], words: Sequence[str]) -> Select[Any]:
        """Return `statement`, a select from messages, limited to those with one of `words`, the best first."""

    async def close(self) -> None:
        """Finish what is under way and let go of the database."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as text. It must not hold the statement itself, or none would ever be forgotten."""

    text: str
    names: Sequence[str]
    given: Mapping[str, Any]

    def in_order(self, parameters: Parameters) -> list[Any]:
        """Return the parameters' values, those that the statement brings itself where `parameters` has none."""
        return [parameters[name] if name in parameters else self.given[name] for name in self.names]


class Statements:
    """Statements as text for one dialect, compiled when first used and kept as long as the statement lives."""

    def __init__(self, dialect: Dialect) -> None:
        """Compile for `dialect`, whose parameters must be positional."""
        self._dialect = dialect
        self._compiled: WeakKeyDictionary[Executable, _Compiled] = WeakKeyDictionary()
        self._inserts: dict[tuple[str, tuple[str, ...]], _Compiled] = {}

    def text(self, statement: Executable, parameters: Parameters) -> tuple[str, list[Any]]:
        """Return the statement's SQL and its parameters' values in order."""
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compile(statement)
            self._compiled[statement] = compiled
        return compiled.text, compiled.in_order(parameters)

    def insert(self, table: Table, rows: Sequence[Parameters], *, or_keep: bool) -> tuple[str, list[list[Any]]]:
        """Return an INSERT's SQL and each row's values in order."""
        columns = tuple(rows[0])
        compiled = self._inserts.get((table.name, columns))
        if compiled is None:
            compiled = self._compile(insert(table), column_keys=list(columns))
            self._inserts[table.name, columns] = compiled
        text = f"{compiled.text} ON CONFLICT DO NOTHING" if or_keep else compiled.text
        return text, [compiled.in_order(row) for row in rows]

    def _compile(self, statement: Executable, column_keys: list[str] | None = None) -> _Compiled:
        compiled = statement.compile(  # type: ignore[attr-defined]
            dialect=self._dialect, column_keys=column_keys, compile_kwargs={"render_postcompile": True}
        )
        assert isinstance(compiled, SQLCompiler)
        return _Compiled(compiled.string, tuple(compiled.positiontup or ()), dict(compiled.params))
