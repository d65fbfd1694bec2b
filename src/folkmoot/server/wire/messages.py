"""Messages on the wire: what a client sends, and each type of message that it gets back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from folkmoot.conversations.messages import Message, MessageType
from folkmoot.server.wire.common import Reply, Request, Text, moment


class TextPart(Request):
    """Text in a message."""

    type: Literal["text"] = "text"
    text: Text


class UrlImage(Request):
    """A picture at an address."""

    type: Literal["url"] = "url"
    url: Text


class Base64Image(Request):
    """A picture in the request itself."""

    type: Literal["base64"] = "base64"
    media_type: Text
    data: Text
    detail: str | None = None


class ImagePart(Request):
    """A picture in a message."""

    type: Literal["image"]
    source: Annotated[UrlImage | Base64Image, Field(discriminator="type")]


Part: TypeAlias = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _not_empty(content: str | list[Part]) -> str | list[Part]:
    if not content:
        raise ValueError("is empty; write what the agent shall answer")
    return content


Content: TypeAlias = Annotated[Text | list[Part], AfterValidator(_not_empty)]


class MessageCreate(Request):
    """Something said to an agent."""

    type: Literal["message"] | None = "message"
    role: Literal["user", "system", "assistant"]
    content: Content
    name: Text | None = None
    otid: Text | None = None
    sender_id: Text | None = None
    group_id: str | None = None
    batch_item_id: str | None = None

    def to_message(self) -> Message:
        """Return the message as it is stored."""
        content: Any = self.content
        if not isinstance(content, str):
            content = [part.model_dump(exclude_none=True) for part in content]
        if self.role != "user" and not isinstance(content, str):
            content = "\n".join(part["text"] for part in content if part["type"] == "text")
        types: dict[str, MessageType] = {
            "user": "user_message",
            "system": "system_message",
            "assistant": "assistant_message",
        }
        return Message(types[self.role], {"content": content}, name=self.name, otid=self.otid, sender_id=self.sender_id)


class SendMessages(Request):
    """A request for a turn."""

    messages: list[MessageCreate] | None = None
    input: Content | None = Field(None, description="Short for one user message.")
    max_steps: int | None = Field(None, ge=1, le=1000, description="Most model calls in this turn.")
    use_assistant_message: bool = True
    assistant_message_tool_name: str = "send_message"
    assistant_message_tool_kwarg: str = "message"
    include_return_message_types: list[MessageType] | None = None
    override_model: Text | None = Field(None, description="Handle of the model for this turn only.")
    override_system: Text | None = Field(None, description="System prompt for this turn only.")
    streaming: bool = False
    background: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> SendMessages:
        if (self.messages is None) == (self.input is None):
            raise ValueError("name either `messages` or `input`, and not both")
        return self

    def to_messages(self) -> list[Message]:
        """Return what was said as it is stored."""
        if self.input is not None:
            return [MessageCreate(role="user", content=self.input).to_message()]
        return [message.to_message() for message in self.messages or ()]


class MessageShape(Reply):
    """How assistant messages of the older kind are shown: a call of one tool is what the agent says."""

    use_assistant_message: bool = True
    tool_name: str = "send_message"
    tool_argument: str = "message"


class MessageReply(Reply):
    """A message; the fields behind `run_id` are those of its type."""

    id: str
    date: datetime
    name: str | None
    message_type: MessageType
    otid: str | None
    sender_id: str | None
    step_id: str | None
    is_err: bool | None
    seq_id: int | None
    run_id: str | None


class SystemMessage(MessageReply):
    """What an agent was told to be."""

    content: str


class UserMessage(MessageReply):
    """What somebody said to the agent."""

    content: str | list[dict[str, Any]]


class AssistantMessage(MessageReply):
    """What the agent said."""

    content: str


class ReasoningMessage(MessageReply):
    """What the agent's model thought."""

    source: str
    reasoning: str
    signature: str | None


class ToolCall(Reply):
    """A call of a tool; `arguments` is JSON text."""

    name: str
    arguments: str
    tool_call_id: str


class ToolCallMessage(MessageReply):
    """The agent calls a tool."""

    tool_call: ToolCall
    tool_calls: list[ToolCall]


class ToolReturn(Reply):
    """What one tool call came to."""

    type: str
    tool_return: str
    status: str
    tool_call_id: str
    stdout: list[str] | None
    stderr: list[str] | None


class ToolReturnMessage(MessageReply):
    """What a tool call came to."""

    tool_return: str
    status: str
    tool_call_id: str
    stdout: list[str] | None
    stderr: list[str] | None
    tool_returns: list[ToolReturn]


AnyMessage: TypeAlias = (
    SystemMessage | UserMessage | AssistantMessage | ReasoningMessage | ToolCallMessage | ToolReturnMessage
)


class StopReason(Reply):
    """Why a turn stopped."""

    message_type: Literal["stop_reason"] = "stop_reason"
    stop_reason: str


class UsageStatistics(Reply):
    """Tokens that a turn took, as the provider counted them."""

    message_type: Literal["usage_statistics"] = "usage_statistics"
    completion_tokens: int
    prompt_tokens: int
    total_tokens: int
    step_count: int
    run_ids: list[str] | None = None
    cached_input_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    context_tokens: int | None


class TurnReply(Reply):
    """A whole turn."""

    messages: list[AnyMessage]
    stop_reason: StopReason
    usage: UsageStatistics
    logprobs: None = None
    turns: None = None


def show_messages(
    messages: Sequence[Message], shape: MessageShape, types: Sequence[str] | None = None
) -> list[AnyMessage]:
    """Show stored messages, only those of `types` when given."""
    shown = [show_message(message, shape) for message in messages if not _is_hidden(message, shape)]
    return [message for message in shown if types is None or message.message_type in types]


def _is_hidden(message: Message, shape: MessageShape) -> bool:
    """Tell whether it is what the tool that speaks for the agent returned, which nobody wants to see."""
    return (
        shape.use_assistant_message
        and message.message_type == "tool_return_message"
        and message.name == shape.tool_name
        and message.body["status"] == "success"
    )


def show_message(message: Message, shape: MessageShape) -> AnyMessage:
    """Show one stored message."""
    body = message.body
    match message.message_type:
        case "system_message":
            return SystemMessage(**_common(message), content=body["content"])
        case "user_message":
            return UserMessage(**_common(message), content=body["content"])
        case "assistant_message":
            return AssistantMessage(**_common(message), content=body["content"])
        case "reasoning_message":
            return ReasoningMessage(
                **_common(message),
                source=body.get("source", "reasoner_model"),
                reasoning=body["reasoning"],
                signature=body.get("signature"),
            )
        case "tool_call_message":
            return _show_call(message, shape)
        case "tool_return_message":
            fields = {name: body[name] for name in ("tool_return", "status", "tool_call_id", "stdout", "stderr")}
            return ToolReturnMessage(**_common(message), **fields, tool_returns=[ToolReturn(type="tool", **fields)])
    raise AssertionError(f"no wire form for {message.message_type}")


def _show_call(message: Message, shape: MessageShape) -> AnyMessage:
    call = ToolCall(**message.body["tool_call"])
    if shape.use_assistant_message and call.name == shape.tool_name:
        common = {**_common(message), "message_type": "assistant_message"}
        return AssistantMessage(**common, content=_argument(call.arguments, shape.tool_argument))
    return ToolCallMessage(**_common(message), tool_call=call, tool_calls=[call])


def _argument(arguments: str, name: str) -> str:
    try:
        values = json.loads(arguments)
    except ValueError:
        return arguments
    return str(values.get(name, arguments)) if isinstance(values, Mapping) else arguments


def _common(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "date": moment(message.created_at),
        "name": message.name,
        "message_type": message.message_type,
        "otid": message.otid,
        "sender_id": message.sender_id,
        "step_id": message.step_id,
        "is_err": None,
        "seq_id": None,
        "run_id": message.run_id,
    }
