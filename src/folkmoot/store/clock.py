"""The store's time: microseconds since the epoch, UTC."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
"""The stored times that can be shown: those of the years from 1 to 9999."""


def now() -> int:
    """Return the time now, in microseconds since the epoch."""
    return time.time_ns() // 1000


def to_datetime(microseconds: int) -> datetime:
    """Return the stored time as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def from_datetime(value: datetime) -> int:
    """Return a datetime as a stored time; one without a zone counts as UTC.

    In some zones a time has a year in UTC that a datetime cannot have; the first or last one that it can counts then.
    """
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return min(max((aware - _EPOCH) // _MICROSECOND, FIRST), LAST)
