"""Messages on the wire: each type of message that a client gets back, and a whole turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

from folkmoot.conversations.messages import Message, MessageType
from folkmoot.server.wire.common import Reply, moment
from folkmoot.store import clock
from folkmoot.tools.builtin.proposed import arguments_of


class MessageShape(Reply):
    """How assistant messages of the older kind are shown: a call of one tool is what the agent says."""

    use_assistant_message: bool = True
    tool_name: str = "send_message"
    tool_argument: str = "message"
    summaries: bool = False
    """Whether compactions and their summaries are shown."""

    @classmethod
    def of_run(cls, details: Mapping[str, Any]) -> MessageShape:
        """Return how the messages of a run are shown, by what its row says of the request."""
        asked, shown = details.get("request_config") or {}, details.get("stream") or {}
        default = cls()
        return cls(
            use_assistant_message=asked.get("use_assistant_message", default.use_assistant_message),
            tool_name=asked.get("assistant_message_tool_name", default.tool_name),
            tool_argument=asked.get("assistant_message_tool_kwarg", default.tool_argument),
            summaries=shown.get("summaries", False),
        )


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
    tool_return: str | list[dict[str, Any]]
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


class InnerCall(Reply):
    """A call that code made of one of its agent's tools, as far as it is kept."""

    name: str
    arguments: str
    tool_return: str
    status: str


class CodeReturnMessage(ToolReturnMessage):
    """What code came to that called tools itself."""

    inner_calls: list[InnerCall]


class ApprovalRequestMessage(MessageReply):
    """Tool calls wait for somebody's decision, or for the client to run them."""

    tool_call: ToolCall
    tool_calls: list[ToolCall]


class ApprovalResponseMessage(MessageReply):
    """Somebody decided about waiting tool calls."""

    approvals: list[dict[str, Any]] | None
    approve: bool | None
    approval_request_id: str | None
    reason: str | None


class HiddenReasoningMessage(MessageReply):
    """The model thought, and its provider does not show what."""

    state: str = "omitted"
    hidden_reasoning: str | None = None


class SummaryMessage(MessageReply):
    """What was said before, in short."""

    summary: str
    compaction_stats: dict[str, Any] | None


class EventMessage(MessageReply):
    """Something happens to the conversation."""

    event_type: str
    event_data: dict[str, Any]


AnyMessage: TypeAlias = (
    SystemMessage
    | UserMessage
    | AssistantMessage
    | ReasoningMessage
    | HiddenReasoningMessage
    | ToolCallMessage
    | ToolReturnMessage
    | CodeReturnMessage
    | ApprovalRequestMessage
    | ApprovalResponseMessage
    | SummaryMessage
    | EventMessage
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


COMPACTION = frozenset({"summary_message", "event_message"})
"""Types of the messages about a compaction, which the older clients do not know."""


def show_messages(
    messages: Sequence[Message], shape: MessageShape, types: Sequence[str] | None = None
) -> list[AnyMessage]:
    """Show stored messages, only those of `types` when given."""
    if types is not None and not COMPACTION.isdisjoint(types):
        shape = shape.model_copy(update={"summaries": True})
    shown = [show_message(message, shape) for message in messages if not _is_hidden(message, shape)]
    return [message for message in shown if types is None or message.message_type in types]


def _is_hidden(message: Message, shape: MessageShape) -> bool:
    """Tell whether it is of a compaction, or what the tool that speaks for the agent returned, which nobody wants."""
    if message.message_type in COMPACTION:
        return not shape.summaries
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
            return UserMessage(**_common(message), content=_text_alone(body["content"]))
        case "assistant_message":
            return AssistantMessage(**_common(message), content=body["content"])
        case "reasoning_message" if not body["reasoning"]:  # its provider shows nobody what was thought
            return HiddenReasoningMessage(**{**_common(message), "message_type": "hidden_reasoning_message"})
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
            returned = {**_common(message), **fields, "tool_returns": [_tool_return(fields, body)]}
            inner = body.get("inner_calls")
            return CodeReturnMessage(**returned, inner_calls=inner) if inner else ToolReturnMessage(**returned)
        case "approval_request_message":
            return show_request(message)
        case "approval_response_message":
            return ApprovalResponseMessage(**_common(message), **body)
        case "summary_message":
            return SummaryMessage(
                **_common(message), summary=body["summary"], compaction_stats=body.get("compaction_stats")
            )
        case "event_message":
            return EventMessage(**_common(message), **body)
    raise AssertionError(f"no wire form for {message.message_type}")


def _tool_return(fields: Mapping[str, Any], body: Mapping[str, Any]) -> ToolReturn:
    """Return what a call came to: its text, or text and pictures as parts of content."""
    pictures = body.get("pictures")
    content = [{"type": "text", "text": fields["tool_return"]}, *pictures] if pictures else fields["tool_return"]
    return ToolReturn(**{"type": "tool", **fields, "tool_return": content})


def show_unsaid_return(
    name: str,
    text: str,
    failed: bool,
    stdout: Sequence[str],
    stderr: Sequence[str],
    pictures: Sequence[Mapping[str, Any]] = (),
) -> ToolReturnMessage:
    """Show what a tool returned that no agent called, so that it is no message of any conversation."""
    returned: dict[str, Any] = {
        "tool_return": text,
        "status": "error" if failed else "success",
        "tool_call_id": "null",
        "stdout": list(stdout),
        "stderr": list(stderr) or ([text] if failed else []),
    }
    return ToolReturnMessage(
        id="null",
        date=moment(clock.now()),
        name=name,
        message_type="tool_return_message",
        otid=None,
        sender_id=None,
        step_id=None,
        is_err=None,
        seq_id=None,
        run_id=None,
        **returned,
        tool_returns=[_tool_return(returned, {"pictures": pictures})],
    )


def show_request(message: Message) -> ApprovalRequestMessage:
    """Show one stored request for approval."""
    calls = [ToolCall(**call) for call in message.body["tool_calls"]]
    return ApprovalRequestMessage(**_common(message), tool_call=calls[0], tool_calls=calls)


def _text_alone(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return the text of content that is one text and nothing else: that is how programs read it."""
    if isinstance(content, list) and [part.get("type") for part in content] == ["text"]:
        return str(content[0]["text"])
    return content


def _show_call(message: Message, shape: MessageShape) -> AnyMessage:
    call = ToolCall(**message.body["tool_call"])
    if shape.use_assistant_message and call.name == shape.tool_name:
        common = {**_common(message), "message_type": "assistant_message"}
        return AssistantMessage(**common, content=_argument(call.arguments, shape.tool_argument))
    return ToolCallMessage(**_common(message), tool_call=call, tool_calls=[call])


def _argument(arguments: str, name: str) -> str:
    return str((arguments_of(arguments) or {}).get(name, arguments))


def _common(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "date": moment(message.created_at),
        "name": None if message.message_type == "tool_call_message" else message.name,
        "message_type": message.message_type,
        "otid": message.otid or _otid(message),
        "sender_id": message.sender_id,
        "step_id": message.step_id,
        "is_err": None,
        "seq_id": None,
        "run_id": message.run_id,
    }


def _otid(message: Message) -> str | None:
    """Return the id by which clients match a message to its stream, which pieces of it carry too."""
    return None if message.message_type == "system_message" else message.id.partition("-")[2]
