"""Days and times as models write them."""

from __future__ import annotations

from datetime import date, datetime

from folkmoot.errors import ToolFailed
from folkmoot.store import clock

DAY = 86_400_000_000
"""Microseconds."""


def moment(name: str, text: str | None, *, ends: bool) -> int | None:
    """Return a day or time as a stored time; as an end, a day counts whole.

    Args:
        name: the argument's name, for the error.
        text: such as 2026-11-22 or 2026-11-22T14:30, UTC unless it says otherwise.
        ends: whether it is the end of a span.

    Raises:
        ToolFailed: it is neither.
    """
    if not text:
        return None
    try:
        if len(text) == len("2026-11-22"):
            day = clock.from_datetime(datetime.combine(date.fromisoformat(text), datetime.min.time()))
            return day + DAY if ends else day
        return clock.from_datetime(datetime.fromisoformat(text))
    except ValueError as error:
        raise ToolFailed(f"{name}: {text!r} is not a date; write it as 2026-11-22 or 2026-11-22T14:30.") from error
