"""The pace of long work behind requests: piece after piece, with rests in which others come first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

BESIDE_OTHERS = 2.0
"""How long a rest is while others have work in this process, as a multiple of the piece before it."""

ALONE = 0.25
"""The same while nobody else has any."""

SHORTEST = 0.002
"""Seconds of a rest at least: what is seen of others, is seen in rests."""

BUSY = 0.1
"""The part of a rest in which others must have used a processor to count as at work."""

REMEMBERED = 1.0
"""Seconds for which others count as at work: who waits for a model is not done."""


class Pace:
    """Lets one piece of work be done at a time, whichever job it is of, and rests behind each.

    async with pace.piece():
        ...  # some milliseconds of work
    """

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._others_until = 0.0

    @asynccontextmanager
    async def piece(self) -> AsyncIterator[None]:
        """Do a piece of work when it is its turn, and rest behind it before the next one, of any job, begins."""
        async with self._one_at_a_time:
            begun = time.monotonic()
            yield
            await self._rest(time.monotonic() - begun)

    async def _rest(self, seconds: float) -> None:
        beside = time.monotonic() < self._others_until
        begun, used = time.monotonic(), time.process_time()
        await asyncio.sleep(max(seconds * (BESIDE_OTHERS if beside else ALONE), SHORTEST))
        rested = time.monotonic() - begun
        if time.process_time() - used > BUSY * rested:
            self._others_until = begun + rested + REMEMBERED
