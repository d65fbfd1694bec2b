"""THE loop. A turn is one async generator: build the context, ask the model, run its tools, store, yield, repeat.

Every kind of agent and every way to call one goes through `take_turn`; whoever reads its events decides what becomes of
them. A step commits as a whole: the messages that started it, the model's reply, the tools' returns, the memory edits
among them, the usage and, in the last step, the end of the run. Until then nothing of it can be seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from folkmoot.agents.agents import Agent, find_agent, tools_of
from folkmoot.agents.context import SeenBlock, build_prompt, read_blocks, to_turns
from folkmoot.agents.services import Services
from folkmoot.agents.steps import Step, store_step
from folkmoot.agents.tool_calls import (
    Outcome,
    PlannedCall,
    call_message,
    plan_calls,
    return_message,
    run_in_step,
    run_outside,
)
from folkmoot.conversations.conversations import append_messages, find_conversation
from folkmoot.conversations.messages import Message, clean_text, messages_in_context
from folkmoot.identifiers import new_id
from folkmoot.models.prompt import Reply, Turn, Usage
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.tools.tool import Tool, ToolContext


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """The last event of a turn: why it stopped and what its model calls took together."""

    stop_reason: str
    usage: Usage
    step_count: int
    context_tokens: int
    """Tokens that the conversation filled at the last call."""


Event: TypeAlias = Message | TurnEnd


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What starts a turn. `finish` is called in the transaction of the last step with how the turn ended."""

    agent_id: str
    conversation_id: str
    run_id: str
    messages: Sequence[Message]
    max_steps: int
    finish: Callable[[Transaction, TurnEnd], Awaitable[None]]
    model: str | None = None
    instructions: str | None = None


@dataclass(frozen=True, slots=True)
class _Setting:
    """What stays the same through a turn."""

    request: TurnRequest
    agent: Agent
    tools: Sequence[Tool]
    model: str
    services: Services


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One model call: what it was shown and what it answered."""

    step_id: str
    seen: Sequence[SeenBlock]
    reply: Reply
    duration: int


async def take_turn(request: TurnRequest, services: Services) -> AsyncIterator[Event]:
    """Let the agent answer `request.messages`; the caller holds the conversation's turn.

    Yields:
        Each message of a step once the step is stored, and a `TurnEnd` last.

    Raises:
        NotFound: the agent, the conversation or the model does not exist.
        ProviderError: the model's provider failed; the steps stored before stand.
        StoreError: the database failed; the steps stored before stand.
    """
    setting, history = await _prepare(request, services)
    incoming = request.messages
    usage = Usage()
    for step_number in range(1, request.max_steps + 1):
        exchange = await _ask(setting, [*history, *to_turns(incoming)])
        usage += exchange.reply.usage
        planned = plan_calls(exchange.reply.tool_calls, setting.tools, parallel=setting.agent.parallel_tool_calls)
        context = _tool_context(setting, exchange)
        planned = await run_outside(planned, context)
        end = TurnEnd(
            "",
            usage,
            step_number,
            exchange.reply.usage.prompt_tokens + exchange.reply.usage.completion_tokens,
        )
        stored, end = await _commit(setting, exchange, incoming, planned, context, end)
        history = [*history, *to_turns(stored)]
        for message in stored[len(incoming) :]:
            yield message
        if end.stop_reason:
            yield end
            return
        incoming = ()


async def _prepare(request: TurnRequest, services: Services) -> tuple[_Setting, list[Turn]]:
    async def read(transaction: Transaction) -> tuple[_Setting, list[Turn]]:
        agent = await find_agent(transaction, request.agent_id)
        conversation = await find_conversation(transaction, request.conversation_id)
        stored = await messages_in_context(transaction, conversation.id, conversation.context_start)
        tools = await tools_of(transaction, agent.id)
        return _Setting(request, agent, tools, request.model or agent.model, services), to_turns(stored)

    return await services.store.read(read)


async def _ask(setting: _Setting, turns: Sequence[Turn]) -> _Exchange:
    seen = await setting.services.store.read(lambda transaction: read_blocks(transaction, setting.agent.id))
    instructions = setting.request.instructions or setting.agent.system
    prompt = build_prompt(setting.agent, instructions, setting.tools, turns, seen)
    started = clock.now()
    reply = await setting.services.models.ask(setting.model, prompt)
    return _Exchange(new_id("step"), seen, reply, clock.now() - started)


def _tool_context(setting: _Setting, exchange: _Exchange) -> ToolContext:
    return ToolContext(
        agent_id=setting.agent.id,
        agent_name=setting.agent.name,
        conversation_id=setting.request.conversation_id,
        run_id=setting.request.run_id,
        step_id=exchange.step_id,
        store=setting.services.store,
        settings=setting.services.settings,
        environ=setting.services.environ,
        variables=setting.services.sealer.unseal(setting.agent.configuration.get("sealed_variables")),
        seen={block.id: block.version for block in exchange.seen},
    )


async def _commit(
    setting: _Setting,
    exchange: _Exchange,
    incoming: Sequence[Message],
    planned: Sequence[PlannedCall],
    context: ToolContext,
    end: TurnEnd,
) -> tuple[list[Message], TurnEnd]:
    """Store the step, all of it or nothing; return its messages and the turn's end, reasonless while it goes on."""
    request = setting.request

    async def store(transaction: Transaction) -> tuple[list[Message], TurnEnd]:
        outcomes = await run_in_step(planned, replace(context, transaction=transaction))
        reason = _stop_reason(exchange.reply, planned, outcomes, last=end.step_count >= request.max_steps)
        new = _messages(request.run_id, exchange, incoming, outcomes)
        stored = await append_messages(transaction, request.conversation_id, new)
        step = Step(
            id=exchange.step_id,
            run_id=request.run_id,
            agent_id=setting.agent.id,
            model=setting.model,
            usage=exchange.reply.usage,
            stop_reason=reason or None,
            finish_reason=exchange.reply.finish_reason,
            duration=exchange.duration,
        )
        await store_step(transaction, step, exchange.seen)
        ended = replace(end, stop_reason=reason)
        if reason:
            await request.finish(transaction, ended)
        return stored, ended

    return await setting.services.store.write(store)


def _messages(
    run_id: str, exchange: _Exchange, incoming: Sequence[Message], outcomes: Sequence[Outcome]
) -> list[Message]:
    """Return the step's messages: what started it, then reasoning, text, tool calls and their returns."""
    reply, step_id = exchange.reply, exchange.step_id
    new = [replace(message, run_id=run_id, step_id=step_id) for message in incoming]
    for thought in reply.reasoning:
        body = {
            "reasoning": clean_text(thought.text),
            "signature": thought.signature,
            "source": "reasoner_model",
            "provider": thought.provider,
        }
        new.append(Message("reasoning_message", body, run_id=run_id, step_id=step_id))
    if reply.text or not reply.tool_calls:
        new.append(Message("assistant_message", {"content": clean_text(reply.text)}, run_id=run_id, step_id=step_id))
    new.extend(call_message(call, run_id, step_id) for call in reply.tool_calls)
    new.extend(
        return_message(call, outcome, run_id, step_id) for call, outcome in zip(reply.tool_calls, outcomes, strict=True)
    )
    return new


def _stop_reason(reply: Reply, planned: Sequence[PlannedCall], outcomes: Sequence[Outcome], *, last: bool) -> str:
    """Return why the turn ends with this step, or nothing when it goes on."""
    if not reply.tool_calls:
        return "max_tokens_exceeded" if reply.finish_reason == "length" else "end_turn"
    for call, outcome in zip(planned, outcomes, strict=True):
        if call.tool is not None and call.tool.ends_turn and not outcome.failed:
            return "tool_rule"
    return "max_steps" if last else ""
