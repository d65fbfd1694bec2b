"""Lists as files: what a list's page shows, whole, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from fastapi import Query, Response

from folkmoot.errors import InvalidInput
from folkmoot.store.paging import Page
from folkmoot.web.responses import SECURITY

Row: TypeAlias = Mapping[str, str | int | float | None]

Format: TypeAlias = Annotated[Literal["csv", "json"] | None, Query(alias="format")]
"""As which file a list is wanted; a page by default."""

MOST_ROWS = 10_000
ROWS_AT_ONCE = 500

LONGEST_CELL = 32_767
"""Characters of a cell of CSV: more than these a spreadsheet does not keep, and readers refuse far longer ones."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a cell begins with that a spreadsheet computes."""


async def all_rows(rows_of: Callable[[Page], Awaitable[Sequence[Row]]]) -> list[Row]:
    """Return the rows of a whole list, the newest first.

    Args:
        rows_of: reads those of one of its pages; each row has an `id`.

    Raises:
        InvalidInput: there are more than a file may have.
    """
    rows: list[Row] = []
    after: str | None = None
    while True:
        found = await rows_of(Page(limit=ROWS_AT_ONCE, after=after, order="desc"))
        rows += found
        check_length(len(rows))
        if len(found) < ROWS_AT_ONCE:
            return rows
        after = str(found[-1]["id"])


def check_length(rows: int) -> None:
    """Let a list pass that may be a file.

    Raises:
        InvalidInput: it has more rows than a file may have.
    """
    if rows > MOST_ROWS:
        raise InvalidInput(
            f"The list has more than {MOST_ROWS:,} rows; filter it, or read it page by page from the API."
        )


def as_file(name: str, kind: Literal["csv", "json"], columns: Sequence[str], rows: Sequence[Row]) -> Response:
    """Return rows as a file to download.

    Args:
        name: what the file is called, without its ending.
        kind: what it is.
        columns: its columns, in their order, also when there are no rows.
        rows: with a value for each column.
    """
    if kind == "json":
        body, media_type = json.dumps(rows, ensure_ascii=False, indent=1), "application/json"
    else:
        body, media_type = _as_csv(columns, rows), "text/csv; charset=utf-8"
    named = {"Content-Disposition": f'attachment; filename="{name}.{kind}"', "Cache-Control": "no-store"}
    return Response(body, headers={**SECURITY, **named}, media_type=media_type)


def _as_csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in rows)
    return text.getvalue()


def _cell(value: str | int | float | None) -> str | int | float | None:
    """Return a value as a cell, cut where it is too long, which JSON is not.

    A text that would be a formula is made a text, as spreadsheets write it.
    """
    if not isinstance(value, str):
        return value
    text = f"'{value}" if value.startswith(_FORMULA) else value
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"
