"""OpenAI's conversations on the wire: an agent's conversation, and the items of which it consists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from folkmoot.conversations.conversations import Conversation
from folkmoot.conversations.messages import Message
from folkmoot.server.wire.common import Reply, Request, Text
from folkmoot.server.wire.response_input import InputItem, input_parts, show_input
from folkmoot.server.wire.response_output import text_item
from folkmoot.server.wire.responses import MOST_METADATA

MOST_NEW_ITEMS = 20
"""Items that are added at once, as the standard has it."""

AGENT = "agent_id"
"""The key of a conversation's metadata that says whose it is."""

Metadata = Annotated[
    dict[Annotated[Text, Field(max_length=64)], Annotated[Text, Field(max_length=512)]], Field(max_length=MOST_METADATA)
]


class NewItem(InputItem):
    """What is said in a conversation without a turn: a message, of whomever; calls and thoughts come of turns."""

    type: Literal["message"] = "message"


class NewItems(Request):
    """What is said in a conversation without a turn."""

    items: list[NewItem] = Field(min_length=1, max_length=MOST_NEW_ITEMS)


class CreateConversationOfItems(Request):
    """A new conversation."""

    metadata: Metadata = Field({}, description="`agent_id` names the agent whose conversation it is.")
    items: list[NewItem] | None = Field(None, max_length=MOST_NEW_ITEMS)


class UpdateConversationOfItems(Request):
    """Other metadata, in the place of those that a conversation has."""

    metadata: Metadata


class ConversationOfItems(Reply):
    """A conversation. Its metadata are those that were given, and the agent."""

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str]

    @classmethod
    def of(cls, conversation: Conversation) -> ConversationOfItems:
        """Show a conversation."""
        given: Mapping[str, str] = conversation.configuration.get("metadata") or {}
        metadata = {**given, AGENT: conversation.agent_id}
        return cls(id=conversation.id, created_at=conversation.created_at // 1_000_000, metadata=metadata)


class DeletedConversation(Reply):
    """What was deleted."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: bool = True


def items_of(message: Message) -> list[dict[str, Any]]:
    """Return the items that a message is: none for what nobody said or did; a call for each that it asks to approve."""
    body, uuid = message.body, message.id.partition("-")[2]
    if (said := show_input(message)) is not None:
        return [said]
    if message.message_type == "assistant_message":
        return [text_item("message", message.id, body["content"])]
    if message.message_type == "reasoning_message":
        return [text_item("reasoning", message.id, body["reasoning"])]
    if message.message_type == "tool_call_message":
        return [_call(f"fc_{uuid}", body["tool_call"])]
    if message.message_type == "approval_request_message":
        return [_call(f"fc_{uuid}_{place}", call) for place, call in enumerate(body["tool_calls"])]
    if message.message_type == "tool_return_message":
        output = body["tool_return"]
        shown = output if isinstance(output, str) else input_parts(output)
        about = {"id": f"fco_{uuid}", "type": "function_call_output", "status": "completed"}
        return [{**about, "call_id": body["tool_call_id"], "output": shown}]
    return []


def _call(item_id: str, call: Mapping[str, Any]) -> dict[str, Any]:
    about = {"id": item_id, "type": "function_call", "status": "completed"}
    return {**about, "call_id": call["tool_call_id"], "name": call["name"], "arguments": call["arguments"]}
