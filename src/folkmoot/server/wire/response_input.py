"""What is said to an agent, as items of a response's input: as OpenAI's clients send them, and as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from folkmoot.conversations.messages import Message
from folkmoot.server.wire.common import MOST_ITEMS, Request, Text

BY_AGENT = frozenset({"function_call", "reasoning", "mcp_call", "mcp_approval_request", "item_reference", "compaction"})
"""Types of items that are an agent's own, beside its messages: it remembers them, and is not told of them again."""

ANSWERS = frozenset({"function_call_output", "mcp_approval_response"})
"""Types of items that answer an agent's calls."""


class InputItem(Request):
    """An item of a request's input; which fields it has goes by its type."""

    type: Text = "message"
    id: Text | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: Text | Annotated[list[dict[str, Any]], Field(max_length=MOST_ITEMS)] | None = None
    call_id: Text | None = None
    output: Text | Annotated[list[dict[str, Any]], Field(max_length=MOST_ITEMS)] | None = None
    approval_request_id: Text | None = None
    approve: bool = False
    reason: Text | None = None

    @model_validator(mode="after")
    def _is_known(self) -> InputItem:
        if self.type == "message":
            if self.role is None:
                raise ValueError("role: say whose message it is: user, assistant, system or developer")
            _content(self.content or "")
        elif self.type == "function_call_output":
            if self.call_id is None or self.output is None:
                raise ValueError("a function_call_output has a call_id and an output")
        elif self.type == "mcp_approval_response":
            if self.approval_request_id is None:
                raise ValueError("approval_request_id: name the mcp_approval_request that is answered")
        elif self.type not in BY_AGENT:
            raise ValueError(f"type: an item of the type {self.type!r} cannot be sent to an agent")
        return self

    @property
    def is_by_agent(self) -> bool:
        """Whether an agent said or did it."""
        return self.type in BY_AGENT or (self.type == "message" and self.role == "assistant")

    def to_create(self) -> dict[str, Any]:
        """Return a message in the form in which it is sent to agents.

        Raises:
            ValueError: a part of it can be sent to none.
        """
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": _content(self.content or "")}


def show_input(message: Message) -> dict[str, Any] | None:
    """Show what was said to an agent as an item of a response's input; None for what was not said to it."""
    uuid = message.id.partition("-")[2]
    roles = {"user_message": "user", "system_message": "system"}
    if message.message_type not in roles:
        return None
    content = message.body["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    role = roles[message.message_type]
    return {"id": f"msg_{uuid}", "type": "message", "status": "completed", "role": role, "content": input_parts(parts)}


def input_parts(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Show parts that an agent is told, texts and pictures, as parts of an item of input."""
    return [_input_part(part) for part in parts]


def _input_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    source = part["source"]
    url = source["url"] if source["type"] == "url" else f"data:{source['media_type']};base64,{source['data']}"
    return {"type": "input_image", "detail": "auto", "image_url": url}


def _content(content: str | Sequence[Mapping[str, Any]]) -> str | list[dict[str, Any]]:
    """Return the standard's parts as those that are sent to agents."""
    if isinstance(content, str):
        return content
    parts: list[dict[str, Any]] = []
    for part in content:
        kind = part.get("type")
        if kind in ("input_text", "output_text", "text"):
            parts.append({"type": "text", "text": part.get("text", "")})
        elif kind == "refusal":
            parts.append({"type": "text", "text": part.get("refusal", "")})
        elif kind == "input_image" and part.get("image_url"):
            parts.append({"type": "image", "source": image_source(str(part["image_url"]))})
        else:
            raise ValueError(f"content: a part of the type {kind!r} cannot be sent to an agent; send text or a picture")
    return parts


def image_source(url: str) -> dict[str, str]:
    """Return a picture's address, which may hold the picture itself, as agents are sent it."""
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    head, _, data = url.removeprefix("data:").partition(",")
    return {"type": "base64", "media_type": head.partition(";")[0], "data": data}


def output_text(output: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(output, str):
        return output
    return "\n".join(str(part.get("text", "")) for part in output if part.get("type") in ("input_text", "text"))
