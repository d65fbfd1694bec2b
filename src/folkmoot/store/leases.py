"""Leases: how long a row belongs to a process that says nothing, and the tasks that keep saying it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from folkmoot.errors import StoreError

logger = logging.getLogger(__name__)

LEASE = 15_000_000
"""Microseconds after which work whose process said nothing counts as abandoned."""

EXTEND_SECONDS = LEASE / 3e6
"""How often a process says that it is still at work."""

PAUSE_SECONDS = 1.0
"""How long to wait after something went wrong."""


TELL_AGAIN_SECONDS = 60.0
"""How long the same trouble is not told again."""


class Trouble:
    """What keeps going wrong: it is logged when it begins, and once a minute while it lasts."""

    def __init__(self, to: logging.Logger, what_failed: str) -> None:
        """Log to `to`, each time with `what_failed`."""
        self._logger, self._what_failed = to, what_failed
        self._told, self._quiet_until = "", 0.0

    def tell(self, why: object) -> None:
        """Log why it failed, unless that was told just now."""
        now = time.monotonic()
        if str(why) != self._told or now >= self._quiet_until:
            self._logger.warning("%s: %s", self._what_failed, why)
            self._told, self._quiet_until = str(why), now + TELL_AGAIN_SECONDS

    def is_over(self) -> None:
        """Tell the next failure at once."""
        self._told = ""


async def again_and_again(what_failed: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do some work for ever; what goes wrong is logged, and tried again after a pause.

    Args:
        what_failed: the line of the log.
        work: one round; it waits by itself when there is nothing to do.
    """
    trouble = Trouble(logger, what_failed)
    while True:
        try:
            await work()
            trouble.is_over()
        except StoreError as error:
            trouble.tell(error.message)
            await asyncio.sleep(PAUSE_SECONDS)
        except Exception:
            logger.exception(what_failed)
            await asyncio.sleep(PAUSE_SECONDS)
