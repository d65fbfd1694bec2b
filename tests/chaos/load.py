"""Load that survives a crash: agents and programs that keep writing and remember what was acknowledged."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from chaos.moot import (
    LOST,
    assert_one_order,
    assert_whole_turns,
    insertion,
    make_agents,
    make_block,
    post,
    read,
    rows,
    tool_returns,
    write,
)
from support.polling import PATIENCE

AWAY = 503
"""The status that a client may get while the store is away."""

PAUSE = 0.1
"""Seconds until a client that was refused so asks again."""

TAKEN = "taken for dead"
"""Said to a turn whose lease the test has ended (`end_leases`) though its process lives; it stores nothing."""


@dataclass
class Load:
    """Agents that insert into one shared block, and a program that appends to another by compare-and-set.

    Every line is written once, so that a line that was acknowledged must be there once, and any other at most once.
    """

    agents: list[dict[str, Any]]
    noted: dict[str, Any]
    counted: dict[str, Any]
    tried: set[str] = field(default_factory=set)
    acknowledged: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    stopped: bool = False
    _number: count[int] = field(default_factory=count)
    _progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    async def prepare(cls, http: httpx.AsyncClient, agents: int) -> Load:
        """Make the blocks and the agents."""
        noted, counted = await make_block(http), await make_block(http)
        return cls(await make_agents(http, agents, noted), noted, counted)

    async def run(self, http: httpx.AsyncClient) -> None:
        """Keep writing until the server is gone or `stopped`."""
        await asyncio.gather(*(self._insert(http, agent) for agent in self.agents), self._append(http))

    async def reaches(self, acknowledged: int) -> None:
        """Return when so many edits have been acknowledged."""
        async with self._progress, asyncio.timeout(PATIENCE):
            await self._progress.wait_for(lambda: len(self.acknowledged) >= acknowledged)

    async def _insert(self, http: httpx.AsyncClient, agent: dict[str, Any]) -> None:
        while not self.stopped:
            line = self._line("noted")
            try:
                answer = await post(http, agent, insertion(self.noted, line))
            except LOST:
                return
            if self._answered(answer):
                (returned,) = tool_returns(answer.json())
                assert returned["status"] == "success", returned
                await self._acknowledge(line)
            else:
                await asyncio.sleep(PAUSE)

    async def _append(self, http: httpx.AsyncClient) -> None:
        while not self.stopped:
            line = self._line("counted")
            try:
                now = await http.get(f"/v1/blocks/{self.counted['id']}")
                if not self._answered(now):
                    await asyncio.sleep(PAUSE)
                    continue
                text, version = now.json()["value"], now.json()["version"]
                answer = await write(http, self.counted, f"{text}\n{line}" if text else line, version)
            except LOST:
                return
            if self._answered(answer):
                assert answer.json()["version"] == version + 1
                await self._acknowledge(line)

    def _line(self, kind: str) -> str:
        line = f"{kind} {next(self._number)}"
        self.tried.add(line)
        return line

    def _answered(self, answer: httpx.Response) -> bool:
        self.statuses.add(answer.status_code)
        maybe = answer.status_code == AWAY or (answer.status_code == 409 and TAKEN in answer.text)
        assert answer.status_code == 200 or maybe, f"{answer.status_code} {answer.text}"
        return answer.status_code == 200

    async def _acknowledge(self, line: str) -> None:
        async with self._progress:
            self.acknowledged.append(line)
            self._progress.notify_all()

    async def check(self, http: httpx.AsyncClient, database: str) -> None:
        """Check that nothing acknowledged is lost, nothing is there twice, and every turn is whole."""
        there: list[str] = []
        for block in (self.noted, self.counted):
            versions = await assert_one_order(http, block)
            lines = (await read(http, block))["value"].splitlines()
            assert len(lines) == len(versions) - 1
            there += lines
        assert len(set(there)) == len(there)
        assert set(self.acknowledged) <= set(there) <= self.tried
        for agent in self.agents:
            messages = await assert_whole_turns(http, agent)
            await _assert_ended(database, messages)
            inserted = [m for m in messages if m["message_type"] == "tool_return_message"]
            assert {m["status"] for m in inserted} <= {"success"}
        steps = {version["author"]["step_id"] for version in await assert_one_order(http, self.noted)} - {None}
        known = {row[0] for row in await rows(database, "SELECT id FROM steps")}
        assert steps <= known, "an edit is there without the step that made it"


async def _assert_ended(database: str, messages: list[dict[str, Any]]) -> None:
    """Check of each of an agent's runs that it ended with the agent's words, or is marked as failed or running."""
    last_of_run = {message["run_id"]: message["message_type"] for message in messages if message["run_id"]}
    found = await rows(database, "SELECT id, status FROM runs")
    status = dict(found)
    for run_id, last in last_of_run.items():
        whole = last == "assistant_message"
        assert (status[run_id] == "completed") == whole, (run_id, status[run_id], last)
