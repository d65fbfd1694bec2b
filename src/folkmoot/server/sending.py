"""Say something to an agent, in a conversation of its: at once, as a stream, or in the background."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import Response

from folkmoot.agents.abandoned_calls import pending_in
from folkmoot.agents.approvals import decide, refuse_while_pending
from folkmoot.agents.events import Event
from folkmoot.agents.instructions import skills_section
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.conversations import find_conversation
from folkmoot.errors import InvalidInput
from folkmoot.runs.active import Answer
from folkmoot.runs.callbacks import check_callback_url
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.runs import Run
from folkmoot.server.errands import check_errand, sent_by
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.state import ServerState
from folkmoot.server.wire.common import json_response
from folkmoot.server.wire.messages import StopReason, TurnReply, show_messages
from folkmoot.server.wire.runs import RunReply
from folkmoot.server.wire.sending import SendMessages
from folkmoot.server.wire.streams import StreamShape, show_usage
from folkmoot.store.engine import Transaction, Work
from folkmoot.store.paging import LARGEST_PAGE, Page

DONE = ServerSentEvent(b"[DONE]")
"""What a stream ends with when its run is over."""


async def send_and_wait(agent_id: str, conversation_id: str, body: SendMessages, state: ServerState) -> Response:
    """Take the whole turn and answer with it."""
    await _look_for_model(body, state)
    return json_response(show_turn(await state.runs.answer(read_request(agent_id, conversation_id, body, state)), body))


async def begin_stream(agent_id: str, conversation_id: str, body: SendMessages, state: ServerState) -> Response:
    """Begin a turn and answer with a stream of it; what can be refused is refused before the stream begins."""
    await _look_for_model(body, state)
    request = read_request(agent_id, conversation_id, body, state, "send_message_streaming")
    await check_request(request, state)
    run = await state.runs.start(request)
    return EventStream(as_server_sent(state.runs.follow(run.id), StreamShape.of_run(run)))


async def start_in_background(agent_id: str, conversation_id: str, body: SendMessages, state: ServerState) -> RunReply:
    """Begin a turn that goes on by itself and return its run."""
    await _look_for_model(body, state)
    body = body.model_copy(update={"background": True})
    request = read_request(agent_id, conversation_id, body, state, "send_message_async")
    await check_request(request, state)
    return RunReply.of(await state.runs.start(request))


async def start_in_new_conversation(
    agent_id: str, conversation_id: str, body: SendMessages, begin: Work[object], state: ServerState
) -> None:
    """Begin a conversation and in it a turn that goes on by itself: both or, where something is refused, neither.

    Args:
        agent_id: whose it is.
        conversation_id: what the conversation will be called.
        body: what is said in it.
        begin: begins the conversation.
        state: the server's parts.
    """
    body = body.model_copy(update={"background": True})
    request = read_request(agent_id, conversation_id, body, state, "send_message_async")

    async def begun(transaction: Transaction, _run_id: str) -> bool:
        await begin(transaction)
        await check_in(transaction, request)
        return True

    await state.runs.start_if(request, begun)


async def preview_request(request: TurnRequest, state: ServerState) -> dict[str, Any]:
    """Return the provider's request as a turn would begin with it; no model is asked."""
    model, prompt = await state.runs.preview(request)
    sent: dict[str, Any] = await state.services.models.preview(model, prompt)
    return sent


async def cancel_runs(wanted: RunFilter, state: ServerState) -> dict[str, str]:
    """Cancel runs, and say what became of each."""
    page = Page(limit=LARGEST_PAGE, order="desc")
    found = await state.store.read(lambda transaction: list_runs(transaction, wanted, page))
    # Those that wait go first, or they would begin when the one before them ends.
    runs = sorted(found, key=lambda run: run.status != "created")
    return {run.id: _outcome(await state.runs.cancel(run.id)) for run in runs}


def _outcome(run: Run) -> str:
    if not run.is_over:
        return "being cancelled"
    return "cancelled" if run.status == "cancelled" else "already over"


def read_request(
    agent_id: str, conversation_id: str, body: SendMessages, state: ServerState, run_type: str = "send_message"
) -> TurnRequest:
    """Return what a request asks for.

    Raises:
        InvalidInput: it says nothing, or its callback address cannot be used.
        NotFound: the model that it names has no configured provider.
    """
    messages, decisions = body.to_messages(), body.to_decisions()
    if not messages and decisions is None:
        raise InvalidInput("Messages must not be empty")
    if state.errand is not None:
        check_errand(body, decisions is not None)
    model = None if body.override_model is None else state.services.catalogue.handle_of(body.override_model)
    if body.callback_url is not None:
        check_callback_url(body.callback_url, allow_private=state.services.settings.private_callbacks)
    chain, hops = sent_by(state.errand, agent_id, waits=not body.background)
    return TurnRequest(
        agent_id=agent_id,
        conversation_id=conversation_id,
        chain=chain,
        hops=hops,
        messages=messages,
        decisions=decisions,
        client_tools=[tool.to_schema() for tool in body.client_tools or ()],
        max_steps=body.max_steps or state.services.settings.max_steps,
        model=model,
        instructions=body.override_system,
        skills=skills_section([skill.to_skill() for skill in body.client_skills or ()]),
        background=body.background,
        stream=body.stream_tokens,
        details=_details(body, run_type),
    )


def show_turn(answer: Answer, body: SendMessages) -> TurnReply:
    """Show a whole turn."""
    return TurnReply.model_construct(
        messages=show_messages(answer.messages, body.shape(), body.include_return_message_types),
        stop_reason=StopReason(stop_reason=answer.end.stop_reason),
        usage=show_usage(answer.end),
    )


async def as_server_sent(
    events: AsyncGenerator[tuple[int, Event], None], shape: StreamShape
) -> AsyncIterator[ServerSentEvent]:
    """Return a run's events as server-sent events of this shape, the last of which is `[DONE]`."""
    async with aclosing(events):
        async for number, event in events:
            for line in shape.lines(number, event):
                yield ServerSentEvent(line.encode())
    yield DONE


async def _look_for_model(body: SendMessages, state: ServerState) -> None:
    if body.override_model is not None:
        await state.services.catalogue.find_handle(body.override_model)


async def check_request(request: TurnRequest, state: ServerState) -> None:
    """Refuse what a turn would refuse, while the answer can still have a status."""
    await state.store.read(lambda transaction: check_in(transaction, request))


async def check_in(transaction: Transaction, request: TurnRequest) -> None:
    """Refuse what a turn would refuse, by how its conversation stands in this transaction."""
    conversation = await find_conversation(transaction, request.conversation_id)
    pending = await pending_in(transaction, conversation)
    if request.decisions is not None:
        decide(pending, request.decisions)
    elif pending is not None:
        raise refuse_while_pending(pending)


def _details(body: SendMessages, run_type: str) -> dict[str, Any]:
    """Return what a run's row says of the request."""
    return {
        "request_config": {
            "use_assistant_message": body.use_assistant_message,
            "assistant_message_tool_name": body.assistant_message_tool_name,
            "assistant_message_tool_kwarg": body.assistant_message_tool_kwarg,
            "include_return_message_types": body.include_return_message_types,
        },
        "stream": {
            "pings": body.include_pings,
            "summaries": body.include_compaction_messages,
        },
        "callback_url": body.callback_url,
        "metadata": {"run_type": run_type},
    }
