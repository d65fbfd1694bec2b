"""TranscriptEntry something to an agent, in a conversation of its: at once, as a stream, or in the background."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Response

from folkmoot.agents.abandoned_calls import pending_in
from folkmoot.agents.approvals import decide, refuse_while_pending
from folkmoot.conversations.conversations import find_conversation
from folkmoot.errors import InvalidInput
from folkmoot.models.providers import resolve
from folkmoot.runs.asked import Answer, Asked
from folkmoot.runs.callbacks import check_callback_url
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.runs import Run
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.state import ServerState
from folkmoot.server.wire.common import json_response
from folkmoot.server.wire.messages import StopReason, TurnReply, show_messages
from folkmoot.server.wire.runs import RunReply
from folkmoot.server.wire.sending import SendMessages
from folkmoot.server.wire.streams import StreamShape, show_usage
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page


async def send_and_wait(agent_id: str, conversation_id: str, body: SendMessages, state: ServerState) -> Response:
    """Take the whole turn and answer with it."""
    return json_response(show_turn(await state.runs.answer(read_asked(agent_id, conversation_id, body, state)), body))


async def begin_stream(agent_id: str, conversation_id: str, body: SendMessages, state: ServerState) -> Response:
    """Begin a turn and answer with a stream of it; what can be refused is refused before the stream begins."""
    asked = read_asked(agent_id, conversation_id, body, state, "send_message_streaming")
    await check_asked(asked, state)
    shape = stream_shape(body)
    run = await state.runs.start(asked, shape.encode, shape.first)
    return EventStream(as_server_sent(state.runs.follow(run.id, 0, shape.encode)))


async def start_in_background(agent_id: str, conversation_id: str, body: SendMessages, state: ServerState) -> RunReply:
    """Begin a turn that goes on by itself and return its run."""
    body = body.model_copy(update={"background": True})
    asked = read_asked(agent_id, conversation_id, body, state, "send_message_async")
    await check_asked(asked, state)
    shape = stream_shape(body)
    return RunReply.of(await state.runs.start(asked, shape.encode, shape.first))


async def preview_request(asked: Asked, state: ServerState) -> dict[str, Any]:
    """Return the provider's request as a turn would begin with it; no model is asked."""
    model, prompt = await state.runs.preview(asked)
    request: dict[str, Any] = await state.services.models.preview(model, prompt)
    return request


async def cancel_runs(wanted: RunFilter, state: ServerState, named: Sequence[str] | None = None) -> dict[str, str]:
    """Cancel runs, only those that are `named` when given, and say what became of each."""
    page = Page(limit=LARGEST_PAGE, order="desc")
    found = await state.store.read(lambda transaction: list_runs(transaction, wanted, page))
    # Those that wait go first, or they would begin when the one before them ends.
    runs = sorted((run for run in found if named is None or run.id in named), key=lambda run: run.status != "created")
    return {run.id: _outcome(await state.runs.cancel(run.id)) for run in runs}


def _outcome(run: Run) -> str:
    if not run.is_over:
        return "being cancelled"
    return "cancelled" if run.status == "cancelled" else "already over"


def read_asked(
    agent_id: str, conversation_id: str, body: SendMessages, state: ServerState, run_type: str = "send_message"
) -> Asked:
    """Return what a request asks for.

    Raises:
        InvalidInput: it says nothing, or its callback address cannot be used.
        NotFound: the model that it names has no configured provider.
    """
    messages, decisions = body.to_messages(), body.to_decisions()
    if not messages and decisions is None:
        raise InvalidInput("Messages must not be empty")
    if body.override_model is not None:
        resolve(body.override_model, state.services.environ)
    if body.callback_url is not None:
        check_callback_url(body.callback_url, allow_private=state.services.settings.private_callbacks)
    return Asked(
        agent_id=agent_id,
        conversation_id=conversation_id,
        messages=messages,
        decisions=decisions,
        client_tools=[tool.to_schema() for tool in body.client_tools or ()],
        max_steps=body.max_steps or state.services.settings.max_steps,
        model=body.override_model,
        instructions=body.override_system,
        background=body.background,
        stream_tokens=body.stream_tokens,
        details=_details(body, run_type),
    )


def show_turn(answer: Answer, body: SendMessages) -> TurnReply:
    """Show a whole turn."""
    return TurnReply.model_construct(
        messages=show_messages(answer.messages, body.shape(), body.include_return_message_types),
        stop_reason=StopReason(stop_reason=answer.end.stop_reason),
        usage=show_usage(answer.end),
    )


def stream_shape(body: SendMessages) -> StreamShape:
    """Return how a stream shows the turn."""
    return StreamShape(
        messages=body.shape(),
        in_pieces=body.stream_tokens,
        pings=body.include_pings,
        types=body.include_return_message_types,
    )


async def as_server_sent(entries: AsyncGenerator[str, None]) -> AsyncIterator[ServerSentEvent]:
    """Return a log's entries as server-sent events."""
    async with aclosing(entries):
        async for entry in entries:
            yield ServerSentEvent(entry.encode())


async def check_asked(asked: Asked, state: ServerState) -> None:
    """Refuse what a turn would refuse, while the answer can still have a status."""

    async def read(transaction: Transaction) -> None:
        conversation = await find_conversation(transaction, asked.conversation_id or asked.agent_id)
        pending = await pending_in(transaction, conversation)
        if asked.decisions is not None:
            decide(pending, asked.decisions)
        elif pending is not None:
            raise refuse_while_pending(pending)

    await state.store.read(read)


def _details(body: SendMessages, run_type: str) -> dict[str, Any]:
    """Return what a run's row says of the request."""
    return {
        "request_config": {
            "use_assistant_message": body.use_assistant_message,
            "assistant_message_tool_name": body.assistant_message_tool_name,
            "assistant_message_tool_kwarg": body.assistant_message_tool_kwarg,
            "include_return_message_types": body.include_return_message_types,
        },
        "callback_url": body.callback_url,
        "metadata": {"run_type": run_type},
    }
