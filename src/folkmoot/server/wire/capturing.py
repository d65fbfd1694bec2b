"""Turns that happened elsewhere, and single questions to an agent's model, on the wire."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator

from folkmoot.conversations.messages import Message, MessageType, clean_text
from folkmoot.server.wire.blocks import AnyEdit
from folkmoot.server.wire.common import MOST_ITEMS, JsonObject, Reply, Request, Text
from folkmoot.server.wire.messages import UsageStatistics

MOST_MESSAGES = 1000
MOST_EDITS = 100
LONGEST_PROMPT = 1_000_000

_SPOKEN: dict[str, MessageType] = {
    "user": "user_message",
    "assistant": "assistant_message",
    "model": "assistant_message",
}


class SaidElsewhere(Request):
    """A message as models' APIs have them: `content` is text, or parts of which those with text are kept."""

    model_config = ConfigDict(extra="ignore")

    role: str = Field(max_length=50)
    content: str | Annotated[list[dict[str, Any]], Field(max_length=MOST_ITEMS)] | None = None

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, list):
            parts = [part.get("text") for part in self.content]
            return clean_text("\n".join(part for part in parts if isinstance(part, str)))
        return clean_text(self.content or "")

    def to_message(self) -> Message | None:
        """Return the message as it is stored; None for one without words, instructions and the returns of tools."""
        kind = _SPOKEN.get(self.role)
        if kind is None or not self.text:
            return None
        given = {"given": True} if kind == "assistant_message" else {}
        return Message(kind, {"content": self.text, **given})


class MemoryEdit(Request):
    """An edit that such a turn made of one of the agent's blocks."""

    label: Text = Field(description="The block's label.")
    edit: AnyEdit


class CaptureTurn(Request):
    """A turn that happened elsewhere: what a model was sent, and what it answered."""

    provider: Text | None = Field(None, max_length=200)
    model: Text | None = Field(None, max_length=500)
    request_messages: list[SaidElsewhere] = Field(default_factory=list, max_length=MOST_MESSAGES)
    response_dict: SaidElsewhere | None = None
    memory_edits: list[MemoryEdit] = Field(
        default_factory=list,
        max_length=MOST_EDITS,
        description="What it changed of the agent's blocks, in order.",
    )

    @field_validator("response_dict", mode="before")
    @classmethod
    def _of_assistant(cls, value: Any) -> Any:
        return {"role": "assistant", **value} if isinstance(value, dict) else value

    def messages(self) -> list[Message]:
        """Return what was said, as it is stored."""
        said = [*self.request_messages, *([self.response_dict] if self.response_dict is not None else [])]
        return [message for each in said if (message := each.to_message()) is not None]


class Captured(Reply):
    """What was stored of a turn that happened elsewhere."""

    success: bool = True
    messages_created: int
    run_ids: list[str] | None = Field(description="Runs that it set off; the turn's own is `run_id`.")
    run_id: str


class Generate(Request):
    """A question to an agent's model, without the agent's memory, tools and messages."""

    prompt: Annotated[Text, Field(min_length=1, max_length=LONGEST_PROMPT)]
    system_prompt: Annotated[Text, Field(max_length=LONGEST_PROMPT)] | None = None
    override_model: Text | None = None
    response_schema: JsonObject | None = Field(None, description="A JSON schema; the answer is JSON after it.")


class Generated(Reply):
    """What the model answered."""

    content: str
    model: str
    usage: UsageStatistics
