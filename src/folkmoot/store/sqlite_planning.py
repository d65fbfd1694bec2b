"""What SQLite's planner is told of how many rows fit a condition.

Left to itself it takes an organisation for ten rows, as it does any first column of an index. Most databases have one
organisation, whose rows are all there are, so that it chose indexes that lead to nothing but the organisation, and
walked through everything. Figures that are made up once, as https://sqlite.org/queryplanner-ng.html advises, give each
database the same plans, whatever is in it; those that `ANALYZE` counts mislead when a small one has grown.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

ROWS = 1_000_000
"""Rows of each table."""

FEW = ROWS // 10
"""Rows of an index that has few of a table's."""

ORGANIZATIONS = 10
"""How many share a table: were it one, an index of its rows would look worse than all rows, with those of others."""

ALIKE = 100
"""Rows that have the same value, of an agent for example."""

_DISTINCT = frozenset({"id", "created_at", "due_at", "sequence", "search_id"})
_COMMON = frozenset({"status"})


_INDEXES = """
SELECT tables.name, indexes.name, indexes."unique", indexes.partial
FROM sqlite_schema AS tables JOIN pragma_index_list(tables.name) AS indexes
WHERE tables.type = 'table' AND tables.sql LIKE '%organization_id%'
"""


def plan_for_many(connection: Connection) -> None:
    """Tell the planner of every index, in the transaction that has made or changed the tables."""
    execute = connection.exec_driver_sql
    execute("ANALYZE alembic_version")  # makes the table that nobody else can make
    execute("DELETE FROM sqlite_stat1")
    for table, index, unique, partial in execute(_INDEXES).all():
        columns = [name for (name,) in execute("SELECT name FROM pragma_index_info(?)", (index,))]
        figures = " ".join(map(str, estimate(columns, unique=bool(unique), partial=bool(partial))))
        # What is looked for in all organisations has indexes of its own, and is not to be sought in each of them.
        execute("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", (table, index, f"{figures} noskipscan"))


def estimate(columns: Sequence[str], *, unique: bool, partial: bool) -> list[int]:
    """Return the figures of an index: its rows, then how many have the same first column, first two columns, and so on.

    Args:
        columns: its columns, in order.
        unique: whether no two rows have the same of all of them.
        partial: whether it has some of the table's rows only.

    >>> estimate(["organization_id", "agent_id", "created_at"], unique=False, partial=False)
    [1000000, 100000, 100, 1]
    >>> estimate(["organization_id", "block_id", "version"], unique=True, partial=False)
    [1000000, 100000, 100, 1]
    """
    rows = FEW if partial else ROWS
    same = [_same(column, rows) for column in columns]
    if unique:
        same[-1] = 1
    return list(accumulate([rows, *same], min))


def _same(column: str, rows: int) -> int:
    if column == "organization_id":
        return rows // ORGANIZATIONS
    if column in _COMMON:
        return rows // ORGANIZATIONS // 2
    return 1 if column in _DISTINCT else ALIKE
