"""Messages: what is said to an agent, at once or as a stream or in the background, and what was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from folkmoot.agents.abandoned_calls import settle_abandoned_of_agent
from folkmoot.agents.agents import find_agent
from folkmoot.conversations.conversations import find_conversation
from folkmoot.conversations.messages import Message, MessageType, has_others, list_agent_messages, list_messages
from folkmoot.errors import NotFound
from folkmoot.groups.conversations import conversation_in
from folkmoot.runs.reading import RunFilter
from folkmoot.runs.runs import UNFINISHED
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.routes.conversations import named
from folkmoot.server.scanning import SHORT_PAGE, Scan
from folkmoot.server.sending import (
    begin_stream,
    cancel_runs,
    preview_request,
    read_request,
    send_and_wait,
    start_in_background,
)
from folkmoot.server.state import State
from folkmoot.server.wire.common import MOST_ITEMS, AgentId, IncludeErrors, Request, Text, json_response, page_of
from folkmoot.server.wire.messages import AnyMessage, MessageShape, TurnReply, show_messages
from folkmoot.server.wire.runs import RunReply
from folkmoot.server.wire.sending import SendMessages
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/agents/{agent_id}/messages", tags=["messages"], route_class=BodyRoute)

Newest = Annotated[Page, Depends(page_of(None, 100))]


class CancelRuns(Request):
    """Which runs to cancel."""

    run_ids: Annotated[list[Text], Field(max_length=MOST_ITEMS)] | None = None


@router.post("", response_model=TurnReply)
async def send(agent_id: AgentId, body: SendMessages, state: State) -> Response:
    """Say something to an agent and return its whole turn, or a stream of it."""
    if body.streaming:
        return await begin_stream(agent_id, agent_id, body, state)
    return await send_and_wait(agent_id, agent_id, body, state)


@router.post("/stream")
async def stream(agent_id: AgentId, body: SendMessages, state: State) -> Response:
    """Say something to an agent and return a stream of its turn."""
    return await begin_stream(agent_id, agent_id, body, state)


@router.post("/async", response_model=RunReply)
async def send_in_background(agent_id: AgentId, body: SendMessages, state: State) -> Response:
    """Say something to an agent and return the run, which goes on in the background."""
    return json_response(await start_in_background(agent_id, agent_id, body, state))


@router.post("/preview-raw-payload")
async def preview(agent_id: AgentId, body: SendMessages, state: State) -> dict[str, Any]:
    """Return the provider's request with which the message would be sent; no model is asked and nothing is stored."""
    return await preview_request(read_request(agent_id, agent_id, body, state), state)


@router.post("/cancel")
async def cancel(agent_id: AgentId, state: State, body: CancelRuns | None = None) -> dict[str, str]:
    """Cancel the agent's runs, those that are named or all that are under way, and say what became of each.

    What waits for a decision because of them is settled, so that the agent can be talked to again.
    """
    run_ids = body.run_ids if body is not None else None
    wanted = RunFilter(agent_ids=[agent_id], statuses=() if run_ids is not None else UNFINISHED, ids=run_ids)
    outcomes = await cancel_runs(wanted, state)
    await state.store.write(lambda transaction: settle_abandoned_of_agent(transaction, agent_id, run_ids))
    return {**dict.fromkeys(run_ids or (), "not a run of this agent"), **outcomes}


@router.get("", response_model=list[AnyMessage])
async def list_all(
    agent_id: AgentId,
    page: Newest,
    scan: Scan,
    conversation_id: str | None = None,
    use_assistant_message: bool = True,
    assistant_message_tool_name: str = "send_message",
    assistant_message_tool_kwarg: str = "message",
    include_return_message_types: Annotated[list[MessageType] | None, Query()] = None,
    include_compaction_messages: bool = False,
    group_id: str | None = None,
    include_err: IncludeErrors = None,
) -> Response:
    """List the messages of all of the agent's conversations by time: without an order the newest ones, oldest first.

    With `conversation_id` those of one, which may be `default`; with `group_id` those of the one in that group.
    """
    shape = MessageShape(
        use_assistant_message=use_assistant_message,
        tool_name=assistant_message_tool_name,
        tool_argument=assistant_message_tool_kwarg,
        summaries=include_compaction_messages,
    )
    types, summaries = include_return_message_types, include_compaction_messages
    spoken = assistant_message_tool_name if use_assistant_message else None

    def show(found: Sequence[Message] | None) -> Response | None:
        return None if found is None else json_response(show_messages(found, shape, types))

    async def read(transaction: Transaction) -> Sequence[Message] | None:
        """Return those of one conversation; None where it takes all of them."""
        wanted = named(conversation_id, agent_id) if conversation_id else None
        if group_id is not None:
            await find_agent(transaction, agent_id)
            wanted = await conversation_in(transaction, group_id, agent_id)
            if wanted is None:
                return []
        conversation = await find_conversation(transaction, wanted or agent_id)
        if conversation.agent_id != agent_id:
            raise NotFound(f"Conversation {conversation.id} is none of agent {agent_id}")
        if wanted is None and await has_others(transaction, agent_id):
            return None
        return await list_messages(transaction, conversation.id, page, types, summaries=summaries, spoken=spoken)

    async def read_all(transaction: Transaction) -> Sequence[Message]:
        return await list_agent_messages(transaction, agent_id, page, types, summaries=summaries, spoken=spoken)

    short = page.limit <= SHORT_PAGE and types is None
    shown = await scan(read, show, short=short) or await scan(read_all, show)
    assert shown is not None
    return shown
