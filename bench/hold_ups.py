"""What one request does to the others: health, asked from another process, while each kind of long request is made.

Just before, health is asked without any: on a machine that has other work to do, that is what to compare with.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from bench import bars
from bench.bars import Figure
from bench.http import Client, Response
from bench.measuring import Timing
from bench.processes import Running
from bench.work import MODEL, Size

AGENTS_AT_ONCE = 8
LINE = "what somebody wrote in one line of a block\n"


@dataclass(slots=True)
class Prepared:
    """What the long requests are about."""

    block: str = ""
    agent: str = ""
    forked: str = ""
    agents: list[str] = field(default_factory=list)


Request = Callable[[Client, Prepared], Awaitable[Response]]


class HoldUps:
    """Measures one server."""

    def __init__(self, client: Client, asking: Client, server: Running, store: str, size: Size) -> None:
        """Send the long requests through `client`; `asking` is the process that asks for health."""
        self._client = client
        self._asking = asking
        self._server = server
        self._store = store
        self._size = size

    async def figures(self) -> AsyncIterator[Figure]:
        """Measure health alone, then under each kind of request."""
        prepared = await self._prepare()
        await self._begin()
        await asyncio.sleep(self._size.quiet_seconds)
        yield await self._end(bars.HEALTH_ALONE, "")
        for name, request in self._requests().items():
            yield await self._under(name, request, prepared)

    async def _under(self, name: str, request: Request, prepared: Prepared) -> Figure:
        """Make a request again and again for a while, and say how long health took."""
        await self._client.aclose()  # the server has closed what was idle for long
        answered: Counter[int] = Counter()
        slowest, begun = 0.0, time.perf_counter()
        await self._begin()
        while time.perf_counter() - begun < self._size.hold_seconds:
            started = time.perf_counter()
            answered[(await request(self._client, prepared)).status] += 1
            slowest = max(slowest, time.perf_counter() - started)
            if name in bars.ONLY_ONCE:
                break
        statuses = ", ".join(f"{count} × {status}" for status, count in answered.items())
        return await self._end(name, f"{statuses}; {slowest:.2f} s at most", failures=answered[500] + answered[503])

    async def _begin(self) -> None:
        await self._asking.need("POST", "/begin", {"url": self._server.url})

    async def _end(self, name: str, note: str, failures: int = 0) -> Figure:
        told = await self._asking.need("POST", "/end")
        timing = Timing(tuple(sorted(told["latencies"])) or (0.0,), 1.0)
        return Figure(
            name, self._store, value=timing.p99, unit="ms", note=note, failures=failures + int(told["errors"])
        )

    # -- what is done --------------------------------------------------------------------------------------------

    def _requests(self) -> dict[str, Request]:
        value, large = LINE * self._size.hold_lines, "x" * 9_000_000
        small_values = json.loads("[" + "[]," * 90_000 + "1]")

        def edit(old: str) -> str:
            return f'CALL memory_replace {{"label": "large", "old_string": "{old}", "new_string": "y"}}'

        async def say(client: Client, prepared: Prepared, text: str) -> Response:
            body = {"messages": [{"role": "user", "content": text}]}
            return await client.post(f"/v1/agents/{prepared.forked}/messages", body)

        return {
            bars.UNDER_BLAME: lambda client, made: client.get(f"/v1/blocks/{made.block}/blame"),
            bars.UNDER_PAGE: lambda client, made: client.get(f"/blocks/{made.block}"),
            bars.UNDER_REPLACE: lambda client, made: say(client, made, edit("what somebody")),
            bars.UNDER_NO_MATCH: lambda client, made: say(client, made, edit("what nobody has written in a line")),
            bars.UNDER_SEARCH: lambda client, _: client.post("/v1/messages/search", {"query": "message", "limit": 50}),
            bars.UNDER_FILTER: lambda client, _: client.get("/v1/blocks?value_search=nowhere"),
            bars.UNDER_AGENTS: lambda client, _: client.get("/v1/agents?limit=1000&include=agent.blocks"),
            bars.UNDER_MOOT: lambda client, _: client.get("/"),
            bars.UNDER_METADATA: lambda client, _: client.post(
                "/v1/blocks", {"label": "a", "value": "", "metadata": {"large": large}}
            ),
            bars.UNDER_VALUES: lambda client, _: client.post(
                "/v1/blocks", {"label": "a", "value": "", "metadata": {"many": small_values}}
            ),
            bars.UNDER_TEXT: lambda client, made: client.patch(f"/v1/blocks/{made.block}", {"value": value}),
            bars.UNDER_BLOCKS: lambda client, _: client.post(
                "/v1/agents", {"model": MODEL, "memory_blocks": [{"label": f"b{n}", "value": "x"} for n in range(100)]}
            ),
            bars.UNDER_FORK: lambda client, made: client.request("POST", f"/v1/conversations/{made.agent}/fork"),
            bars.UNDER_RESET: lambda client, made: client.patch(
                f"/v1/agents/{made.agent}/reset-messages", {"delete_messages": True}
            ),
            bars.UNDER_DELETE: lambda client, made: client.request("DELETE", f"/v1/agents/{made.forked}"),
        }

    # -- what is prepared ----------------------------------------------------------------------------------------

    async def _prepare(self) -> Prepared:
        size, client = self._size, self._client
        fields = {"label": "large", "value": LINE * size.hold_lines, "limit": 20_000_000}
        block = (await client.need("POST", "/v1/blocks", fields))["id"]
        agents = [await self._agent(block), await self._agent()]
        for number in range(size.hold_versions):
            changed = f"{LINE * (size.hold_lines // 2)}version {number}\n{LINE * (size.hold_lines // 2)}"
            await client.need("PATCH", f"/v1/blocks/{block}", {"value": changed})
        for agent in agents:
            await self._talk(agent)
        more = [await self._agent(block) for _ in range(size.hold_agents)]
        return Prepared(block, agents[1], agents[0], more)

    async def _agent(self, *blocks: str) -> str:
        return str((await self._client.need("POST", "/v1/agents", {"model": MODEL, "block_ids": blocks}))["id"])

    async def _talk(self, agent: str) -> None:
        roles = ("user", "assistant")
        for start in range(0, self._size.hold_messages, 200):
            said = [{"role": roles[n % 2], "content": f"message {n} of many"} for n in range(start, start + 200)]
            await self._client.need("POST", f"/v1/agents/{agent}/messages", {"messages": said})
