"""How much of a model's context window a prompt fills, and what of it is shown when it would not fit.

Nothing here asks anybody: sizes are UTF-8 bytes, and tokens are told from them by what the provider counted for the
conversation's last prompt; before the first, four bytes count as a token.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from folkmoot.agents.agents import Agent
from folkmoot.conversations.conversations import Counted
from folkmoot.models.prompt import (
    AssistantMessage,
    Image,
    Prompt,
    PromptMessage,
    SystemMessage,
    ToolCall,
    ToolReturn,
    ToolSchema,
    UserMessage,
)
from folkmoot.tools.builtin.proposed import arguments_of

SHARE = 0.9
"""Share of a window that a prompt may fill; the rest is for the reply, and for what an estimate misses."""

BYTES_PER_TOKEN = 4.0
FEWEST_BYTES, MOST_BYTES = 0.5, 8.0
"""Bytes of a token that are believed: some servers report no tokens, or leave out those that came from a cache."""

TURN_SIZE = 16
IMAGE_SIZE = 4000
SHORTEST = 160
"""Bytes to which a text of the newest messages is cut at worst."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How many bytes make a token in this conversation."""

    bytes_per_token: float = BYTES_PER_TOKEN

    @classmethod
    def of(cls, counted: Counted) -> Scale:
        """Take the scale from a prompt that a provider counted.

        >>> Scale.of(Counted(tokens=1000, size=3300)).bytes_per_token
        3.3
        """
        if counted.tokens <= 0 or counted.size <= 0:
            return cls()
        told = counted.size / counted.tokens
        return cls(told) if FEWEST_BYTES <= told <= MOST_BYTES else cls()

    def tokens(self, size: int) -> int:
        """Return about how many tokens so many bytes are."""
        return round(size / self.bytes_per_token)

    def size(self, tokens: int) -> int:
        """Return about how many bytes so many tokens are."""
        return int(tokens * self.bytes_per_token)


def size_of(text: str) -> int:
    """Return the text's length in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def size_of_message(turn: PromptMessage) -> int:
    """Return the size of what is said in a turn; a picture counts as a thousand tokens."""
    match turn:
        case AssistantMessage(text=text, reasoning=reasoning, tool_calls=calls):
            size = TURN_SIZE + size_of(text)
            for thought in reasoning:
                size += size_of(thought.text)
            for call in calls:
                size += TURN_SIZE + size_of(call.name) + size_of(call.arguments)
            return size
        case ToolReturn(content=text, pictures=pictures):
            return TURN_SIZE + size_of(text) + IMAGE_SIZE * len(pictures)
        case UserMessage(content=str(text)) | SystemMessage(content=text):
            return TURN_SIZE + size_of(text)
        case UserMessage(content=parts):
            return TURN_SIZE + sum(IMAGE_SIZE if isinstance(part, Image) else size_of(part) for part in parts)
    raise AssertionError(f"no size for {turn}")


def size_of_messages(turns: Sequence[PromptMessage]) -> int:
    """Return the size of what is said in all of them."""
    return sum(map(size_of_message, turns))


def size_of_tools(tools: Sequence[ToolSchema]) -> int:
    """Return the size of the tools as a model is told of them."""
    return sum(size_of(tool.name) + size_of(tool.description) + len(json.dumps(tool.parameters)) for tool in tools)


def window_of(agent: Agent, known: int) -> int:
    """Return the context window that the agent's settings name, else the one that is `known` of its model."""
    older = agent.configuration.get("llm_config") or {}
    return int(agent.configuration.get("context_window_limit") or older.get("context_window") or known)


def limit_of(window: int, longest_reply: int | None) -> int:
    """Return the tokens that a prompt may have, so that the reply has its place in the window too.

    >>> limit_of(10_000, None), limit_of(10_000, 4_000), limit_of(10_000, 10_000)
    (9000, 6000, 5000)
    """
    reply = min(longest_reply or 0, window // 2)
    return min(int(window * SHARE), window - reply)


def clipped(prompt: Prompt, size: int) -> Prompt:
    """Return the prompt with its longest texts cut, so that its turns have about `size` bytes.

    Every turn stays, and every tool call with its return. What a model thought is left whole, since its provider may
    have signed it. At worst each text has `SHORTEST` bytes and pictures are left out.
    """
    texts = sorted(size for turn in prompt.messages for size in _text_sizes(turn))
    free = size - sum(size_of_message(turn) - sum(_text_sizes(turn)) for turn in prompt.messages)
    longest = SHORTEST
    for place, text in enumerate(texts):
        share = free // (len(texts) - place)
        longest = max(share, SHORTEST)
        if text > share:
            break
        free -= text
    else:
        return prompt
    return replace(prompt, messages=[_clip_message(turn, longest) for turn in prompt.messages])


def clip(text: str, size: int) -> str:
    """Return the text's beginning and end, `size` bytes together, with a note between on what is missing."""
    if size_of(text) <= size:
        return text
    raw = text.encode("utf-8", "replace")
    note = f"\n… ({len(raw) - size:,} bytes of this text are left out) …\n"
    kept = max(size - size_of(note), 0)
    head = raw[: kept - kept // 4].decode("utf-8", "ignore")
    tail = raw[len(raw) - kept // 4 :].decode("utf-8", "ignore") if kept // 4 else ""
    short = head + note + tail
    return short if size_of(short) < len(raw) else text


def _text_sizes(turn: PromptMessage) -> list[int]:
    """Return the sizes of the texts that can be cut; a picture counts as one."""
    match turn:
        case ToolReturn(content=text, pictures=pictures):
            return [size_of(text), *[IMAGE_SIZE] * len(pictures)]
        case UserMessage(content=str(text)) | SystemMessage(content=text):
            return [size_of(text)]
        case UserMessage(content=parts):
            return [IMAGE_SIZE if isinstance(part, Image) else size_of(part) for part in parts]
        case AssistantMessage(text=text, tool_calls=calls):
            return [size_of(text), *(size_of(call.arguments) for call in calls)]
    raise AssertionError(f"no texts of {turn}")


def _clip_message(turn: PromptMessage, longest: int) -> PromptMessage:
    match turn:
        case UserMessage(content=str(text)):
            return UserMessage(clip(text, longest))
        case UserMessage(content=parts):
            return UserMessage([_clip_part(part, longest) for part in parts])
        case SystemMessage(content=text):
            return SystemMessage(clip(text, longest))
        case ToolReturn(content=text):
            kept = turn.pictures if longest >= IMAGE_SIZE else ()
            return replace(turn, content=clip(text, longest), pictures=kept)
        case AssistantMessage(text=text, tool_calls=calls):
            return replace(turn, text=clip(text, longest), tool_calls=[_clip_call(call, longest) for call in calls])
    raise AssertionError(f"nothing to cut in {turn}")


def _clip_part(part: str | Image, longest: int) -> str | Image:
    if isinstance(part, str):
        return clip(part, longest)
    return part if longest >= IMAGE_SIZE else "(a picture, left out for want of room)"


def _clip_call(call: ToolCall, longest: int) -> ToolCall:
    """Return the call with its long arguments cut; they stay a JSON object, as providers want it."""
    if size_of(call.arguments) <= longest:
        return call
    values = arguments_of(call.arguments) or {"arguments": call.arguments}
    share = longest // len(values)
    return replace(call, arguments=json.dumps({name: _clip_value(value, share) for name, value in values.items()}))


def _clip_value(value: Any, longest: int) -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    return value if size_of(text) <= longest else clip(text, longest)
