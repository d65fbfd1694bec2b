"""OpenAI's chat protocol on the wire: what a caller says to an agent, and the functions that it runs itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError, field_validator, model_validator

from folkmoot.errors import BadRequest, InvalidInput
from folkmoot.server.wire.common import MOST_ITEMS, JsonObject, Request, Text
from folkmoot.server.wire.functions import chosen, form_of
from folkmoot.server.wire.response_input import image_source, output_text
from folkmoot.server.wire.sending import MOST_MESSAGES, ClientTool, SendMessages


class ChatFunction(ClientTool):
    """A function of the caller's; `{}` for its parameters says that it has none."""

    @field_validator("parameters", mode="before")
    @classmethod
    def _none(cls, parameters: Any) -> Any:
        return None if parameters == {} else parameters


class ChatTool(Request):
    """A tool that the caller runs itself."""

    type: Text = "function"
    function: ChatFunction | None = None

    @field_validator("type")
    @classmethod
    def _is_function(cls, kind: str) -> str:
        if kind != "function":
            raise ValueError(f"{kind!r} is no tool of the caller; an agent uses the tools that are attached to it")
        return kind

    @model_validator(mode="after")
    def _is_whole(self) -> ChatTool:
        if self.function is None:
            raise ValueError("function: say which function it is, with its name")
        return self


MOST_OF_CHAT = 10_000
"""Messages of a chat, which programs send whole with each question."""


class ChatMessage(Request):
    """A message in OpenAI's form."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | Annotated[list[dict[str, Any]], Field(max_length=MOST_ITEMS)] | None = None
    tool_call_id: Text | None = Field(None, description="Which call a message of the role `tool` answers.")

    @model_validator(mode="after")
    def _is_whole(self) -> ChatMessage:
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("tool_call_id: a message of the role tool names the call that it answers")
        return self


class StreamOptions(Request):
    """What a stream adds."""

    include_usage: bool = False


class ChatRequest(Request):
    """A request in OpenAI's form; `model` is an agent's identifier. Settings of the model are the agent's own."""

    model: Text
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_OF_CHAT)
    tools: Annotated[list[ChatTool], Field(max_length=MOST_MESSAGES)] | None = Field(
        None, description="Functions that the caller runs itself."
    )
    tool_choice: Text | JsonObject | None = Field(
        "auto", description="With `none` the agent is shown none of them; `required` or one of them is to be called."
    )
    response_format: JsonObject | None = Field(None, description="The form of this answer: JSON, or after a schema.")
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _can_be_asked(self) -> ChatRequest:
        chosen(self.tool_choice, [function.name for function in self.functions])
        form_of(self.response_format)
        return self

    @property
    def functions(self) -> list[ChatFunction]:
        """The functions that the agent is shown."""
        shown = [] if self.tool_choice == "none" else self.tools or []
        return [tool.function for tool in shown if tool.function is not None]

    @property
    def choice(self) -> str | None:
        """What the model has to call first, where it has to."""
        return chosen(self.tool_choice, [function.name for function in self.functions])

    @property
    def form(self) -> dict[str, Any] | None:
        """The form of the answer, where it is not plain text."""
        return form_of(self.response_format)

    @property
    def instructions(self) -> str:
        """What its system messages say, which come with every request; nothing where it has none."""
        texts = (output_text(each.content or "") for each in self.messages if each.role in ("system", "developer"))
        return "\n\n".join(text for text in texts if text)

    @property
    def new(self) -> list[ChatMessage]:
        """What follows the last assistant message."""
        by_agent = [place for place, message in enumerate(self.messages) if message.role == "assistant"]
        return self.messages[by_agent[-1] + 1 :] if by_agent else self.messages

    def to_send(self, waiting: Sequence[str]) -> SendMessages:
        """Return what is said to the agent.

        Args:
            waiting: the calls that the conversation waits for; with words of a user behind it, an answer to none of
                them is left out: it was given to somebody else, or long ago.

        Raises:
            InvalidInput: nothing follows the last assistant message.
            RequestValidationError: a part of a message cannot be used.
        """
        said: list[dict[str, Any]] = [
            {"role": "user", "content": _content(message.content)}
            for message in self.new
            if message.role == "user" and message.content
        ]
        returns = [
            {"type": "tool", "tool_call_id": message.tool_call_id, "tool_return": output_text(message.content or "")}
            for message in self.new
            if message.role == "tool" and (not said or message.tool_call_id in waiting)
        ]
        if returns:
            said.append({"type": "approval", "approvals": returns})
        if not said:
            raise InvalidInput("messages: the last message must be one of the role user or tool.")
        try:
            return SendMessages.model_validate(
                {"messages": said, "client_tools": self.functions, "stream_tokens": bool(self.stream)}
            )
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error


def _content(content: str | Sequence[Mapping[str, Any]]) -> str | list[dict[str, Any]]:
    """Return OpenAI's parts as the wire format's.

    Raises:
        BadRequest: a part is neither text nor a picture.
    """
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        if part.get("type") == "text":
            parts.append({"type": "text", "text": part.get("text", "")})
        elif part.get("type") == "image_url":
            parts.append({"type": "image", "source": image_source(str((part.get("image_url") or {}).get("url", "")))})
        else:
            raise BadRequest(f"messages: a part of the type {part.get('type')!r} cannot be sent to an agent.")
    return parts
