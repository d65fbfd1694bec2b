"""Messages of groups: what is said to a group and by its agents, at once or as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.agents.deletion import remove_messages
from folkmoot.agents.events import TurnEnd, TurnFailed
from folkmoot.conversations.messages import Message, MessageType
from folkmoot.conversations.search import FoundMessage, rewrite_message
from folkmoot.errors import FolkmootError, InvalidInput, NotFound
from folkmoot.groups.conversations import SaidMessage, conversations_of, find_said, list_said
from folkmoot.groups.turns import GroupTurn
from folkmoot.runs.reading import RunFilter
from folkmoot.runs.runs import UNFINISHED
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.routes.all_messages import UpdateMessage, changes_of
from folkmoot.server.scanning import SHORT_PAGE, Scan
from folkmoot.server.sending import DONE, cancel_runs, read_request
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import MessageId, json_response, page_of
from folkmoot.server.wire.groups import GroupId
from folkmoot.server.wire.messages import AnyMessage, MessageShape, StopReason, TurnReply, show_message, show_messages
from folkmoot.server.wire.sending import SendMessages
from folkmoot.server.wire.streams import StreamShape, show_usage
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/groups/{group_id}", tags=["groups"], route_class=BodyRoute)

NewestFirst = Annotated[Page, Depends(page_of("desc", 10))]


@router.post("/messages", response_model=TurnReply)
async def send(group_id: GroupId, body: SendMessages, state: State) -> Response:
    """Say something to a group and return all that its agents say, or a stream of it."""
    if body.streaming:
        return await stream(group_id, body, state)
    turn = await _open(group_id, body, state)
    messages: list[Message] = []
    end: TurnEnd | None = None
    async with aclosing(turn.take(streamed=False)) as events:
        async for said in events:
            if isinstance(said.event, Message):
                messages.append(spoken(said.agent.id, said.agent.name, said.event))
            elif isinstance(said.event, TurnEnd):
                end = said.event
    assert end is not None, "a turn that fails raises"
    return json_response(
        TurnReply.model_construct(
            messages=show_messages(messages, body.shape(), body.include_return_message_types),
            stop_reason=StopReason(stop_reason=end.stop_reason),
            usage=show_usage(end),
        )
    )


@router.post("/messages/stream")
async def stream(group_id: GroupId, body: SendMessages, state: State) -> Response:
    """Say something to a group and return a stream of what its agents say, each under its name."""
    return EventStream(_events(await _open(group_id, body, state), body))


@router.post("/messages/cancel")
async def cancel(group_id: GroupId, state: State) -> dict[str, str]:
    """Cancel what the group's agents are saying, and say what became of each run."""
    found = await state.store.read(lambda transaction: conversations_of(transaction, group_id))
    outcomes: dict[str, str] = {}
    for conversation_id in found:
        outcomes |= await cancel_runs(RunFilter(conversation_id=conversation_id, statuses=UNFINISHED), state)
    return outcomes


@router.get("/messages", response_model=list[AnyMessage])
async def list_all(
    group_id: GroupId,
    page: NewestFirst,
    scan: Scan,
    use_assistant_message: bool = True,
    assistant_message_tool_name: str = "send_message",
    assistant_message_tool_kwarg: str = "message",
    include_return_message_types: Annotated[list[MessageType] | None, Query()] = None,
) -> Response:
    """List what was said to the group and in it, the newest first unless the request says otherwise."""
    shape = MessageShape(
        use_assistant_message=use_assistant_message,
        tool_name=assistant_message_tool_name,
        tool_argument=assistant_message_tool_kwarg,
    )
    types = include_return_message_types

    def shown(found: list[SaidMessage]) -> Response:
        messages = [spoken(each.agent_id, each.agent_name, each.message) for each in found]
        return json_response(show_messages(messages, shape, types))

    return await scan(
        lambda transaction: list_said(transaction, group_id, page, types), shown, short=page.limit <= SHORT_PAGE
    )


@router.patch("/messages/{message_id}", response_model=AnyMessage)
async def update(group_id: GroupId, message_id: MessageId, body: UpdateMessage, state: State) -> Response:
    """Change what a message of the group says, for later turns."""

    async def write(transaction: Transaction) -> tuple[SaidMessage, FoundMessage]:
        said = await find_said(transaction, group_id, message_id)
        if said is None:
            raise NotFound(f"Group {group_id} has no message {message_id}.")
        return said, await rewrite_message(transaction, message_id, changes_of(said.message, body))

    said, found = await state.store.write(write)
    return json_response(show_message(spoken(said.agent_id, said.agent_name, found.message), MessageShape()))


@router.patch("/reset-messages")
async def reset(group_id: GroupId, state: State) -> None:
    """Delete what was said in the group, from the conversations that its agents have there and nowhere else."""
    for conversation_id in await state.store.read(lambda transaction: conversations_of(transaction, group_id)):
        await remove_messages(state.store, conversation_id)


def spoken(agent_id: str, agent_name: str, message: Message) -> Message:
    """Return a message under the name of the agent that says it; what somebody says to the group stays as it is."""
    if message.message_type in ("user_message", "system_message"):
        return message
    name = message.name if message.message_type == "tool_return_message" else agent_name
    return replace(message, name=name, sender_id=agent_id)


async def _open(group_id: str, body: SendMessages, state: ServerState) -> GroupTurn:
    """Prepare a turn of the group; what can be refused is refused here."""
    for name in ("client_tools", "callback_url"):
        if getattr(body, name) is not None:
            raise InvalidInput(f"{name}: a turn of a group takes none; talk to one of its agents with it.")
    if body.background:
        raise InvalidInput("background: a turn of a group is read while it goes on; leave it out.")
    request = read_request(group_id, group_id, body, state, "group_send_message")
    if request.decisions is not None:
        raise InvalidInput(
            "messages: an approval is sent to the conversation of the agent that asks: "
            "POST /v1/conversations/{conversation_id}/messages"
        )
    turn = GroupTurn(state.runs, state.store, state.author, group_id, request)
    await turn.open()
    return turn


async def _events(turn: GroupTurn, body: SendMessages) -> AsyncIterator[ServerSentEvent]:
    shape = StreamShape(body.shape(), body.include_pings, body.include_return_message_types)
    number = 0
    try:
        async with aclosing(turn.take(streamed=True)) as events:
            async for said in events:
                number += 1
                event = said.event
                if isinstance(event, Message):
                    event = spoken(said.agent.id, said.agent.name, event)
                speaker = {"name": said.agent.name, "sender_id": said.agent.id}
                for line in replace(shape, speaker=speaker).lines(number, event):
                    yield ServerSentEvent(line.encode())
    except FolkmootError as error:  # between two speakers: a group or an agent that is gone, a database that is away
        failed = TurnFailed("", "error", type(error).__name__, error.message)
        for line in shape.lines(number + 1, failed):
            yield ServerSentEvent(line.encode())
    yield DONE
