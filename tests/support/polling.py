"""Waiting for what nobody tells of: a look, a pause in which the server has the machine for itself, another look."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 300.0
"""Seconds after which what must happen is given up; whoever does it may have to share the machine with many."""

PAUSE = 0.02
LOOKS = round(PATIENCE / PAUSE)

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
