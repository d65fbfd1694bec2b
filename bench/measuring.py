"""Doing a piece of work many times, some at once, and what came of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.http import Response

LONGEST_SHOWN = 200
"""Bytes of an error's body that are kept."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the pieces took."""

    latencies: tuple[float, ...]
    """Milliseconds, ascending."""
    seconds: float
    """From the first piece's start to the last one's end."""
    errors: Counter[str] = field(default_factory=Counter)
    """What was answered instead of success, how often."""

    @property
    def p50(self) -> float:
        """The median, in milliseconds."""
        return self.latencies[len(self.latencies) // 2]

    @property
    def p99(self) -> float:
        """The 99th percentile, in milliseconds; of few pieces, the slowest."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * 0.99))]

    @property
    def rate(self) -> float:
        """Pieces a second."""
        return len(self.latencies) / self.seconds


async def timed(count: int, at_once: int, work: Callable[[int], Awaitable[Response]]) -> Timing:
    """Do `work(0)` to `work(count - 1)`, `at_once` at a time."""
    numbers = iter(range(count))
    latencies: list[float] = []
    errors: Counter[str] = Counter()

    async def worker() -> None:
        for number in numbers:
            begun = time.perf_counter()
            try:
                response = await work(number)
            except (OSError, EOFError, TimeoutError) as error:
                errors[type(error).__name__] += 1
            else:
                if response.status >= 400:
                    errors[f"{response.status} {response.body[:LONGEST_SHOWN].decode(errors='replace')}"] += 1
            latencies.append((time.perf_counter() - begun) * 1e3)

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return Timing(tuple(sorted(latencies)), time.perf_counter() - begun, errors)
