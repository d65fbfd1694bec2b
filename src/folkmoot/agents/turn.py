"""THE loop. A turn is one async generator: build the context, ask the model, run its tools, store, yield, repeat.

Every kind of agent and every way to call one goes through `take_turn`; whoever reads its events decides what becomes of
them. A step commits as a whole: the messages that started it, the model's reply, the tools' returns, the memory edits
among them, the usage and, in the last step, the end of the run. Until then nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from folkmoot.agents.agents import find_agent, tools_of
from folkmoot.agents.approvals import Decisions, called_since_asked, decide, denial, find_pending, refuse_while_pending
from folkmoot.agents.context import for_conversation
from folkmoot.agents.context_state import read_context_state
from folkmoot.agents.events import Event, TurnEnd
from folkmoot.agents.model_call import ModelCall, ask, look, prompt_of
from folkmoot.agents.replies import reply_messages
from folkmoot.agents.services import Services
from folkmoot.agents.steps import Step, store_step, trace_of
from folkmoot.agents.tool_calls import PlannedCall, called_of, plan_call, return_message, run_in_step, run_outside
from folkmoot.agents.tool_rules import Called, ToolRules
from folkmoot.agents.turn_state import TurnRequest, TurnState
from folkmoot.conversations.conversations import append_messages, find_conversation
from folkmoot.conversations.messages import Message
from folkmoot.identifiers import new_id
from folkmoot.models.prompt import Prompt
from folkmoot.store import clock
from folkmoot.store.engine import Transaction


async def take_turn(request: TurnRequest, services: Services) -> AsyncGenerator[Event, None]:
    """Let the agent answer `request.messages`; the caller holds the conversation's turn.

    Yields:
        With `request.stream`, pieces of a reply while it is written; each message of a step once the step is stored;
        a summary when messages had to leave the context; and a `TurnEnd` last.

    Raises:
        NotFound: the agent, the conversation or the model does not exist.
        Conflict: a tool call waits for approval, and the request brings none.
        BadRequest: the request brings decisions that nothing waits for.
        ProviderError: the model's provider failed; the steps stored before stand.
        StoreError: the database failed; the steps stored before stand.
    """
    turn = await _prepare(request, services)
    if request.decisions is not None:
        settled, end = await _settle(turn, request.decisions)
        for message in settled:
            yield message
        if end is not None:
            yield end
            return
    elif pending := find_pending(turn.context_state.messages):
        raise refuse_while_pending(pending)
    incoming = request.messages
    for number in range(1, request.max_steps + 1):
        call: ModelCall | None = None
        async with aclosing(ask(turn, incoming)) as answering:
            async for item in answering:
                if isinstance(item, ModelCall):
                    call = item
                else:
                    yield item
        assert call is not None
        added, end = await _take_step(turn, call, incoming, number)
        for message in added:
            yield message
        if end is not None:
            yield end
            return
        incoming = ()


async def preview_turn(request: TurnRequest, services: Services) -> tuple[str, Prompt]:
    """Return the model that a turn would ask first, and what; messages may still have to leave the context for it.

    Raises:
        NotFound: the agent or the conversation does not exist.
    """
    turn = await _prepare(request, services)
    return turn.agent.model, prompt_of(turn, request.messages, await look(turn))


async def _prepare(request: TurnRequest, services: Services) -> TurnState:
    async def read(transaction: Transaction) -> TurnState:
        agent = await find_agent(transaction, request.agent_id)
        conversation = await find_conversation(transaction, request.conversation_id)
        agent = for_conversation(agent, conversation)
        agent = replace(agent, model=request.model or agent.model)
        context_state = await read_context_state(transaction, conversation, agent, services)
        tools = await tools_of(transaction, agent.id)
        rules = ToolRules.read(agent.configuration.get("tool_rules") or ())
        return TurnState(request, services, agent, tools, context_state, rules)

    return await services.store.read(read)


async def _take_step(
    turn: TurnState, call: ModelCall, incoming: Sequence[Message], number: int
) -> tuple[list[Message], TurnEnd | None]:
    """Run the reply's tools and store the step; return what it adds to the conversation, and the end in the last."""
    reply, request = call.reply, turn.request
    turn.usage += reply.usage
    planned = turn.plan(reply)
    context = turn.tool_context(call.step_id, call.seen)
    begun = clock.now()
    planned = await run_outside(planned, context)

    async def store(transaction: Transaction) -> tuple[list[Message], TurnEnd | None, list[Called]]:
        outcomes = await run_in_step(planned, replace(context, transaction=transaction))
        worked = clock.now() - begun if planned else 0
        called = [*turn.called, *called_of(planned, outcomes)]
        demand = "" if any(call.waits for call in planned) else turn.demand(called, reply)
        reason = turn.stop_reason(reply, planned, outcomes, called) if not demand else ""
        if not reason and number >= request.max_steps:
            reason = "max_steps"
        said = [replace(message, run_id=request.run_id, step_id=call.step_id) for message in incoming]
        answered = reply_messages(reply, planned, outcomes, call.writer)
        if demand and not reason:
            body = {"content": demand}
            answered.append(Message("system_message", body, run_id=request.run_id, step_id=call.step_id))
        new = [*said, *answered]
        stored = await append_messages(transaction, request.conversation_id, new, request.run_id, call.counted)
        await store_step(transaction, _step(turn, call, reason, worked), call.seen)
        filled = reply.usage.prompt_tokens + reply.usage.completion_tokens
        end = TurnEnd(reason, turn.usage, number, filled) if reason else None
        await request.journal.record(transaction, stored[len(said) :], end)
        return stored, end, called

    stored, end, turn.called = await request.journal.write(store)
    turn.context_state.add(stored, call.counted)
    return stored[len(incoming) :], end


async def _settle(turn: TurnState, decisions: Decisions) -> tuple[list[Message], TurnEnd | None]:
    """Run what was approved and store what came of every open call; return that, and the end if the rules end it."""
    request = turn.request
    pending = find_pending(turn.context_state.messages)
    decided = decide(pending, decisions)
    assert pending is not None
    step_id = pending.request.step_id or new_id("step")
    known = {tool.name: tool for tool in turn.tools}
    planned = [
        plan_call(call, known)
        if decision.approve and decision.outcome is None
        else PlannedCall(call, outcome=decision.outcome or denial(decision))
        for call, decision in decided
    ]
    context = turn.tool_context(step_id, ())
    planned = await run_outside(planned, context)

    async def store(transaction: Transaction) -> tuple[list[Message], TurnEnd | None]:
        outcomes = await run_in_step(planned, replace(context, transaction=transaction))
        returns = [
            return_message(call.call, outcome, request.run_id, step_id)
            for call, outcome in zip(planned, outcomes, strict=True)
            if outcome is not None
        ]
        answer = replace(decisions.message, run_id=request.run_id, step_id=step_id)
        stored = await append_messages(transaction, request.conversation_id, [answer, *returns], request.run_id)
        called = called_since_asked([*turn.context_state.messages, *stored])
        ends = turn.ended_by_call(planned, outcomes, called)
        end = TurnEnd("tool_rule") if ends and not turn.rules.missing_before_exit(turn.names, called) else None
        await request.journal.record(transaction, stored[1:], end)
        return stored, end

    stored, end = await request.journal.write(store)
    turn.context_state.add(stored)
    turn.called = called_since_asked(turn.context_state.messages)
    return stored[1:], end


def _step(turn: TurnState, call: ModelCall, reason: str, tool_duration: int) -> Step:
    return Step(
        id=call.step_id,
        run_id=turn.request.run_id,
        agent_id=turn.agent.id,
        model=turn.agent.model,
        usage=call.reply.usage,
        stop_reason=reason or None,
        finish_reason=call.reply.finish_reason,
        duration=call.duration,
        tool_duration=tool_duration,
        trace=trace_of(call.prompt, call.reply) if turn.services.settings.trace else None,
    )
