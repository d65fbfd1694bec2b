"""How many rows there are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, func, select

from folkmoot.store.engine import Transaction


def count_of(table: FromClause, *which: ColumnElement[bool]) -> Select[Any]:
    """Return a statement for `count_rows`, of the rows of a table that fulfil some conditions."""
    return select(func.count().label("count")).select_from(table).where(*which)


async def count_rows(transaction: Transaction, statement: Select[Any], **parameters: Any) -> int:
    """Return the number that a statement selects as `count`."""
    row = await transaction.first(statement, **parameters)
    return int(row["count"]) if row is not None else 0
