"""Messages of all agents: search, list, retrieve, rewrite."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from folkmoot.conversations.messages import Message, MessageType
from folkmoot.conversations.search import (
    ROLES,
    FoundMessage,
    MessageSearch,
    find_message,
    list_all_messages,
    rewrite_message,
    search_for,
)
from folkmoot.errors import BadRequest, NotFound
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import SHORT_PAGE, Scan
from folkmoot.server.state import State
from folkmoot.server.wire.common import AgentId, MessageId, Reply, Request, Text, json_response, moment, page_of
from folkmoot.server.wire.messages import AnyMessage, MessageShape, show_message, show_messages
from folkmoot.server.wire.sending import Content, content_of
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/messages", tags=["messages"], route_class=BodyRoute)
agents_router = APIRouter(prefix="/v1/agents", tags=["messages"], route_class=BodyRoute)

NewestFirst = Annotated[Page, Depends(page_of("desc", 100))]


class SearchRequest(Request):
    """What is looked for; the search is by words, whatever the mode that is asked for."""

    query: Text | None = None
    search_mode: Literal["vector", "fts", "hybrid"] = "fts"
    roles: Annotated[list[Literal["user", "assistant", "tool"]], Field(max_length=100)] | None = None
    agent_id: Text | None = None
    conversation_id: Text | None = None
    limit: int = Field(50, ge=1, le=100)
    start_date: datetime | None = None
    end_date: datetime | None = None

    def to_search(self) -> MessageSearch:
        """Return the search."""
        return MessageSearch(
            query=self.query or "",
            agent_id=self.agent_id,
            conversation_id=self.conversation_id,
            roles=self.roles or (),
            start=None if self.start_date is None else clock.from_datetime(self.start_date),
            end=None if self.end_date is None else clock.from_datetime(self.end_date),
            limit=self.limit,
        )


class FoundReply(Reply):
    """A message that was found, and whose it is."""

    message_type: str
    content: Any
    message_id: str
    agent_id: str
    conversation_id: str | None
    created_at: datetime

    @classmethod
    def of(cls, found: FoundMessage) -> FoundReply:
        """Show a message that was found; what a tool returned is shown as text."""
        message = found.message
        return cls(
            message_type=message.message_type,
            content=message.body.get("content", message.body.get("tool_return")),
            message_id=message.id,
            agent_id=found.agent_id,
            conversation_id=None if found.conversation_id == found.agent_id else found.conversation_id,
            created_at=moment(message.created_at),
        )


class RankedReply(Reply):
    """A message that was found, with its rank."""

    embedded_text: str
    message: dict[str, Any]
    fts_rank: int | None
    vector_rank: int | None = None
    rrf_score: float


class UpdateMessage(Request):
    """What a message shall say."""

    message_type: MessageType | None = None
    content: Content | None = None
    reasoning: Text | None = None


@router.post("/search", response_model=list[FoundReply])
async def search(body: SearchRequest, state: State, scan: Scan) -> Response:
    """Find messages by their words, the best match first."""
    return await scan(
        await search_for(state.store, body.to_search()),
        lambda found: json_response([FoundReply.of(each) for each in found]),
    )


@agents_router.post("/messages/search", response_model=list[RankedReply])
async def search_ranked(body: SearchRequest, state: State, scan: Scan) -> Response:
    """Find messages by their words, the best match first, with their ranks."""
    return await scan(await search_for(state.store, body.to_search()), _ranked)


def _ranked(found: Sequence[FoundMessage]) -> Response:
    roles = {message_type: role for role, message_type in ROLES.items()}
    replies = []
    for rank, each in enumerate(found, 1):
        shown = FoundReply.of(each)
        message = {
            "id": shown.message_id,
            "role": roles[shown.message_type],
            "content": [{"type": "text", "text": shown.content}] if isinstance(shown.content, str) else shown.content,
            "agent_id": shown.agent_id,
            "conversation_id": shown.conversation_id,
            "created_at": shown.created_at,
        }
        replies.append(
            RankedReply(embedded_text=str(shown.content), message=message, fts_rank=rank, rrf_score=1 / (60 + rank))
        )
    return json_response(replies)


@router.get("", response_model=list[AnyMessage])
async def list_all(
    page: NewestFirst,
    scan: Scan,
    conversation_id: str | None = None,
    include_return_message_types: Annotated[list[MessageType] | None, Query()] = None,
) -> Response:
    """List the messages of all agents, the newest first unless the request says otherwise."""
    types = include_return_message_types
    return await scan(
        lambda transaction: list_all_messages(transaction, page, conversation_id, types),
        lambda found: json_response(list(show_messages([each.message for each in found], MessageShape(), types))),
        short=page.limit <= SHORT_PAGE and conversation_id is None and types is None,
    )


@router.get("/{message_id}", response_model=list[AnyMessage])
async def retrieve(message_id: MessageId, state: State) -> Response:
    """Return a message, in a list: older servers kept several under one id."""
    found = await state.store.read(lambda transaction: find_message(transaction, message_id))
    return json_response(list(show_messages([found.message], MessageShape())))


@agents_router.patch("/{agent_id}/messages/{message_id}", response_model=AnyMessage)
async def update(agent_id: AgentId, message_id: MessageId, body: UpdateMessage, state: State) -> Response:
    """Change what a message says, for later turns."""

    async def write(transaction: Transaction) -> FoundMessage:
        found = await find_message(transaction, message_id)
        if found.agent_id != agent_id:
            raise NotFound(f"Agent {agent_id} has no message {message_id}.")
        return await rewrite_message(transaction, message_id, changes_of(found.message, body))

    found = await state.store.write(write)
    return json_response(show_message(found.message, MessageShape()))


def changes_of(message: Message, body: UpdateMessage) -> dict[str, Any]:
    """Return what a request changes of a message.

    Raises:
        BadRequest: such a message cannot be changed in this way.
    """
    kind = message.message_type
    if kind == "reasoning_message" and body.reasoning is not None:
        return {"reasoning": body.reasoning}
    if kind in ("user_message", "assistant_message", "system_message") and body.content is not None:
        content = content_of(body.content)
        if kind != "user_message" and not isinstance(content, str):
            raise BadRequest(f"content: a {kind} is text only.")
        return {"content": content}
    raise BadRequest(f"message_type: a {kind} cannot be changed in this way; send content, or reasoning for reasoning.")
