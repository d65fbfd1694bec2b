"""Keyset pagination: a page costs the same at any depth.

A cursor is the identifier of an item. `after` continues behind it in the order that was asked for, `before` gives the
items just in front of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, Table, select, tuple_

from folkmoot.errors import InvalidInput
from folkmoot.store.engine import Row, Transaction

LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted. `limit` counts items."""

    limit: int = 50
    after: str | None = None
    before: str | None = None
    order: Literal["asc", "desc"] = "asc"


async def fetch_page(
    transaction: Transaction,
    statement: Select[Any],
    table: Table,
    page: Page,
    key: Sequence[str] = ("created_at", "id"),
) -> list[Row]:
    """Return the rows of `statement`'s page, in the page's order.

    Args:
        transaction: where to read.
        statement: a select from `table` with its conditions and no order.
        table: the table whose `organization_id` and `id` a cursor names.
        page: which part.
        key: the columns of `table` that order it; together they are unique.

    Raises:
        InvalidInput: a cursor names nothing.
    """
    columns = [table.c[name] for name in key]
    backwards = page.before is not None and page.after is None
    ascending = (page.order == "asc") != backwards
    for field, cursor in (("after", page.after), ("before", page.before)):
        if cursor is not None:
            place = await _place(transaction, table, columns, field, cursor)
            upwards = (page.order == "asc") == (field == "after")
            bound = tuple_(*columns) > place if upwards else tuple_(*columns) < place
            statement = statement.where(bound)
    statement = statement.order_by(*(column.asc() if ascending else column.desc() for column in columns))
    rows = list(await transaction.all(statement.limit(min(page.limit, LARGEST_PAGE))))
    return rows[::-1] if backwards else rows


async def _place(
    transaction: Transaction, table: Table, columns: Sequence[ColumnElement[Any]], field: str, cursor: str
) -> ColumnElement[Any]:
    row = await transaction.first(select(*columns).where(table.c.id == cursor))
    if row is None:
        raise InvalidInput(
            f"{field}: {cursor!r} is not in this list; it may have been deleted. Start again without it."
        )
    return tuple_(*(row[str(column.key)] for column in columns))
