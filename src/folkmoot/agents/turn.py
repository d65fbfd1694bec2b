"""THE loop: build the context, call the model, run its tools, commit, repeat until it stops.

Every kind of agent and every way to call one goes through `take_turn`. What happens goes to its sink, the run, which
stores and publishes it; the loop does not know who reads. A step commits as a whole: the messages that started it, the
model's reply, the tools' returns, the memory edits among them, the usage and, in the last step, the end of the run.
Until then nothing of it is stored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from folkmoot import tracing
from folkmoot.agents.abandoned_calls import settle_run
from folkmoot.agents.approvals import Decisions, called_since_asked, decide, denial, find_pending, refuse_while_pending
from folkmoot.agents.context import Seen
from folkmoot.agents.conversations import begin_anew
from folkmoot.agents.events import Recorded, TurnEnd, TurnSink
from folkmoot.agents.model_call import ModelCall, call_model
from folkmoot.agents.preparation import prepare_turn
from folkmoot.agents.replies import reply_messages
from folkmoot.agents.services import Services
from folkmoot.agents.steps import KeptTrace, Step, store_step
from folkmoot.agents.tool_calls import PlannedCall, called_of, plan_call, return_message, run_in_step, run_outside
from folkmoot.agents.tool_rules import Called
from folkmoot.agents.turn_state import TurnRequest, TurnState
from folkmoot.conversations.conversations import append_messages
from folkmoot.conversations.messages import Message
from folkmoot.errors import FolkmootError, ProviderError
from folkmoot.identifiers import new_id
from folkmoot.models.observing import model_attributes
from folkmoot.models.prompt import Prompt, Usage
from folkmoot.store import clock
from folkmoot.store.engine import Transaction


async def take_turn(request: TurnRequest, sink: TurnSink, services: Services) -> TurnEnd:
    """Let the agent answer `request.messages`; the caller holds the conversation's lock.

    Args:
        request: what is asked.
        sink: where the events go: with `request.stream` pieces of a reply while it is written; each message of a step
            once the step is stored; a summary when messages had to leave the context; and the end.
        services: the store, the models and the settings.

    Returns:
        Why the turn ended, and what it took.

    Raises:
        NotFound: the agent, the conversation or the model does not exist.
        Conflict: a tool call waits for approval, and the request brings none.
        BadRequest: the request brings decisions that nothing waits for.
        ProviderError: the model's provider failed; the steps stored before stand.
        StoreError: the database failed; the steps stored before stand.
    """
    turn = await services.store.read(lambda transaction: prepare_turn(transaction, request, services))
    with _span(turn, sink.run_id) as span:
        end = await _take_steps(turn, sink)
        span.tell(
            {
                "gen_ai.usage.input_tokens": turn.usage.prompt_tokens,
                "gen_ai.usage.output_tokens": turn.usage.completion_tokens,
                "folkmoot.stop_reason": end.stop_reason,
            }
        )
        return end


def _span(turn: TurnState, run_id: str) -> tracing.Span:
    """Return the turn's span; nobody waits for a turn in the background, which is a trace of its own."""
    if not tracing.is_on():
        return tracing.NO_SPAN
    agent = turn.agent
    begin = tracing.apart if turn.request.background else tracing.span
    known = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": agent.id,
        "gen_ai.agent.name": agent.name,
        "gen_ai.conversation.id": turn.request.conversation_id,
        "folkmoot.run.id": run_id,
        **model_attributes(agent.model),
    }
    return begin(f"invoke_agent {agent.name}", known)


async def _take_steps(turn: TurnState, sink: TurnSink) -> TurnEnd:
    request = turn.request
    if request.decisions is not None:
        end = await _carry_out(turn, sink, request.decisions)
        if end is not None:
            return end
    elif pending := find_pending(turn.context_state.messages):
        raise refuse_while_pending(pending)
    if any(tool.runs_code for tool in turn.tools):
        turn.services.sandbox.expect()  # by the time the model has answered it is there
    incoming = request.messages
    for number in range(1, request.max_steps + 1):
        step_id, begun = new_id("step"), clock.now()
        try:
            call = await call_model(turn, sink, step_id, incoming)
        except ProviderError as error:
            sink.note_failed(await _failed_step(turn, sink.run_id, step_id, clock.now() - begun, error))
            raise
        end = await _take_step(turn, sink, call, incoming, number)
        if end is not None:
            return end
        incoming, turn.steps_taken = (), number
    raise AssertionError("the last step that is allowed ends the turn")


async def preview_turn(request: TurnRequest, services: Services) -> tuple[str, Prompt]:
    """Return the model that a turn would ask first, and what; messages may still have to leave the context for it.

    Raises:
        NotFound: the agent or the conversation does not exist.
    """

    async def read(transaction: Transaction) -> tuple[str, Prompt]:
        turn = await prepare_turn(transaction, request, services)
        return turn.agent.model, turn.prompt(await turn.look(transaction), request.messages)

    return await services.store.read(read)


async def _take_step(
    turn: TurnState, sink: TurnSink, call: ModelCall, incoming: Sequence[Message], number: int
) -> TurnEnd | None:
    """Run the reply's tools and commit the step; return the end of the turn if this is its last step."""
    reply, request = call.reply, turn.request
    turn.usage += reply.usage
    planned = turn.plan(reply)
    context = turn.tool_context(sink, call.step_id, call.seen)
    begun = clock.now()
    # Tools that work outside the store run before the transaction, which must not wait for them.
    planned = await run_outside(planned, context)

    trace = turn.services.traces.kept(turn.agent.organization_id, request.conversation_id, call.prompt, reply)

    async def store(transaction: Transaction) -> Recorded[tuple[list[Message], list[Called]]]:
        outcomes = await run_in_step(planned, replace(context, transaction=transaction))
        worked = clock.now() - begun if planned else 0
        called = [*turn.called, *called_of(planned, outcomes)]
        # What the agent's rules still want comes before a reason to stop, but for the last step that is allowed.
        demand = "" if any(each.waits for each in planned) else turn.demand(called, reply)
        reason = turn.stop_reason(reply, planned, outcomes, called) if not demand else ""
        if not reason and number >= request.max_steps:
            reason = "max_steps"
        said = [replace(message, run_id=sink.run_id, step_id=call.step_id) for message in incoming]
        answered = reply_messages(reply, planned, outcomes, call.writer)
        if demand and not reason:
            body = {"content": demand}
            answered.append(Message("system_message", body, run_id=sink.run_id, step_id=call.step_id))
        new = [*said, *answered]
        if turn.begins_anew and number == 1:
            await begin_anew(transaction, request.conversation_id)
        stored = await append_messages(transaction, request.conversation_id, new, sink.run_id, call.counted)
        await store_step(transaction, _step(turn, sink.run_id, call, reason, worked, trace), call.seen)
        filled = reply.usage.prompt_tokens + reply.usage.completion_tokens
        end = TurnEnd(reason, turn.usage, number, filled) if reason else None
        return Recorded((stored, called), stored[len(said) :], end)

    # The work may be done twice, after a deadlock: what stays of it is taken over only when it is committed.
    recorded = await sink.commit(store)
    turn.services.traces.stored(request.conversation_id, call.step_id, trace)
    stored, turn.called = recorded.result
    turn.context_state.add(stored, call.counted)
    return recorded.end


async def _carry_out(turn: TurnState, sink: TurnSink, decisions: Decisions) -> TurnEnd | None:
    """Run what was approved and commit what came of every open call; return the end if the rules end the turn."""
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
    context = turn.tool_context(sink, step_id, Seen())
    planned = await run_outside(planned, context)

    async def store(transaction: Transaction) -> Recorded[list[Message]]:
        outcomes = await run_in_step(planned, replace(context, transaction=transaction))
        returns = [
            return_message(call.call, outcome, sink.run_id, step_id)
            for call, outcome in zip(planned, outcomes, strict=True)
            if outcome is not None
        ]
        answer = replace(decisions.message, run_id=sink.run_id, step_id=step_id)
        stored = await append_messages(transaction, request.conversation_id, [answer, *returns], sink.run_id)
        called = called_since_asked([*turn.context_state.messages, *stored])
        ends = turn.ended_by_call(planned, outcomes, called)
        await settle_run(transaction, pending, "end_turn")
        end = TurnEnd("tool_rule") if ends and not turn.rules.missing_before_exit(turn.names, called) else None
        return Recorded(stored, stored[1:], end)

    recorded = await sink.commit(store)
    turn.context_state.add(recorded.result)
    turn.called = called_since_asked(turn.context_state.messages)
    return recorded.end


def _step(
    turn: TurnState, run_id: str, call: ModelCall, reason: str, tool_duration: int, trace: KeptTrace | None
) -> Step:
    return Step(
        id=call.step_id,
        run_id=run_id,
        agent_id=turn.agent.id,
        model=turn.agent.model,
        usage=call.reply.usage,
        stop_reason=reason or None,
        finish_reason=call.reply.finish_reason,
        duration=call.duration,
        tool_duration=tool_duration,
        trace=trace,
    )


async def _failed_trace(turn: TurnState, error: ProviderError) -> KeptTrace | None:
    """Return what the model was sent in vain; the provider's package has not told us, and is asked once more."""
    traces, asked = turn.services.traces, turn.asked
    if asked is None or not traces.keeps_any:
        return None
    try:
        sent = await turn.services.models.preview(turn.agent.model, asked)
    except FolkmootError:
        sent = asdict(asked)
    answer = {"error": {"type": type(error).__name__, "message": error.message}}
    conversation_id = turn.request.conversation_id
    return traces.kept_as_sent(turn.agent.organization_id, conversation_id, json.dumps(sent), json.dumps(answer))


async def _failed_step(turn: TurnState, run_id: str, step_id: str, duration: int, error: ProviderError) -> Step:
    return Step(
        id=step_id,
        run_id=run_id,
        agent_id=turn.agent.id,
        model=turn.agent.model,
        usage=Usage(),
        stop_reason="llm_api_error",
        finish_reason="error",
        duration=duration,
        tool_duration=0,
        trace=await _failed_trace(turn, error),
        error_type=type(error).__name__,
    )
