"""OpenAI's conversations: those of agents, under the address of OpenAI's protocols.

Under `/v1/conversations` the wire format has its own; a conversation is the same one under both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from folkmoot.agents.conversations import create_conversation
from folkmoot.agents.deletion import remove_conversation
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.conversations import Conversation, append_messages, delete_message, find_conversation
from folkmoot.conversations.listing import update_conversation
from folkmoot.conversations.messages import Message, find_in_conversation, list_messages
from folkmoot.errors import BadRequest, InvalidInput, NotFound
from folkmoot.identifiers import check_id
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.routes.conversations import cancel_in_conversation, named
from folkmoot.server.scanning import Scan
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import Order, json_response
from folkmoot.server.wire.conversation_items import (
    AGENT,
    ConversationOfItems,
    CreateConversationOfItems,
    DeletedConversation,
    NewItems,
    UpdateConversationOfItems,
    items_of,
)
from folkmoot.server.wire.response_input import InputItem
from folkmoot.server.wire.response_output import message_of_item
from folkmoot.server.wire.responses import ItemList
from folkmoot.server.wire.sending import SendMessages
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page, has_left

router = APIRouter(prefix="/openai/v1/conversations", tags=["responses"], route_class=BodyRoute)


@router.post("", response_model=ConversationOfItems)
async def create(body: CreateConversationOfItems, state: State) -> Response:
    """Begin a conversation of the agent that the metadata name, with what was said in it before."""
    if (agent_id := body.metadata.get(AGENT)) is None:
        raise InvalidInput(
            "metadata: a conversation is one agent's; name it as metadata={'agent_id': 'agent-…'}. "
            "Without one, POST /openai/v1/responses begins a conversation of the agent that is its model."
        )
    check_id("agent", agent_id, f"metadata.{AGENT}")
    said = _messages(body.items or ())

    async def write(transaction: Transaction) -> Conversation:
        configuration = {"metadata": body.metadata}
        begun = await create_conversation(transaction, agent_id, state.author, configuration=configuration)
        if said:
            await append_messages(transaction, begun.id, said, None)
        return begun

    return json_response(ConversationOfItems.of(await state.store.write(write)))


@router.get("/{conversation_id}", response_model=ConversationOfItems)
async def retrieve(conversation_id: str, state: State) -> Response:
    """Return a conversation."""
    return json_response(ConversationOfItems.of(await _find(conversation_id, state)))


@router.post("/{conversation_id}", response_model=ConversationOfItems)
async def update(conversation_id: str, body: UpdateConversationOfItems, state: State) -> Response:
    """Give a conversation other metadata; whose it is stays."""
    conversation = await _find(conversation_id, state)
    if body.metadata.get(AGENT, conversation.agent_id) != conversation.agent_id:
        raise BadRequest(
            f"metadata.{AGENT}: {conversation.id} is a conversation of {conversation.agent_id}, and stays so."
        )
    changed = await state.store.write(
        lambda transaction: update_conversation(transaction, conversation.id, {}, {"metadata": body.metadata})
    )
    return json_response(ConversationOfItems.of(changed))


@router.delete("/{conversation_id}", response_model=DeletedConversation)
async def delete(conversation_id: str, state: State) -> Response:
    """Delete a conversation with what was said in it; a turn of it that is under way is cancelled."""
    conversation = await _find(conversation_id, state)
    if conversation.id != conversation.agent_id:
        await cancel_in_conversation(conversation.id, state)
    await remove_conversation(state.store, conversation.id, state.author)
    return json_response(DeletedConversation(id=conversation.id))


@router.get("/{conversation_id}/items", response_model=ItemList)
async def list_items(
    conversation_id: str,
    scan: Scan,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
    order: Order = "desc",
) -> Response:
    """List what was said and done in a conversation, the newest first unless the request says otherwise."""
    which = named(conversation_id)

    async def read(transaction: Transaction) -> list[dict[str, Any]]:
        await find_conversation(transaction, which)
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        if after is not None:
            items, cursor = await _behind(transaction, which, after, order)
        while len(items) <= limit:
            found = await list_messages(transaction, which, Page(LARGEST_PAGE, cursor, None, order))
            items += [item for message in found for item in _in_order(message, order)]
            if len(found) < LARGEST_PAGE:
                break
            cursor = found[-1].id
        return items

    return await scan(read, lambda items: json_response(ItemList.of(items, limit)))


@router.post("/{conversation_id}/items", response_model=ItemList)
async def create_items(conversation_id: str, body: NewItems, state: State) -> Response:
    """Say something in a conversation without asking the agent, behind a turn of it that is under way."""
    said = await _add(await _find(conversation_id, state), _messages(body.items), state)
    return json_response(ItemList.of([item for message in said for item in items_of(message)], LARGEST_PAGE))


@router.get("/{conversation_id}/items/{item_id}")
async def retrieve_item(conversation_id: str, item_id: str, state: State) -> dict[str, Any]:
    """Return an item."""
    which = named(conversation_id)
    message = await state.store.read(lambda transaction: _message_of(transaction, which, item_id))
    return next(item for item in items_of(message) if item["id"] == item_id)


@router.delete("/{conversation_id}/items/{item_id}", response_model=ConversationOfItems)
async def delete_item(conversation_id: str, item_id: str, state: State) -> Response:
    """Delete an item from a conversation; forks of it keep theirs. Calls of one request go together."""
    which = named(conversation_id)

    async def write(transaction: Transaction) -> Conversation:
        message = await _message_of(transaction, which, item_id)
        await delete_message(transaction, which, message.id)
        return await find_conversation(transaction, which)

    return json_response(ConversationOfItems.of(await state.store.write(write)))


def _messages(items: Sequence[InputItem]) -> list[Message]:
    """Return what is said, as it is stored.

    Raises:
        RequestValidationError: an item says nothing, or holds a picture that cannot be sent.
    """
    try:
        sent = SendMessages.model_validate({"messages": [item.to_create() for item in items]}) if items else None
    except ValidationError as error:
        in_items = [{**each, "loc": ("items", *each["loc"][1:])} for each in error.errors()]
        raise RequestValidationError(in_items) from error
    return sent.to_messages() if sent is not None else []


async def _find(conversation_id: str, state: ServerState) -> Conversation:
    which = named(conversation_id)
    return await state.store.read(lambda transaction: find_conversation(transaction, which))


async def _add(conversation: Conversation, said: list[Message], state: ServerState) -> list[Message]:
    async def nothing_else(_: Transaction) -> None:
        """Store what is said, and no more."""

    details = {"metadata": {"run_type": "conversation_items"}}
    request = TurnRequest(conversation.agent_id, conversation.id, messages=said, details=details)
    await state.runs.record(request, nothing_else)
    return said


async def _message_of(transaction: Transaction, conversation_id: str, item_id: str) -> Message:
    """Return the message that an item shows.

    Raises:
        NotFound: the conversation has no such item.
    """
    message_id = message_of_item(item_id)
    if message_id is not None:
        message = await find_in_conversation(transaction, conversation_id, message_id)
        if message is not None and any(item["id"] == item_id for item in items_of(message)):
            return message
    raise NotFound(f"Conversation {conversation_id} has no item {item_id[:100]!r}.")


def _in_order(message: Message, order: Order) -> list[dict[str, Any]]:
    """Return a message's items in the order of a list; the agent's instructions, which begin it, are none of them."""
    items = items_of(message) if message.sequence > 0 else []
    return items if order == "asc" else items[::-1]


async def _behind(
    transaction: Transaction, conversation_id: str, item_id: str, order: Order
) -> tuple[list[dict[str, Any]], str]:
    """Return what of an item's message stands behind it, and the message; of one that was deleted nothing is left.

    Raises:
        NotFound: the conversation has no such item, and had none of late.
    """
    message_id = message_of_item(item_id)
    if message_id is not None and await has_left(transaction, message_id, within=conversation_id):
        return [], message_id
    message = await _message_of(transaction, conversation_id, item_id)
    items = _in_order(message, order)
    return items[[item["id"] for item in items].index(item_id) + 1 :], message.id
