"""The store's time: microseconds since the epoch, UTC.

It is this process's, or that of a database that several processes share: their machines' clocks may differ or be set.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""The stored times that can be shown: those of the years from 1 to 9999."""


TOLERANCE = 100_000
"""Microseconds by which a database's clock may seem off before it is followed, so that times seldom go back."""

_ahead: int | None = None
"""By how much the database's clock is ahead of this process's monotonic one; None while it goes by its own."""


def now() -> int:
    """Return the time now, in microseconds since the epoch."""
    return time.time_ns() // 1000 if _ahead is None else monotonic() + _ahead


def monotonic() -> int:
    """Return this process's monotonic clock, in microseconds."""
    return time.monotonic_ns() // 1000


def follow(told: int, since: int) -> None:
    """Go by a database's clock from now on.

    Args:
        told: what it shows.
        since: what `monotonic` showed when it was asked; it has told the time between then and now.
    """
    global _ahead
    took = monotonic() - since
    ahead = told - since - took // 2
    if _ahead is None or abs(ahead - _ahead) > TOLERANCE + took:
        _ahead = ahead


def follow_nobody() -> None:
    """Go by this process's own clock again."""
    global _ahead
    _ahead = None


def to_datetime(microseconds: int) -> datetime:
    """Return the stored time as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def from_datetime(value: datetime) -> int:
    """Return a datetime as a stored time; one without a zone counts as UTC.

    In some zones a time has a year in UTC that a datetime cannot have; the first or last one that it can counts then.
    """
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return min(max((aware - _EPOCH) // _MICROSECOND, FIRST), LAST)
