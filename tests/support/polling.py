"""Waiting for what nobody tells of: a look, a pause in which the server has the machine for itself, another look."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 300.0
"""Seconds after which what must happen is given up; whoever does it may have to share the machine with many."""

PAUSE = 0.02
LONGEST_PAUSE = 0.2
GROWTH = 1.1
"""By how much each pause is longer than the one before: what takes long is looked at less often, and costs less."""

Found = TypeVar("Found")


def until(look: Callable[[], Found], is_so: Callable[[Found], object] = bool) -> Found:
    """Return what `look` finds as soon as that is so.

    Args:
        look: what finds it.
        is_so: tells whether what was found is what is waited for; anything true, unless it is said.

    Raises:
        AssertionError: it never came to be; the message carries what was found at last.
    """
    paused, pause = 0.0, PAUSE
    while not is_so(found := look()):
        if paused > PATIENCE:
            raise AssertionError(f"It never came to be: {found}")
        time.sleep(pause)
        paused, pause = paused + pause, min(pause * GROWTH, LONGEST_PAUSE)
    return found
