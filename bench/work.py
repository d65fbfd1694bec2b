"""The work that is measured on one running server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench import bars
from bench.bars import Figure
from bench.http import Client, Response
from bench.measuring import Timing, timed

MODEL = "openai/gpt-4o-mini"
BLOCKS = [{"label": "human", "value": "h"}, {"label": "persona", "value": "p"}]
SHARERS = 32
FEW_MESSAGES = 100
PAGE = 50
AT_ONCE = 200
"""Messages that are stored by one request."""


@dataclass(frozen=True, slots=True)
class Size:
    """How often each piece of work is done, how many streams are open, and how far the growth figures go."""

    reads: int
    reads_at_once: int
    updates: int
    agents: int
    turns: int
    tool_turns: int
    turns_at_once: int
    inserts: int
    streams: int
    fan_outs: int
    words: int
    word_seconds: float
    stored: int
    long_turns: int
    pages: int
    edits: int
    readers: int
    quiet_seconds: float
    hold_seconds: float
    hold_lines: int
    hold_versions: int
    hold_messages: int
    hold_agents: int
    passages: int
    searches: int
    uploads: int
    upload_bytes: int
    backups: int
    backup_turns: int
    code_calls: int
    tool_calls: int
    cost_rounds: int
    cost_agents: int
    cost_turns: int


SIZES = {
    "full": Size(
        reads=400,
        reads_at_once=6000,
        updates=3000,
        agents=100,
        turns=200,
        tool_turns=100,
        turns_at_once=640,
        inserts=5,
        streams=1000,
        fan_outs=20,
        words=15,
        word_seconds=2,
        stored=100_000,
        long_turns=10,
        pages=200,
        edits=200,
        readers=10_000,
        quiet_seconds=2,
        hold_seconds=5,
        hold_lines=150_000,
        hold_versions=200,
        hold_messages=50_000,
        hold_agents=300,
        passages=100_000,
        searches=50,
        uploads=200,
        upload_bytes=150_000,
        backups=3,
        backup_turns=10_000,
        code_calls=20,
        tool_calls=200,
        cost_rounds=5,
        cost_agents=5,
        cost_turns=10,
    ),
    "quick": Size(
        reads=100,
        reads_at_once=1500,
        updates=600,
        agents=25,
        turns=40,
        tool_turns=20,
        turns_at_once=160,
        inserts=2,
        streams=1000,
        fan_outs=6,
        words=8,
        word_seconds=2,
        stored=2_000,
        long_turns=10,
        pages=50,
        edits=50,
        readers=300,
        quiet_seconds=2,
        hold_seconds=2,
        hold_lines=25_000,
        hold_versions=20,
        hold_messages=3_000,
        hold_agents=30,
        passages=5_000,
        searches=20,
        uploads=40,
        upload_bytes=250_000,
        backups=2,
        backup_turns=10_000,
        code_calls=20,
        tool_calls=200,
        cost_rounds=3,
        cost_agents=3,
        cost_turns=10,
    ),
    "smallest": Size(
        reads=5,
        reads_at_once=64,
        updates=64,
        agents=3,
        turns=3,
        tool_turns=2,
        turns_at_once=16,
        inserts=1,
        streams=20,
        fan_outs=2,
        words=3,
        word_seconds=0.1,
        stored=150,
        long_turns=2,
        pages=3,
        edits=3,
        readers=8,
        quiet_seconds=0.1,
        hold_seconds=0.01,
        hold_lines=200,
        hold_versions=3,
        hold_messages=200,
        hold_agents=3,
        passages=200,
        searches=3,
        uploads=3,
        upload_bytes=2_000,
        backups=1,
        backup_turns=6,
        code_calls=2,
        tool_calls=5,
        cost_rounds=1,
        cost_agents=2,
        cost_turns=2,
    ),
}


class Bench:
    """Measures one server."""

    def __init__(self, client: Client, model: Client, store: str, size: Size) -> None:
        """Measure the server behind `client`, whose scripted model is behind `model`."""
        self._client = client
        self._model = model
        self._store = store
        self._size = size

    async def work(self) -> AsyncIterator[Figure]:
        """Measure the work of the bars, one figure after the other."""
        client, size = self._client, self._size
        warm = await self._agent(memory_blocks=BLOCKS)
        for _ in range(3):
            await self._say(warm, "hi")
        block = await self._block("x" * 200)

        def read(_: int) -> Awaitable[Response]:
            return client.get(f"/v1/blocks/{block}")

        yield self._figure(bars.READ_1, await timed(size.reads, 1, read))
        yield self._figure(bars.READ_32, await timed(size.reads_at_once, 32, read))
        yield self._figure(bars.UPDATE_32, await timed(size.updates, 32, lambda number: self._update(block, number)))
        yield self._figure(bars.CREATE_AGENT, await timed(size.agents, 1, self._create_agent))
        agent = await self._agent(memory_blocks=BLOCKS)
        yield self._figure(bars.TURN_TEXT, await timed(size.turns, 1, lambda _: self._turn(agent, "hi")))
        agent = await self._agent(memory_blocks=BLOCKS)
        insert = 'CALL memory_insert {"label": "human", "new_string": "x"}'
        yield self._figure(bars.TURN_TOOL, await timed(size.tool_turns, 1, lambda _: self._turn(agent, insert)))
        agents = [await self._agent(memory_blocks=BLOCKS) for _ in range(16)]
        turns = await timed(size.turns_at_once, 16, lambda number: self._turn(agents[number % 16], "hi"))
        yield self._figure(bars.TURNS_16, turns)
        for figure in await self._inserts():
            yield figure

    async def growth(self) -> AsyncIterator[Figure]:
        """Measure what must not depend on how much there is."""
        size = self._size
        short, long = await self._talk(FEW_MESSAGES), await self._talk(size.stored)
        pair = [await timed(size.long_turns, 1, self._turns_of(agent)) for agent in (short, long)]
        for figure in self._compared(bars.LONG_TALK, pair, (f"{FEW_MESSAGES} messages", f"{size.stored:,} messages")):
            yield figure
        first, last = f"/v1/agents/{long}/messages?limit={PAGE}", await self._deep_page(long)
        pair = [await timed(size.pages, 1, self._gets_of(path)) for path in (first, last)]
        for figure in self._compared(bars.DEEP_PAGE, pair, ("first page", f"page at the end of {size.stored:,}")):
            yield figure
        blocks = [await self._shared_block(readers) for readers in (2, size.readers)]
        pair = [await timed(size.edits, 1, self._edits_of(block)) for block in blocks]
        for figure in self._compared(bars.MANY_READERS, pair, ("2 agents", f"{size.readers:,} agents")):
            yield figure

    async def _inserts(self) -> list[Figure]:
        """Let agents insert into one block at once; count what stands there and what the model was asked."""
        block = await self._block("start", limit=1_000_000)
        agents = [await self._agent(block_ids=[block]) for _ in range(SHARERS)]
        count = SHARERS * self._size.inserts
        before = await self._model.need("GET", "/stats")

        def insert(number: int) -> Awaitable[Response]:
            call = f'CALL memory_insert {{"label": "shared", "new_string": "mark-{number}-end"}}'
            return self._turn(agents[number % SHARERS], call)

        timing = await timed(count, SHARERS, insert)
        asked = (await self._model.need("GET", "/stats"))["answered"] - before["answered"]
        value = (await self._client.need("GET", f"/v1/blocks/{block}"))["value"]
        landed = sum(f"mark-{number}-end" in value for number in range(count))
        return [
            self._figure(bars.INSERTS_32, timing),
            Figure(bars.LANDED, self._store, value=100 * landed / count, unit="%", note=f"{landed} of {count}"),
            Figure(bars.CALLS, self._store, value=asked / count, unit=" calls"),
        ]

    def _compared(self, name: str, timings: Sequence[Timing], cases: tuple[str, str]) -> list[Figure]:
        """Return a row for each of two cases, and how much slower the second is."""
        small, large = timings
        return [
            *(Figure(f"  {case}", self._store, timing) for case, timing in zip(cases, timings, strict=True)),
            Figure(
                name,
                self._store,
                value=large.p50 / small.p50,
                unit="×",
                failures=small.errors.total() + large.errors.total(),
            ),
        ]

    def _figure(self, name: str, timing: Timing) -> Figure:
        return Figure(name, self._store, timing)

    # -- what is done --------------------------------------------------------------------------------------------

    def _update(self, block: str, number: int) -> Awaitable[Response]:
        return self._client.patch(f"/v1/blocks/{block}", {"value": f"v{number} " + "x" * 200})

    def _create_agent(self, number: int) -> Awaitable[Response]:
        return self._client.post("/v1/agents", {"name": f"new-{number}", "model": MODEL, "memory_blocks": BLOCKS})

    def _turn(self, agent: str, text: str) -> Awaitable[Response]:
        return self._client.post(f"/v1/agents/{agent}/messages", {"messages": [{"role": "user", "content": text}]})

    def _turns_of(self, agent: str) -> Callable[[int], Awaitable[Response]]:
        return lambda _: self._turn(agent, "hi")

    def _gets_of(self, path: str) -> Callable[[int], Awaitable[Response]]:
        return lambda _: self._client.get(path)

    def _edits_of(self, block: str) -> Callable[[int], Awaitable[Response]]:
        return lambda number: self._update(block, number)

    # -- what is prepared ----------------------------------------------------------------------------------------

    async def _block(self, value: str, limit: int = 100_000) -> str:
        block = await self._client.need("POST", "/v1/blocks", {"label": "shared", "value": value, "limit": limit})
        return str(block["id"])

    async def _agent(self, **fields: Any) -> str:
        return str((await self._client.need("POST", "/v1/agents", {"model": MODEL, **fields}))["id"])

    async def _say(self, agent: str, text: str) -> None:
        message = {"messages": [{"role": "user", "content": text}]}
        await self._client.need("POST", f"/v1/agents/{agent}/messages", message)

    async def _talk(self, messages: int) -> str:
        """Return an agent that has so many messages behind it, and one turn, so that its model is warm."""
        roles = ("user", "assistant")
        said = [{"role": roles[number % 2], "content": f"message {number}"} for number in range(messages)]
        agent = await self._agent(memory_blocks=BLOCKS, initial_message_sequence=said[:AT_ONCE])
        for start in range(AT_ONCE, messages, AT_ONCE):
            sent = {"messages": said[start : start + AT_ONCE]}
            await self._client.need("POST", f"/v1/agents/{agent}/messages", sent)
        await self._turn(agent, "hi")
        return agent

    async def _deep_page(self, agent: str) -> str:
        """Return the address of the last page of the agent's messages, the newest being on the first."""
        path = f"/v1/agents/{agent}/messages"
        oldest = await self._client.need("GET", f"{path}?limit={PAGE + 1}&order=asc")
        return f"{path}?limit={PAGE}&after={oldest[-1]['id']}"

    async def _shared_block(self, readers: int) -> str:
        block = await self._block("x" * 200)
        made = await timed(
            readers, 8, lambda _: self._client.post("/v1/agents", {"model": MODEL, "block_ids": [block]})
        )
        if made.errors:
            raise RuntimeError(f"the agents of a shared block could not be made: {dict(made.errors)}")
        return block
