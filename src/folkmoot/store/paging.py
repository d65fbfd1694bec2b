"""Keyset pagination: a page costs the same at any depth.

A cursor is the identifier of an item. `after` continues behind it in the order that was asked for, `before` gives the
items just in front of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from sqlalchemy import ColumnElement, Select, Table, select, tuple_

from folkmoot.errors import InvalidInput
from folkmoot.store.engine import Row, Transaction

LARGEST_PAGE = 1000


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted. `limit` counts items; `from_end` asks for the last ones, in the list's order."""

    limit: int = 50
    after: str | None = None
    before: str | None = None
    order: Literal["asc", "desc"] = "asc"
    from_end: bool = False


async def fetch_page(
    transaction: Transaction,
    statement: Select[Any],
    table: Table,
    page: Page,
    key: Sequence[str] = ("created_at", "id"),
    scope: ColumnElement[bool] | None = None,
) -> list[Row]:
    """Return the rows of `statement`'s page, in the page's order.

    Args:
        transaction: where to read.
        statement: a select from `table` with its conditions and no order.
        table: the table whose `organization_id` and `id` a cursor names.
        page: which part.
        key: the columns of `table` that order it; together they are unique.
        scope: what a cursor must be part of; anything in `table` when None.

    Raises:
        InvalidInput: a cursor names nothing.
    """
    columns = [table.c[name] for name in key]
    backwards = (page.before is not None or page.from_end) and page.after is None
    ascending = (page.order == "asc") != backwards
    for field, cursor in (("after", page.after), ("before", page.before)):
        if cursor is not None:
            place = await _place(transaction, table, columns, field, cursor, scope)
            upwards = (page.order == "asc") == (field == "after")
            bound = tuple_(*columns) > place if upwards else tuple_(*columns) < place
            statement = statement.where(bound)
    statement = statement.order_by(*(column.asc() if ascending else column.desc() for column in columns))
    rows = list(await transaction.all(statement.limit(min(page.limit, LARGEST_PAGE))))
    return rows[::-1] if backwards else rows


async def _place(
    transaction: Transaction,
    table: Table,
    columns: Sequence[ColumnElement[Any]],
    field: str,
    cursor: str,
    scope: ColumnElement[bool] | None,
) -> ColumnElement[Any]:
    statement = select(*columns).where(table.c.id == cursor)
    row = await transaction.first(statement if scope is None else statement.where(scope))
    if row is None:
        raise InvalidInput(
            f"{field}: {cursor!r} is not in this list; it may have been deleted. Start again without it."
        )
    return tuple_(*(row[str(column.key)] for column in columns))


def page_of_list(items: Sequence[T], page: Page, id_of: Callable[[T], str]) -> list[T]:
    """Return the page of a list that is held in memory.

    Raises:
        InvalidInput: a cursor names nothing.
    """
    ordered = list(items if page.order == "asc" else reversed(items))
    ids = [id_of(item) for item in ordered]
    for field, cursor in (("after", page.after), ("before", page.before)):
        if cursor is not None and cursor not in ids:
            raise InvalidInput(f"{field}: {cursor!r} is not in this list. Start again without it.")
    start = ids.index(page.after) + 1 if page.after is not None else 0
    end = ids.index(page.before) if page.before is not None else len(ordered)
    if page.before is not None and page.after is None:
        start = max(0, end - page.limit)
    return ordered[start : min(end, start + page.limit)]
