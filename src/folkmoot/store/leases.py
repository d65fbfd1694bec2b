"""Leases: how long a row belongs to a process that says nothing, and the tasks that keep saying it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from folkmoot.errors import StoreError

logger = logging.getLogger(__name__)

LEASE = 15_000_000
"""Microseconds after which work whose process said nothing counts as abandoned."""

EXTEND_SECONDS = LEASE / 3e6
"""How often a process says that it is still at work."""

PAUSE_SECONDS = 1.0
"""How long to wait after something went wrong."""


async def again_and_again(what_failed: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do some work for ever; what goes wrong is logged, and tried again after a pause.

    Args:
        what_failed: the line of the log.
        work: one round; it waits by itself when there is nothing to do.
    """
    while True:
        try:
            await work()
        except StoreError as error:
            logger.warning("%s: %s", what_failed, error.message)
            await asyncio.sleep(PAUSE_SECONDS)
        except Exception:
            logger.exception(what_failed)
            await asyncio.sleep(PAUSE_SECONDS)
