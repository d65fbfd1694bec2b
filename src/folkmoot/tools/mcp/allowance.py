"""How much a server of tools may say in a while, so that one that talks without end costs nobody else anything."""

from __future__ import annotations

import asyncio

LARGEST_MESSAGE = 2_000_000
"""Bytes of one message of a server; reading it takes some ten milliseconds."""

BURST = 8_000_000
"""Bytes that a server may send at once, after a silence."""

RATE = 4_000_000
"""Bytes a second that it may send on and on."""

LINE = 4_000
"""Bytes that a line counts as, beside its own, for each message takes time however short it is."""


MOST_REQUESTS = 100
"""What a server may ask of its client at once; nothing that it asks is done."""

REQUESTS_A_SECOND = 1
"""What it may ask on and on: whether the client is still there, say."""


class Allowance:
    """What somebody may still spend: some at once, and then as it comes in again."""

    def __init__(self, burst: float = BURST, rate: float = RATE) -> None:
        """Start with all of it.

        Args:
            burst: what may be spent at once.
            rate: what comes in again in a second.
        """
        self._burst, self._rate = float(burst), rate
        self._left = self._burst
        self._at = asyncio.get_running_loop().time()

    async def spend(self, amount: int) -> None:
        """Take from it, and wait while there is a debt, so that whoever is read from has to wait too."""
        self._take(amount)
        if self._left < 0:
            await asyncio.sleep(-self._left / self._rate)

    def has_one(self) -> bool:
        """Take one from it; tell whether there was one."""
        self._take(1)
        return self._left >= 0

    def _take(self, amount: int) -> None:
        now = asyncio.get_running_loop().time()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - amount
        self._at = now
