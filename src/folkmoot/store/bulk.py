"""Whole databases, table by table: read at one moment, or written as one change.

What copies a database knows neither its rooms nor its engine: it reads the tables of `tables.py` in the order in which
they may refer to each other, so that a table that is new comes along by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, get_args

import sqlalchemy as sa

from folkmoot.errors import StartupError
from folkmoot.store.migrations import HEAD
from folkmoot.store.tables import metadata

ROWS = 200
"""Rows that are read or written at once."""

NOT_EMPTY = "is not empty. Name an empty one; `restore --replace` replaces what is there, and backs it up first."

Kind: TypeAlias = Literal["text", "integer", "number", "boolean", "bytes"]

_KINDS: Sequence[tuple[type[Any], Kind]] = (
    (sa.Boolean, "boolean"),
    (sa.Integer, "integer"),
    (sa.Float, "number"),
    (sa.LargeBinary, "bytes"),
    (sa.Text, "text"),
)


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table's name, and its columns in the order in which a row's values stand."""

    name: str
    columns: tuple[str, ...]
    kinds: tuple[Kind, ...]

    @property
    def clause(self) -> sa.TableClause:
        """The table for a statement, whichever version of the schema it is of."""
        return sa.table(self.name, *map(sa.column, self.columns))


def shape_of(table: sa.Table) -> TableShape:
    """Return a table's shape.

    Raises:
        TypeError: it has a column of a type that no file has a form for.
    """
    return TableShape(table.name, tuple(table.c.keys()), tuple(_kind(column) for column in table.c))


def current_shapes() -> list[TableShape]:
    """Return the tables of this version, those that others refer to before them."""
    return [shape_of(table) for table in metadata.sorted_tables]


def _kind(column: sa.Column[Any]) -> Kind:
    for type_, kind in _KINDS:
        if isinstance(column.type, type_):
            return kind
    raise TypeError(f"{column.table.name}.{column.name}: a {column.type} has no form in a backup; see store/bulk.py.")


def is_kind(text: str) -> bool:
    """Tell whether a text names a kind of column."""
    return text in get_args(Kind)


class Snapshot(Protocol):
    """A database as it was at one moment, whatever is written meanwhile."""

    schema: str

    async def count(self, shape: TableShape) -> int:
        """Return how many rows a table has."""

    def rows(self, shape: TableShape) -> AsyncIterator[Sequence[Sequence[Any]]]:
        """Yield a table's rows, some at a time, values in the order of its columns."""


class Loading(Protocol):
    """A database that is being filled; nobody sees any of it before all of it is there."""

    async def load(self, shape: TableShape, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows to a table."""


def any_row(table: sa.Table) -> sa.Select[Any]:
    """Return a statement that finds a row of a table, if it has any."""
    return sa.select(sa.literal_column("1")).select_from(table).limit(1)


def check_schema(place: str | Path, found: str | None) -> str:
    """Return the schema's revision when it is this version's.

    Raises:
        StartupError: it is another one, or there is none.
    """
    if found is None:
        raise StartupError(f"The database {place} is no Folkmoot database: it has no tables.")
    if found != HEAD:
        remedy = (
            "Start this version's server on it once, which brings it up to date, or use the Folkmoot that wrote it."
        )
        if found > HEAD:
            remedy = "A newer Folkmoot has written it; use that one."
        raise StartupError(f"The database {place} has schema {found}, and this Folkmoot knows {HEAD}. {remedy}")
    return found
