"""Many open streams on one server process: what they take, whether it still answers, when the last reader knows."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import bars
from bench.bars import Figure
from bench.http import Client
from bench.measuring import Timing, timed
from bench.processes import Running
from bench.work import MODEL, Size

WATCHES_A_SECOND = 500
RUNS_A_SECOND = 100
"""How many streams are opened, or turns begun, a second: a turn's beginning and end are work, and more of them at once
than the server can do would measure a queue."""

EDITS = 5
"""Edits at once that fan out to every watcher."""

EDITS_A_SECOND = 20

IDLE_SECONDS = 1.0
BETWEEN_HEALTH = 0.01
"""Seconds from an answer to the next question."""


@dataclass(slots=True)
class Seen:
    """What was seen of the server while its streams were open."""

    health: list[float] = field(default_factory=list)
    """Milliseconds of each answer."""
    errors: Counter[str] = field(default_factory=Counter)
    resident: float = 0.0
    """The most, in MB."""
    seconds: float = 0.0


class Streams:
    """Measures one server, whose streams are read in a process of their own; one kind of them (`KINDS`), or others see
    in its memory what those before have left.
    """

    def __init__(self, client: Client, readers: Client, server: Running, store: str, size: Size) -> None:
        """Measure `server` through `client`, its streams through `readers`."""
        self._client = client
        self._readers = readers
        self._server = server
        self._store = store
        self._size = size

    async def watches(self) -> list[Figure]:
        """Open watches of one block, leave them idle, then let edits fan out to all of them."""
        size, block = self._size, await self._block()
        latencies = []
        async with self._observed() as seen:
            await self._open([("GET", f"/v1/blocks/{block}/watch", "")] * size.streams, WATCHES_A_SECOND)
            await asyncio.sleep(IDLE_SECONDS)
            for number in range(1, size.fan_outs + 1):
                begun = time.perf_counter()
                edits = (self._edit(block, f"{number} {edit}") for edit in range(EDITS))
                told, *_ = await asyncio.gather(self._wait(f"\nid: {1 + number * EDITS}\n"), *edits)
                latencies.append((time.perf_counter() - begun) * 1e3)
        failures = _failures(told, 1 + size.fan_outs * EDITS)
        await self._readers.need("POST", "/close")
        last = Timing(tuple(sorted(latencies)), sum(latencies) / 1e3)
        return self._rows(bars.WATCHES, seen, Figure(bars.WATCHES.last, self._store, last, failures=failures))

    async def runs(self) -> list[Figure]:
        """Let many agents take a turn each, with a model that writes a word now and then."""
        size, agents = self._size, await self._agents()
        words, pause = size.words, size.word_seconds
        await self._client.need(
            "POST", f"/v1/agents/{agents[0]}/messages", {"input": "hi"}
        )  # loads the model's package
        asked = {"messages": [{"role": "user", "content": f"SLOWLY {words} {pause}"}], "stream_tokens": True}
        requests = [("POST", f"/v1/agents/{agent}/messages/stream", json.dumps(asked)) for agent in agents]
        async with self._observed() as seen:
            await self._open(requests, RUNS_A_SECOND)
            begun = time.perf_counter()
            told = await self._wait("data: [DONE]")
            late = time.perf_counter() - begun - words * pause
        failures = _failures(told, max(told["events"]))
        await self._readers.need("POST", "/close")
        note = f"the model writes {words} words in {words * pause:g} s"
        last = Figure(bars.RUNS.last, self._store, value=max(late, 0), unit="s", note=note, failures=failures)
        return self._rows(bars.RUNS, seen, last)

    async def pages(self) -> list[Figure]:
        """Open the stream of many pages, and edit a block as fast as many agents would."""
        size, block = self._size, await self._block()
        latencies: list[float] = []
        failures = 0
        async with self._observed() as seen:
            await self._open([("GET", "/events", "")] * size.streams, WATCHES_A_SECOND)
            for number in range(1, size.fan_outs + 1):
                for edit in range(EDITS_A_SECOND):
                    await asyncio.gather(self._edit(block, f"{number} {edit}"), asyncio.sleep(1 / EDITS_A_SECOND))
                begun = time.perf_counter()
                told = await self._wait(f'"version": {1 + number * EDITS_A_SECOND}')
                latencies.append((time.perf_counter() - begun) * 1e3)
                failures += int(told["lost"])
        await self._readers.need("POST", "/close")
        last = Timing(tuple(sorted(latencies)), sum(latencies) / 1e3)
        return self._rows(bars.PAGES, seen, Figure(bars.PAGES.last, self._store, last, failures=failures))

    def _rows(self, names: bars.StreamNames, seen: Seen, last: Figure) -> list[Figure]:
        timing = Timing(tuple(sorted(seen.health)), seen.seconds, seen.errors)
        note = f"{self._size.streams:,} streams"
        return [
            Figure(names.resident, self._store, value=seen.resident, unit="MB", note=note, failures=last.failures),
            Figure(names.health, self._store, timing),
            Figure(
                names.slowest, self._store, value=timing.latencies[-1], unit="ms", note=note, failures=last.failures
            ),
            last,
        ]

    @asynccontextmanager
    async def _observed(self) -> AsyncIterator[Seen]:
        """Ask for health, and look at the memory, for as long as the block goes on."""
        seen, client, begun = Seen(), Client(self._server.url), time.perf_counter()
        asking = asyncio.create_task(self._ask(client, seen))
        try:
            yield seen
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            seen.seconds = time.perf_counter() - begun
            await client.aclose()

    async def _ask(self, client: Client, seen: Seen) -> None:
        while True:
            answered = await timed(1, 1, lambda _: client.get("/v1/health"))
            seen.health += answered.latencies
            seen.errors += answered.errors
            seen.resident = max(seen.resident, self._server.resident())
            await asyncio.sleep(BETWEEN_HEALTH)

    # -- what is done --------------------------------------------------------------------------------------------

    async def _open(self, requests: Sequence[tuple[str, str, str]], a_second: float) -> None:
        asked = {"url": self._server.url, "requests": requests, "a_second": a_second}
        await self._readers.need("POST", "/open", asked)

    async def _wait(self, text: str) -> dict[str, Any]:
        told: dict[str, Any] = await self._readers.need("POST", "/wait", {"text": text})
        return told

    async def _edit(self, block: str, text: str) -> None:
        await self._client.need("PATCH", f"/v1/blocks/{block}", {"value": text + " x" * 500})

    async def _block(self) -> str:
        return str((await self._client.need("POST", "/v1/blocks", {"label": "shared", "value": "start"}))["id"])

    async def _agents(self) -> list[str]:
        block = await self._block()
        agents: list[str] = []

        async def make() -> None:
            while len(agents) < self._size.streams:
                agents.append("")
                place = len(agents) - 1
                made = await self._client.need("POST", "/v1/agents", {"model": MODEL, "block_ids": [block]})
                agents[place] = made["id"]

        await asyncio.gather(*(make() for _ in range(8)))
        return agents


KINDS: Sequence[Callable[[Streams], Awaitable[list[Figure]]]] = (Streams.watches, Streams.runs, Streams.pages)


def _failures(told: dict[str, Any], events: int) -> int:
    """Return how many streams ended early or told more or fewer events than they should."""
    counts: list[int] = told["events"]
    return sum(count != events for count in counts) + int(told["lost"])
