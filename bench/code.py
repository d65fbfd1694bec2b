"""How long it takes to run code in the sandbox, beside the bare function."""

from __future__ import annotations

import asyncio
import time

from bench import bars
from bench.bars import Figure
from bench.measuring import Timing
from folkmoot.sandbox.calls import Call
from folkmoot.sandbox.sandbox import Sandbox

SOURCE = "def add(one, other):\n    return one + other\n"
ADD = Call(SOURCE, "add", {"one": 1, "other": 2})
AT_ONCE = 32
PAUSE = 0.1
"""Seconds between two warm calls, in which the walls of the next one rise, as they do between a model's calls."""


def measure(runner: asyncio.Runner, count: int) -> list[Figure]:
    """Return the figures of `count` calls, cold and warm; none where code is not run."""
    return runner.run(_measure(count))


async def _measure(count: int) -> list[Figure]:
    sandbox = Sandbox("strict")
    if (await sandbox.walls()).missing is not None:
        return []
    cold = [await _cold() for _ in range(count)]
    await sandbox.run(ADD)
    warm = []
    for _ in range(count):
        await asyncio.sleep(PAUSE)
        warm.append(await _once(sandbox))
    begun = time.perf_counter()
    together = await asyncio.gather(*(_once(sandbox) for _ in range(AT_ONCE)))
    seconds = time.perf_counter() - begun
    await sandbox.close()
    return [
        Figure(bars.CODE_BARE, timing=_timing(_bare(count))),
        Figure(bars.CODE_COLD, timing=_timing(cold)),
        Figure(bars.CODE_WARM, timing=_timing(warm)),
        Figure(bars.CODE_32, timing=_timing(together, seconds)),
    ]


async def _cold() -> float:
    """Return the milliseconds of a sandbox's first call, beyond the trial that a server makes at its start."""
    sandbox = Sandbox("strict")
    await sandbox.walls()
    try:
        return await _once(sandbox)
    finally:
        await sandbox.close()


async def _once(sandbox: Sandbox) -> float:
    begun = time.perf_counter()
    result = await sandbox.run(ADD)
    assert result.value == 3, result
    return (time.perf_counter() - begun) * 1e3


def _bare(count: int) -> list[float]:
    module: dict[str, object] = {}
    latencies = []
    for _ in range(count):
        begun = time.perf_counter()
        exec(SOURCE, module)
        latencies.append((time.perf_counter() - begun) * 1e3)
    return latencies


def _timing(latencies: list[float], seconds: float | None = None) -> Timing:
    return Timing(tuple(sorted(latencies)), seconds if seconds is not None else sum(latencies) / 1e3)
