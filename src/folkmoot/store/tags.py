"""Tags: things are found by them, and some keep the order in which theirs were given, as a place beside each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Label, Select, func, select

from folkmoot.store.tables import json_object


def tagged(held: Column[str], tags: Sequence[str], *, every: bool) -> Select[Any]:
    """Return a select of what has any of some tags, or every one; `held` names the things in their tags' table."""
    unique = list(dict.fromkeys(tags))
    found = select(held).where(held.table.c.tag.in_(unique))
    return found.group_by(held).having(func.count() == len(unique)) if every else found


def tags_of(held: Column[str], thing: ColumnElement[str]) -> Label[str]:
    """Return the column `tags` of a thing's row, which `tags_in_order` reads; `held` as for `tagged`."""
    columns = held.table.c
    return select(json_object(columns.tag, columns.place)).where(held == thing).scalar_subquery().label("tags")


def tags_in_order(places: str | None) -> list[str]:
    """Return a thing's tags in the order in which they were given."""
    if not places or places == "{}":
        return []
    found: dict[str, int] = json.loads(places)
    return sorted(found, key=found.__getitem__)
