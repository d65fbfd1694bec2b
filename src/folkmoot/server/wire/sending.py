"""What a client sends to an agent: messages, answers to approval requests, and how to answer them."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator

from folkmoot.agents.approvals import Decision, Decisions
from folkmoot.agents.instructions import Skill
from folkmoot.agents.tool_calls import Outcome
from folkmoot.conversations.messages import Message, MessageType
from folkmoot.models.prompt import Image, ToolSchema
from folkmoot.server.wire.common import MOST_ITEMS, JsonObject, Request, Text
from folkmoot.server.wire.messages import MessageShape
from folkmoot.store.words import LONGEST_TEXT
from folkmoot.tools.pictures import named

MOST_WORDS_SENT = 1_000_000
"""Characters of messages in a request that search shall find."""

MOST_MESSAGES = 1000
"""Messages, client's tools, or returns of tools in a request."""

TypesOfMessages: TypeAlias = Annotated[list[MessageType], Field(max_length=100)]


class TextPart(Request):
    """Text in a message."""

    type: Literal["text"] = "text"
    text: Text


def _base64(data: str) -> str:
    try:
        content = b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError("is not base64; encode the picture's bytes") from error
    if not content:
        raise ValueError("is empty; encode the picture's bytes")
    if len(data) != 4 * -(-len(content) // 3):  # more padding than stricter decoders take
        raise ValueError("is not base64: it has too much padding")
    return data


def _address(url: str) -> str:
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        if not re.fullmatch(rf"data:{PICTURE};base64", head):
            raise ValueError("begins with data:, which has to go on like image/png;base64,…")
        _base64(data)
    elif not url.startswith(("http://", "https://")):
        raise ValueError("has to begin with http://, https:// or data:")
    return url


PICTURE = r"image/[a-zA-Z0-9.+-]+"
"""Media types of pictures."""


class UrlImage(Request):
    """A picture at an address."""

    type: Literal["url"] = "url"
    url: Annotated[Text, AfterValidator(_address)]

    def to_image(self) -> Image:
        """Return it as a model is shown it."""
        return Image(url=self.url)


class Base64Image(Request):
    """A picture in the request itself."""

    type: Literal["base64"] = "base64"
    media_type: Annotated[str, Field(pattern=f"^{PICTURE}$")]
    data: Annotated[Text, AfterValidator(_base64)]
    detail: str | None = None

    def to_image(self) -> Image:
        """Return it as a model is shown it."""
        return Image(data=self.data, media_type=self.media_type)


class ImagePart(Request):
    """A picture in a message."""

    type: Literal["image"]
    source: Annotated[UrlImage | Base64Image, Field(discriminator="type")]


Part: TypeAlias = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _not_empty(content: str | list[Part]) -> str | list[Part]:
    if not content or (isinstance(content, list) and all(getattr(part, "text", None) == "" for part in content)):
        raise ValueError("is empty; write what the agent shall answer")
    return content


Parts: TypeAlias = Annotated[list[Part], Field(max_length=MOST_ITEMS)]
Content: TypeAlias = Annotated[Text | Parts, AfterValidator(_not_empty)]


def content_of(content: str | Sequence[Part]) -> str | list[dict[str, Any]]:
    """Return a message's content as it is stored."""
    return content if isinstance(content, str) else [part.model_dump(exclude_none=True) for part in content]


MESSAGE_TYPES: Mapping[str, MessageType] = {
    "user": "user_message",
    "system": "system_message",
    "assistant": "assistant_message",
}
"""The types of messages by who says them."""


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
        content = content_of(self.content)
        if self.role != "user" and not isinstance(content, str):
            content = "\n".join(part["text"] for part in content if part["type"] == "text")
        # An assistant's words that a client gives are no part of the model's own reply to them.
        body = {"content": content, "given": True} if self.role == "assistant" else {"content": content}
        return Message(MESSAGE_TYPES[self.role], body, name=self.name, otid=self.otid, sender_id=self.sender_id)


def sent_again(message: Message) -> dict[str, Any]:
    """Return a message that was said, in the form in which it is sent."""
    roles = {kind: role for role, kind in MESSAGE_TYPES.items()}
    about = {"name": message.name, "sender_id": message.sender_id}
    named = {name: value for name, value in about.items() if value is not None}
    return {"role": roles[message.message_type], "content": message.body["content"], **named}


def check_words(sent: Iterable[object], field: str) -> None:
    """Refuse messages that have more words than are made searchable at once.

    Raises:
        ValueError: they have.
    """
    words = 0
    for message in sent:
        content = message.content if isinstance(message, MessageCreate) else ""
        texts = [content] if isinstance(content, str) else [getattr(part, "text", "") for part in content]
        words += min(sum(map(len, texts)), LONGEST_TEXT)
    if words > MOST_WORDS_SENT:
        raise ValueError(
            f"{field}: the messages have {words:,} characters, and {MOST_WORDS_SENT:,} are taken in one request; "
            "send them in several"
        )


class ApprovalReturn(Request):
    """A decision about one tool call."""

    type: Literal["approval"] = "approval"
    tool_call_id: Text
    approve: bool
    reason: Text | None = None


class ClientToolReturn(Request):
    """What a tool that the client ran itself came to."""

    type: Literal["tool"] = "tool"
    tool_call_id: Text
    tool_return: Text | Parts
    status: Literal["success", "error"] = "success"
    stdout: Annotated[list[Text], Field(max_length=MOST_ITEMS)] | None = None
    stderr: Annotated[list[Text], Field(max_length=MOST_ITEMS)] | None = None

    def to_outcome(self) -> Outcome:
        """Return it as the outcome of its call."""
        given = [self.tool_return] if isinstance(self.tool_return, str) else self.tool_return
        told = named(part.source.to_image() if isinstance(part, ImagePart) else _text_of(part) for part in given)
        return Outcome(told.text, self.status == "error", pictures=told.pictures)


def _text_of(part: str | TextPart) -> str:
    return part if isinstance(part, str) else part.text


def _kind_of_return(value: Any) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    if kind is None and isinstance(value, Mapping):
        return "tool" if "tool_return" in value else "approval"
    return str(kind)


AnyReturn: TypeAlias = Annotated[
    Annotated[ApprovalReturn, Tag("approval")] | Annotated[ClientToolReturn, Tag("tool")],
    Discriminator(_kind_of_return),
]


class ApprovalCreate(Request):
    """An answer to an approval request."""

    type: Literal["approval"] = "approval"
    approvals: Annotated[list[AnyReturn], Field(max_length=MOST_MESSAGES)] | None = None
    approve: bool | None = Field(None, description="The older form: one decision for every call of the request.")
    approval_request_id: Text | None = None
    reason: Text | None = None
    otid: Text | None = None
    group_id: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ApprovalCreate:
        if not self.approvals and self.approve is None:
            raise ValueError("name `approvals`, one for each waiting tool call")
        return self

    def to_decisions(self) -> Decisions:
        """Return the decisions, and the answer as it is stored."""
        body = self.model_dump(include={"approvals", "approve", "approval_request_id", "reason"})
        message = Message("approval_response_message", body, otid=self.otid)
        if not self.approvals:
            return Decisions(message, every=Decision("", bool(self.approve), self.reason))
        each = [
            Decision(given.tool_call_id, given.approve, given.reason)
            if isinstance(given, ApprovalReturn)
            else Decision(given.tool_call_id, outcome=given.to_outcome())
            for given in self.approvals
        ]
        return Decisions(message, each)


class ToolReturnCreate(Request):
    """Returns of tools that the client ran itself."""

    type: Literal["tool_return"]
    tool_returns: list[ClientToolReturn] = Field(min_length=1, max_length=MOST_MESSAGES)
    otid: Text | None = None
    group_id: str | None = None

    def to_decisions(self) -> Decisions:
        """Return the returns as decisions, and the answer as it is stored."""
        return ApprovalCreate(approvals=list(self.tool_returns), approve=None, otid=self.otid).to_decisions()


def _kind_of_message(value: Any) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    if kind is None and isinstance(value, Mapping) and "role" not in value:
        return "approval" if {"approvals", "approve"} & set(value) else "message"
    return str(kind or "message")


AnyCreate: TypeAlias = Annotated[
    Annotated[MessageCreate, Tag("message")]
    | Annotated[ApprovalCreate, Tag("approval")]
    | Annotated[ToolReturnCreate, Tag("tool_return")],
    Discriminator(_kind_of_message),
]


class ClientTool(Request):
    """A tool that the client runs itself, for this turn."""

    name: Annotated[Text, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: Text | None = None
    parameters: JsonObject | None = None

    @field_validator("parameters")
    @classmethod
    def _of_an_object(cls, parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        if parameters is not None and parameters.get("type") != "object":
            raise ValueError('must be a JSON Schema with "type": "object"')
        return parameters

    def to_schema(self) -> ToolSchema:
        """Return the tool as a model sees it."""
        return ToolSchema(
            self.name, self.description or "", self.parameters or {"type": "object", "properties": {}, "required": []}
        )


class ClientSkill(Request):
    """A skill that the client has at hand, for this turn."""

    name: Text
    description: Text
    location: Text = Field(description="Where it is, for the model to read.")

    def to_skill(self) -> Skill:
        """Return the skill as the agent's instructions show it."""
        return Skill(self.name, self.description, self.location)


class SendMessages(Request):
    """A request for a turn."""

    messages: list[AnyCreate] | None = Field(None, max_length=MOST_MESSAGES)
    input: Content | None = Field(None, description="Short for one user message.")
    max_steps: int | None = Field(None, ge=1, le=1000, description="Most model calls in this turn.")
    client_tools: list[ClientTool] | None = Field(
        None, max_length=MOST_MESSAGES, description="Tools that the client runs itself."
    )
    client_skills: list[ClientSkill] | None = Field(
        None, max_length=MOST_MESSAGES, description="Skills that the client can load; the model is told which."
    )
    use_assistant_message: bool = True
    assistant_message_tool_name: Text = "send_message"
    assistant_message_tool_kwarg: Text = "message"
    include_return_message_types: TypesOfMessages | None = None
    override_model: Text | None = Field(None, description="Handle of the model for this turn only.")
    override_system: Text | None = Field(None, description="System prompt for this turn only.")
    streaming: bool | None = Field(None, description="Answer with a stream of events.")
    stream_tokens: bool = Field(False, description="Stream a reply while the model writes it.")
    include_pings: bool = True
    background: bool = False
    callback_url: Text | None = Field(None, description="Where to tell when a background turn is over.")
    include_compaction_messages: bool = Field(False, description="Show the summary when messages leave the context.")

    @model_validator(mode="after")
    def _one_of_both(self) -> SendMessages:
        if (self.messages is None) == (self.input is None):
            raise ValueError("name either `messages` or `input`, and not both")
        answers = sum(not isinstance(message, MessageCreate) for message in self.messages or ())
        if answers > 1:
            raise ValueError("messages: send one answer to an approval request at a time")
        check_words(self.messages or (), "messages")
        return self

    def to_messages(self) -> list[Message]:
        """Return what was said as it is stored."""
        if self.input is not None:
            return [MessageCreate(role="user", content=self.input).to_message()]
        return [message.to_message() for message in self.messages or () if isinstance(message, MessageCreate)]

    def to_decisions(self) -> Decisions | None:
        """Return the answer to an approval request, if there is one."""
        for message in self.messages or ():
            if not isinstance(message, MessageCreate):
                return message.to_decisions()
        return None

    def shape(self) -> MessageShape:
        """Return how messages are shown to the sender."""
        return MessageShape(
            use_assistant_message=self.use_assistant_message,
            tool_name=self.assistant_message_tool_name,
            tool_argument=self.assistant_message_tool_kwarg,
            summaries=self.include_compaction_messages,
        )
