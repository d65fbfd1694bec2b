"""Keyset pagination: a page costs the same at any depth.

A cursor is the identifier of an item. `after` continues behind it in the order that was asked for, `before` gives the
items just in front of it. Programs delete what they list while they go through the pages, so that a cursor may name
what is gone: where it stood is kept for a day. A cursor of which nothing is known is as if it were not there, and the
list begins anew. A walk that continues behind the last item of each page ends all the same: that item was listed, so it
is known unless it was deleted since, and each new beginning has made the list shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from sqlalchemy import ColumnElement, FromClause, Insert, Select, Table, bindparam, cast, delete, insert, select, tuple_

from folkmoot.store import clock
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.tables import gone_items

LARGEST_PAGE = 1000

PLACES_KEPT = 24 * 3600 * 1_000_000
"""Microseconds for which the places of deleted items are known."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted. `limit` counts items.

    With `from_end` the pages come from the list's end, each of them in the list's order: `after` names the last item of
    a page, and the page in front of that one follows.
    """

    limit: int = 50
    after: str | None = None
    before: str | None = None
    order: Literal["asc", "desc"] = "asc"
    from_end: bool = False


async def fetch_page(
    transaction: Transaction,
    statement: Select[Any],
    table: FromClause,
    page: Page,
    key: Sequence[str] = ("created_at", "id"),
    scope: ColumnElement[bool] | None = None,
    computed: Mapping[str, ColumnElement[Any]] | None = None,
    within: str = "",
) -> list[Row]:
    """Return the rows of `statement`'s page, in the page's order.

    Args:
        transaction: where to read.
        statement: a select from `table` with its conditions and no order.
        table: the table, or what was selected from it, whose `id` a cursor names.
        page: which part.
        key: the columns of `table` that order it; together they are unique.
        scope: what a cursor must be part of; anything in `table` when None.
        computed: what the names in `key` stand for that are no columns.
        within: the list in which the places of deleted items were noted, where an item may be in several.
    """
    own = computed or {}
    columns = [own[name] if name in own else table.c[name] for name in key]
    next_from_end = page.from_end and page.after is not None and page.before is None
    backwards = next_from_end or ((page.before is not None or page.from_end) and page.after is None)
    ascending = (page.order == "asc") != backwards
    limit = min(page.limit, LARGEST_PAGE)
    for field, cursor in (("after", page.after), ("before", page.before)):
        if cursor is not None:
            place = await _place(transaction, table, dict(zip(key, columns, strict=True)), cursor, scope, within)
            if place is None:
                continue
            if next_from_end:
                statement = statement.where(tuple_(*columns) <= place).offset(limit)
                continue
            upwards = (page.order == "asc") == (field == "after")
            statement = statement.where(tuple_(*columns) > place if upwards else tuple_(*columns) < place)
    statement = statement.order_by(*(column.asc() if ascending else column.desc() for column in columns))
    rows = list(await transaction.all(statement.limit(limit)))
    return rows[::-1] if backwards else rows


async def _place(
    transaction: Transaction,
    table: FromClause,
    columns: Mapping[str, ColumnElement[Any]],
    cursor: str,
    scope: ColumnElement[bool] | None,
    within: str,
) -> ColumnElement[Any] | None:
    """Return where an item stands in the list, or stood; None when that is not known."""
    statement = select(*(column.label(name) for name, column in columns.items())).where(table.c.id == cursor)
    row = await transaction.first(statement if scope is None else statement.where(scope))
    if row is None and all(name in gone_items.c for name in columns):
        row = await transaction.first(_gone, item_id=within + cursor)
    place = [] if row is None else [row[name] for name in columns]
    return tuple_(*place) if place and None not in place else None


def leaving(table: Table, which: ColumnElement[bool], **computed: ColumnElement[Any]) -> Insert:
    """Return a statement for `leave_places`: it notes where the items that `which` picks stand in their lists."""
    columns: dict[str, ColumnElement[Any]] = {
        name: computed[name] if name in computed else table.c[name]
        for name in gone_items.c.keys()  # noqa: SIM118
        if name in computed or name in table.c
    }
    picked = select(*columns.values(), cast(bindparam("gone_at"), gone_items.c.gone_at.type)).where(which)
    return insert(gone_items).from_select([*columns, "gone_at"], picked)


async def leave_places(transaction: Transaction, statement: Insert, **parameters: Any) -> None:
    """Note where items that are to be deleted stand in their lists, so that who lists them can go on from there."""
    now = clock.now()
    await transaction.run(_forget, before=now - PLACES_KEPT)
    await transaction.run(statement, gone_at=now, **parameters)


async def has_left(transaction: Transaction, item_id: str, within: str = "") -> bool:
    """Tell whether it is known where an item stood that is no more; `within` as `fetch_page` takes it."""
    return await transaction.first(_gone, item_id=within + item_id) is not None


_gone = select(gone_items).where(gone_items.c.id == bindparam("item_id"))
_forget = delete(gone_items).where(gone_items.c.gone_at < bindparam("before"))


def page_of_list(items: Sequence[T], page: Page, id_of: Callable[[T], str]) -> list[T]:
    """Return the page of a list that is held in memory; a cursor that names none of its items does not count."""
    ordered = list(items if page.order == "asc" else reversed(items))
    places = {id_of(item): place for place, item in enumerate(ordered)}
    after, before = places.get(page.after or ""), places.get(page.before or "")
    start = 0 if after is None else after + 1
    end = len(ordered) if before is None else before
    if page.before is not None and page.after is None:
        start = max(0, end - page.limit)
    return ordered[start : min(end, start + page.limit)]
