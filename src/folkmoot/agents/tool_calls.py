"""Running the tool calls of one reply.

A call becomes a `PlannedCall`, whose arguments have been read; what cannot be run has its error as outcome already.
Calls of tools that work outside the store run first, all at once; those that are part of the step run in its
transaction, in the reply's order.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from folkmoot import tracing
from folkmoot.agents.tool_rules import Called
from folkmoot.conversations.messages import Message, clean_text
from folkmoot.errors import InvalidInput, NotFound, Overtaken, ToolFailed
from folkmoot.memory.attachments import lock_blocks
from folkmoot.metrics import TOOL_CALLS
from folkmoot.models.prompt import Image, ToolCall
from folkmoot.tools.pictures import stored_picture
from folkmoot.tools.schema import parse_arguments
from folkmoot.tools.tool import TEXT_ALONE, InnerCall, Tool, ToolContext, ToolResult

logger = logging.getLogger(__name__)

LONGEST_INNER = 1000
"""Characters that are kept of the arguments of a call that code made, and of its return."""

ONE_AT_A_TIME = "Only one tool can be called at a time here; this call was not run. Make it again in your next step."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool call came to: text for the model. `ran` is False when the tool was not run at all."""

    text: str
    failed: bool = False
    ran: bool = True
    stdout: Sequence[str] | None = None
    stderr: Sequence[str] | None = None
    pictures: Sequence[Image] = ()
    overtaken: bool = False
    """Whether it was to overwrite a block that others had changed since it was read."""

    inner: Sequence[InnerCall] = ()
    """What the tool, being code of the agent's, called in turn."""

    value: Any = TEXT_ALONE
    """What was returned, as JSON has it; TEXT_ALONE where that is the text."""


def not_run(why: str) -> Outcome:
    """Return the outcome of a call whose tool was not run."""
    return Outcome(why, failed=True, ran=False)


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A tool call with what it will run on.

    `tool` is None when it cannot be run, and `outcome` says why; or when it waits for somebody, and has no outcome.
    """

    call: ToolCall
    tool: Tool | None = None
    arguments: Mapping[str, Any] | None = None
    outcome: Outcome | None = None

    @property
    def waits(self) -> bool:
        """Whether somebody has to decide about it, or to run it, first."""
        return self.tool is None and self.outcome is None


def plan_calls(
    calls: Sequence[ToolCall],
    tools: Sequence[Tool],
    waits: Callable[[ToolCall], bool],
    *,
    parallel: bool,
    clients: Collection[str] = (),
) -> list[PlannedCall]:
    """Find each call's tool and read its arguments.

    Args:
        calls: the calls of one reply.
        tools: the agent's tools.
        clients: names of the client's own tools, of which a model is told when it calls one that is not there.
        waits: whether a call waits for somebody.
        parallel: whether more than the first call may be run.
    """
    known = {tool.name: tool for tool in tools}
    planned: list[PlannedCall] = []
    for place, call in enumerate(calls):
        if place > 0 and not parallel:
            planned.append(PlannedCall(call, outcome=not_run(ONE_AT_A_TIME)))
        elif waits(call):
            planned.append(PlannedCall(call))
        else:
            planned.append(plan_call(call, known, clients))
    return planned


def plan_call(call: ToolCall, tools: Mapping[str, Tool], clients: Collection[str] = ()) -> PlannedCall:
    """Find the call's tool among `tools`, by name, and read its arguments; `clients` names the client's own."""
    tool = tools.get(call.name)
    if tool is None:
        names = ", ".join(dict.fromkeys([*tools, *clients])) or "none"
        return PlannedCall(call, outcome=not_run(f"There is no tool {call.name!r}. Your tools: {names}."))
    try:
        return PlannedCall(call, tool, parse_arguments(tool.schema, clean_text(call.arguments)))
    except ToolFailed as error:
        return PlannedCall(call, outcome=not_run(error.message))


async def run_outside(planned: Sequence[PlannedCall], context: ToolContext) -> list[PlannedCall]:
    """Run the calls whose tools are not part of the step, at once where the tools allow it.

    Returns:
        All calls, with what came of those.
    """
    one_by_one = asyncio.Lock()
    return list(await asyncio.gather(*(_run_outside(call, context, one_by_one) for call in planned)))


async def _run_outside(planned: PlannedCall, context: ToolContext, one_by_one: asyncio.Lock) -> PlannedCall:
    if planned.outcome is not None or planned.tool is None or planned.tool.in_step:
        return planned
    async with nullcontext() if planned.tool.runs_beside_others else one_by_one:
        return PlannedCall(planned.call, planned.tool, planned.arguments, await run_apart(planned, context))


async def run_in_step(planned: Sequence[PlannedCall], context: ToolContext) -> list[Outcome | None]:
    """Run, in order, the calls that are part of the step's transaction; return what came of every call.

    A call that waits for somebody has no outcome.

    Raises:
        StoreError: the database failed, so that the whole step does.
    """
    if sum(call.outcome is None and not call.waits for call in planned) > 1:
        await lock_blocks(context.step_transaction, context.agent_id)
    return [
        call.outcome if call.outcome is not None or call.waits else await run_edit(call, context) for call in planned
    ]


async def run_edit(planned: PlannedCall, context: ToolContext) -> Outcome:
    """Run one call that is part of the transaction; return what came of it.

    Raises:
        StoreError: the database failed.
    """
    assert planned.tool is not None
    with _span(planned, context) as span:
        try:
            outcome = _outcome(await planned.tool.run(context, planned.arguments or {}), planned.tool)
        except (ToolFailed, InvalidInput, NotFound) as error:  # raised before anything was written
            TOOL_CALLS.add("failed")
            outcome = Outcome(error.message, failed=True, overtaken=isinstance(error, Overtaken))
        _tell(span, outcome)
        return outcome


async def run_apart(planned: PlannedCall, context: ToolContext) -> Outcome:
    """Run one call that is part of no transaction; return what came of it, and of the calls that it made in turn."""
    assert planned.tool is not None
    own = None
    if context.own_tools is not None:
        own = context.own_tools.afresh()
        context = replace(context, own_tools=own)
    with _span(planned, context) as span:
        outcome = _outcome(await run_alone(planned.tool, planned.arguments or {}, context), planned.tool)
        _tell(span, outcome)
        return outcome if own is None else replace(outcome, inner=own.made)


def _span(planned: PlannedCall, context: ToolContext) -> tracing.Span:
    if not tracing.is_on():
        return tracing.NO_SPAN
    call = planned.call
    known = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.name,
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": call.id,
        "gen_ai.agent.id": context.agent_id,
        "gen_ai.agent.name": context.agent_name,
        "gen_ai.conversation.id": context.conversation_id,
        "folkmoot.run.id": context.run_id,
        "folkmoot.step.id": context.step_id,
    }
    span = tracing.span(f"execute_tool {call.name}", known)
    if span.shows_content:
        span.tell({"gen_ai.tool.call.arguments": call.arguments})
    return span


def _tell(span: tracing.Span, outcome: Outcome) -> None:
    if outcome.failed:
        span.fail("tool_error")
    if span.shows_content:
        span.tell({"gen_ai.tool.call.result": outcome.text})


async def run_alone(tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> ToolResult:
    """Run a tool that is not part of a step and may fail in any way: a model reads what went wrong, and goes on."""
    settings = context.settings
    limit = settings.agent_timeout if tool.asks_agents else settings.tool_timeout
    try:
        async with asyncio.timeout(limit):
            return await tool.run(context, arguments)
    except ToolFailed as error:
        return ToolResult(error.message, failed=True)
    except TimeoutError:
        return ToolResult(f"{tool.name} did not finish within {limit:g} seconds and was stopped.", failed=True)
    except Exception as error:
        logger.exception("Tool failed", extra={"run_id": context.run_id, "tool": tool.name})
        return ToolResult(f"{tool.name} failed inside the server: {type(error).__name__}.", failed=True)


def _outcome(result: ToolResult, tool: Tool) -> Outcome:
    TOOL_CALLS.add("failed" if result.failed else "succeeded")
    text = _clip(clean_text(result.text), tool.return_limit, result.length)
    return Outcome(
        text,
        failed=result.failed,
        stdout=result.stdout,
        stderr=result.stderr,
        pictures=result.pictures,
        value=result.value,
    )


def called_of(planned: Sequence[PlannedCall], outcomes: Sequence[Outcome | None]) -> list[Called]:
    """Return the calls whose tools were run, as the agent's rules see them; what code called comes before the code."""
    called: list[Called] = []
    for call, outcome in zip(planned, outcomes, strict=True):
        if outcome is not None and outcome.ran:
            called += inner_called(outcome.inner)
            called.append(Called(call.call.name, outcome.text, outcome.failed, outcome.overtaken))
    return called


def inner_called(inner: Sequence[InnerCall]) -> list[Called]:
    """Return what code called, as the agent's rules see it."""
    return [Called(each.name, each.text, each.failed, each.overtaken) for each in inner]


def call_message(call: ToolCall, run_id: str, step_id: str) -> Message:
    """Return the message that shows a tool call."""
    body = {"tool_call": {"name": call.name, "arguments": call.arguments, "tool_call_id": call.id}}
    return Message("tool_call_message", body, name=call.name, run_id=run_id, step_id=step_id)


def return_message(call: ToolCall, outcome: Outcome, run_id: str, step_id: str) -> Message:
    """Return the message that shows what a tool call came to."""
    body: dict[str, Any] = {
        "tool_return": outcome.text,
        "status": "error" if outcome.failed else "success",
        "tool_call_id": call.id,
        "stdout": outcome.stdout,
        "stderr": [outcome.text] if outcome.failed and not outcome.stderr else outcome.stderr,
    }
    if outcome.pictures:
        body["pictures"] = [stored_picture(picture) for picture in outcome.pictures]
    if outcome.inner:
        body["inner_calls"] = [_inner_shown(each) for each in outcome.inner]
    if not outcome.ran:
        body["ran"] = False
    return Message("tool_return_message", body, name=call.name, run_id=run_id, step_id=step_id)


def _inner_shown(inner: InnerCall) -> dict[str, Any]:
    """Return a call that code made as the message of the code's own return has it, what is long cut off."""
    arguments = json.dumps(inner.arguments, ensure_ascii=False)
    return {
        "name": inner.name,
        "arguments": clean_text(_clip(arguments, LONGEST_INNER, 0)),
        "tool_return": _clip(inner.text, LONGEST_INNER, 0),
        "status": "error" if inner.failed else "success",
    }


def _clip(text: str, limit: int, length: int) -> str:
    length = max(length, len(text))
    return text if length <= limit else f"{text[:limit]}\n… ({length - limit:,} more characters were cut off)"
