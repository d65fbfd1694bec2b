"""Waiting for what nobody tells of: a look, a pause in which the server has the machine for itself, another look."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PAUSE = 0.02
LOOKS = 15_000
"""Some five minutes; whoever waits may have to share the machine with many."""

Found = TypeVar("Found")


def until(look: Callable[[], Found]) -> Found:
    """Return what `look` finds as soon as that is true.

    Raises:
        AssertionError: it never came to be; the message carries what was found at last.
    """
    for _ in range(LOOKS):
        if found := look():
            return found
        time.sleep(PAUSE)
    raise AssertionError(f"It never came to be: {found}")
