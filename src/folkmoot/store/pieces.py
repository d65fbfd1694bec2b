"""Deleting many rows in pieces, each in a transaction of its own, so that nobody waits until all of them are gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, bindparam, delete, literal, select, tuple_

from folkmoot.store.engine import Transaction

ROWS = 250
"""Rows that are deleted at once: some 30 ms on SQLite, whose full-text index changes with each message."""

CHARACTERS = 200_000
"""Characters of text that are deleted at once, beside that of one row."""


class Pieces:
    """Rows of a table that are deleted some at a time."""

    def __init__(
        self, table: Table, which: ColumnElement[bool], order: Sequence[str], size: ColumnElement[int] | None = None
    ) -> None:
        """Delete the rows that `which` picks.

        Args:
            table: where they are.
            which: a condition; its bindparams are given to `delete`.
            order: columns in whose order they go; together with `which` they are unique.
            size: how many characters of text go with a row.
        """
        columns: list[ColumnElement[Any]] = [table.c[name] for name in order]
        place = [bindparam(f"last_{name}", type_=table.c[name].type) for name in order]
        upto = tuple_(*columns) <= tuple_(*place) if len(columns) > 1 else columns[0] <= place[0]
        self._order = order
        self._next = (
            select(*columns, (literal(0) if size is None else size).label("size"))
            .where(which)
            .order_by(*columns)
            .limit(bindparam("most"))
        )
        self._delete = delete(table).where(which, upto)

    async def delete(self, transaction: Transaction, most: int = ROWS, **parameters: Any) -> int:
        """Delete the first rows and return how many more could have been; 0 when there may be further ones.

        Args:
            transaction: where to write.
            most: how many rows at most.
            parameters: the values of the condition's bindparams.
        """
        rows = await transaction.all(self._next, most=most, **parameters)
        if not rows:
            return most
        count, characters = 0, 0
        for row in rows:
            if count and characters + row["size"] > CHARACTERS:
                break
            count, characters = count + 1, characters + row["size"]
        last = {f"last_{name}": rows[count - 1][name] for name in self._order}
        await transaction.run(self._delete, **last, **parameters)
        return most - count if count == len(rows) else 0
