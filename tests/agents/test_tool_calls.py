"""Which calls of one reply run beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from folkmoot.agents.tool_calls import PlannedCall, run_outside
from folkmoot.models.prompt import ToolCall
from folkmoot.tools.tool import ToolContext, ToolResult
from support.polling import PATIENCE

CONTEXT: Any = SimpleNamespace(
    settings=SimpleNamespace(tool_timeout=60.0, agent_timeout=60.0), run_id="", own_tools=None
)


@dataclass
class Waiting:
    """A tool whose calls wait until so many of them run at once, or have had the chance to."""

    runs_beside_others: bool
    wanted: int
    name: str = "waiting"
    in_step: bool = False
    asks_agents: bool = False
    return_limit: int = 100
    running: int = 0
    most: int = 0
    together: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> ToolResult:
        self.running += 1
        self.most = max(self.most, self.running)
        if self.running == self.wanted:
            self.together.set()
        await self.together.wait()
        for _ in range(10):  # whoever may begin now does
            await asyncio.sleep(0)
        self.running -= 1
        return ToolResult(str(arguments["number"]))


@pytest.mark.parametrize(("allowed", "at_once"), [(True, 3), (False, 1)])
async def test_calls_run_at_once_only_where_the_tool_allows_it(allowed: bool, at_once: int) -> None:
    tool: Any = Waiting(runs_beside_others=allowed, wanted=at_once)
    calls = [PlannedCall(ToolCall(str(number), tool.name, ""), tool, {"number": number}) for number in range(3)]
    async with asyncio.timeout(PATIENCE):
        done = await run_outside(calls, CONTEXT)
    assert [call.outcome.text for call in done if call.outcome is not None] == ["0", "1", "2"]
    assert tool.most == at_once
