"""Calls that code of an agent's makes of the agent's own tools, as `run_code_with_tools` does.

They pass what the model's calls pass, the agent's rules and approvals, and have the agent, its run and its step as
author. They do not wait for the step: an edit of memory is a transaction of its own.
"""

from __future__ import annotations

import json
from asyncio import CancelledError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from folkmoot.agents.tool_calls import Outcome, PlannedCall, plan_call, run_apart, run_edit
from folkmoot.conversations.conversations import require_turn
from folkmoot.errors import Conflict, ToolFailed
from folkmoot.identifiers import new_id
from folkmoot.models.prompt import ToolCall, ToolSchema
from folkmoot.store.engine import Transaction
from folkmoot.tools.builtin import BUILTIN_TOOLS, RUN_CODE_WITH_TOOLS
from folkmoot.tools.tool import TEXT_ALONE, InnerCall, Tool, ToolContext

MOST_CALLS = 100
"""Calls that one piece of code may make, those that are refused among them."""

Check: TypeAlias = Callable[[ToolCall, Sequence[InnerCall]], Mapping[str, Any]]
"""Returns arguments that override those of a call, made behind others of the same code, or raises ToolFailed."""


class InnerCalls:
    """The calls of one piece of code."""

    def __init__(self, tools: Sequence[Tool], schemas: Sequence[ToolSchema], check: Check) -> None:
        """Have made none yet.

        Args:
            tools: the agent's.
            schemas: what the agent's model is told of them, and of those that clients run.
            check: whether the agent may make a call now.
        """
        self._tools = {tool.name: tool for tool in tools}
        self._check = check
        self.schemas = schemas
        self.made: list[InnerCall] = []
        self._asked = 0

    def afresh(self) -> InnerCalls:
        """Return the same for another piece of code."""
        return InnerCalls(list(self._tools.values()), self.schemas, self._check)

    async def call(self, name: str, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        """Carry a call out as if the agent had made it, and return what came of it, as JSON has it.

        Raises:
            ToolFailed: it failed, or the agent may not make it now.
            StoreError: the database failed.
        """
        self._asked += 1
        if self._asked > MOST_CALLS:
            raise ToolFailed(f"Code may call tools {MOST_CALLS} times, and this code has done so.")
        planned = self._plan(name, arguments)
        try:
            outcome = await self._run(planned, replace(context, own_tools=None))
        except CancelledError:
            self._note(planned, Outcome("The code was ended before this had returned.", failed=True))
            raise
        self._note(planned, outcome)
        if outcome.failed:
            raise ToolFailed(outcome.text)
        return outcome.text if outcome.value is TEXT_ALONE else outcome.value

    def _plan(self, name: str, arguments: Mapping[str, Any]) -> PlannedCall:
        """Find the tool and read the arguments.

        Raises:
            ToolFailed: there is no such tool, it may not be called now or not by code, or the arguments do not fit.
        """
        call = ToolCall(new_id("call"), name, json.dumps(arguments))
        tool = self._tools.get(name)
        if tool is not None and (why := _never(tool)):
            raise ToolFailed(f"{name} was not run: {why}. Call it yourself instead.")
        given = self._check(call, self.made)
        planned = plan_call(call, self._tools)
        if planned.outcome is not None:
            raise ToolFailed(planned.outcome.text)
        return replace(planned, arguments={**(planned.arguments or {}), **given})

    async def _run(self, planned: PlannedCall, context: ToolContext) -> Outcome:
        assert planned.tool is not None
        if not planned.tool.in_step:
            return await run_apart(planned, context)

        async def edit(transaction: Transaction) -> Outcome:
            outcome = await run_edit(planned, replace(context, transaction=transaction))
            if context.run_id:
                await require_turn(transaction, context.conversation_id, context.run_id)
            return outcome

        try:
            return await context.store.write(edit)
        except Conflict as error:
            raise ToolFailed(error.message) from error

    def _note(self, planned: PlannedCall, outcome: Outcome) -> None:
        arguments = planned.arguments or {}
        self.made.append(InnerCall(planned.call.name, arguments, outcome.text, outcome.failed, outcome.overtaken))


def _never(tool: Tool) -> str:
    """Return why code may not call a tool, whatever the agent's rules say; nothing when it may."""
    if tool is BUILTIN_TOOLS[RUN_CODE_WITH_TOOLS]:
        return "code that was run by a tool runs no further code with tools"
    if tool.ends_turn:
        return "it ends your turn, which code cannot do"
    if tool.tool_type == "letta_multi_agent_core":
        return "it begins turns of other agents, which code could do by the hundred"
    return ""
