"""What a piece of work costs the server itself: processor time of its processes, whoever else uses the machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from bench import bars
from bench.bars import Figure
from bench.http import Client, Response
from bench.measuring import timed
from bench.processes import Running
from bench.work import BLOCKS, MODEL, Size

READERS = 32
SHORT, LONG = 20, 400
"""Messages in context, in the middle of a round."""

INSERT = 'CALL memory_insert {"label": "human", "new_string": "x"}'
MESSAGES_OF = {"hi": 2, INSERT: 4}
"""What a turn adds to the context."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Measures one server, and the bare framework in turns with it."""

    client: Client
    server: Running
    framework: Running
    store: str
    size: Size

    async def figures(self) -> AsyncIterator[Figure]:
        """Give the processor time of a read and of turns; of several rounds the least, which others disturbed least."""
        async for figure in self._reads():
            yield figure
        for name, messages, text in (
            (bars.TEXT_COST, SHORT, "hi"),
            (bars.LONG_TEXT_COST, LONG, "hi"),
            (bars.TOOL_COST, SHORT, INSERT),
        ):
            costs = [await self._turns(messages, text) for _ in range(self.size.cost_rounds)]
            yield Figure(name, self.store, value=min(costs), unit="ms", note=f"least of {len(costs)}")

    async def _reads(self) -> AsyncIterator[Figure]:
        made = await self.client.need("POST", "/v1/blocks", {"label": "shared", "value": "x" * 200})
        path = f"/v1/blocks/{made['id']}"
        bare = Client(self.framework.url)
        ours, theirs = [], []
        for _ in range(self.size.cost_rounds):
            ours.append(
                await self._cost(self.server, self.size.reads_at_once, READERS, lambda _: self.client.get(path))
            )
            theirs.append(await self._cost(self.framework, self.size.reads_at_once, READERS, lambda _: bare.get(path)))
        await bare.aclose()
        note = f"{min(ours) * 1e3:,.0f} µs against {min(theirs) * 1e3:,.0f} µs"
        yield Figure(bars.READ_COST, self.store, value=min(theirs) / min(ours), unit="×", note=note)

    async def _turns(self, messages: int, text: str) -> float:
        """Return what a turn of a new agent costs, in ms, with so many messages in context on average."""
        turns, count = self.size.cost_turns, self.size.cost_agents
        before = max(0, messages - turns * MESSAGES_OF[text] // 2)
        said = [{"role": ("user", "assistant")[number % 2], "content": "x" * 100} for number in range(before)]
        fields = {"model": MODEL, "memory_blocks": BLOCKS, "initial_message_sequence": said}
        agents = [(await self.client.need("POST", "/v1/agents", fields))["id"] for _ in range(count)]

        def take_turn(number: int) -> Awaitable[Response]:
            body = {"messages": [{"role": "user", "content": text}]}
            return self.client.post(f"/v1/agents/{agents[number % count]}/messages", body)

        await timed(count, 1, take_turn)  # the first reads what is in context
        return await self._cost(self.server, turns * count, 1, take_turn)

    async def _cost(
        self, running: Running, count: int, at_once: int, work: Callable[[int], Awaitable[Response]]
    ) -> float:
        """Do the work so often; return the milliseconds of processor time that each took.

        Raises:
            RuntimeError: one of them failed.
        """
        before = running.processor_seconds()
        timing = await timed(count, at_once, work)
        if timing.errors:
            raise RuntimeError(f"what is measured failed: {dict(timing.errors)}")
        return 1e3 * (running.processor_seconds() - before) / count
