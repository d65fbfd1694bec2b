"""How long it takes to run code in the sandbox, beside the bare function."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import replace
from pathlib import Path

import asyncpg

from bench import bars
from bench.bars import Figure
from bench.measuring import Timing
from folkmoot.sandbox.calls import Call, Environment, Network
from folkmoot.sandbox.sandbox import Sandbox

SOURCE = "def add(one, other):\n    return one + other\n"
ADD = Call(SOURCE, "add", {"one": 1, "other": 2})
WITH_PACKAGES = replace(ADD, environment=Environment(packages=Path(asyncpg.__file__).parent.parent))
WITH_HOST = replace(ADD, network=Network(("example.org",)))
JAVASCRIPT = replace(ADD, source="function add(one, other) { return one + other }", language="javascript")
AT_ONCE = 32
PAUSE = 0.2
"""Seconds between two warm calls, in which the walls of the next one rise, as they do between a model's calls."""


def measure(runner: asyncio.Runner, count: int) -> list[Figure]:
    """Return the figures of `count` calls, cold and warm; none where code is not run."""
    return runner.run(_measure(count))


async def _measure(count: int) -> list[Figure]:
    sandbox = Sandbox("strict")
    if (await sandbox.walls()).missing is not None:
        return []
    warm = await _warm(sandbox, ADD, count)
    begun = time.perf_counter()
    together = await asyncio.gather(*(_once(sandbox, ADD) for _ in range(AT_ONCE)))
    seconds = time.perf_counter() - begun
    figures = [
        Figure(bars.CODE_BARE, timing=_timing(_bare(count))),
        Figure(bars.CODE_COLD, timing=_timing([await _cold(ADD) for _ in range(count)])),
        Figure(bars.CODE_EXPECTED, timing=_timing([await _expected(ADD) for _ in range(count)])),
        Figure(bars.CODE_PACKAGES, timing=_timing([await _cold(WITH_PACKAGES) for _ in range(count)])),
        Figure(bars.CODE_WARM, timing=_timing(warm)),
        Figure(bars.CODE_32, timing=_timing(together, seconds)),
    ]
    if "no network" not in (await sandbox.walls()).enforced:  # there are namespaces
        figures.append(Figure(bars.CODE_HOSTS, timing=_timing(await _warm(sandbox, WITH_HOST, count))))
        if shutil.which("node") is not None:
            figures.append(Figure(bars.CODE_JAVASCRIPT, timing=_timing(await _warm(sandbox, JAVASCRIPT, count))))
    await sandbox.close()
    return figures


async def _cold(call: Call) -> float:
    """Return the milliseconds of a sandbox's first call, beyond the trial that a server makes at its start."""
    sandbox = Sandbox("strict")
    await sandbox.walls()
    try:
        return await _once(sandbox, call)
    finally:
        await sandbox.close()


async def _expected(call: Call) -> float:
    """Return the milliseconds of a first call in a turn, which was expected before the model spoke."""
    sandbox = Sandbox("strict")
    await sandbox.walls()
    sandbox.expect()
    await asyncio.sleep(PAUSE)
    try:
        return await _once(sandbox, call)
    finally:
        await sandbox.close()


async def _warm(sandbox: Sandbox, call: Call, count: int) -> list[float]:
    await _once(sandbox, call)
    latencies = []
    for _ in range(count):
        await asyncio.sleep(PAUSE)
        latencies.append(await _once(sandbox, call))
    return latencies


async def _once(sandbox: Sandbox, call: Call) -> float:
    begun = time.perf_counter()
    result = await sandbox.run(call)
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
