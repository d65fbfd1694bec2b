"""What a turn yields. A plain request collects these, a stream shows them, a background run keeps them in its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from folkmoot.conversations.messages import Message
from folkmoot.models.prompt import Usage


@dataclass(frozen=True, slots=True)
class TextPiece:
    """More of an assistant message that is being written; its step is not stored yet."""

    message_id: str
    step_id: str
    run_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """More of a reasoning message that is being written."""

    message_id: str
    step_id: str
    run_id: str
    text: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """More of a tool call that is being written: its name with the first piece, then its arguments."""

    message_id: str
    step_id: str
    run_id: str
    call_id: str
    name: str | None
    arguments: str
    waits: bool = False
    """Whether the call will wait for somebody's approval, or for the client to run the tool."""


@dataclass(frozen=True, slots=True)
class CompactionBegun:
    """Messages are about to leave the context, which takes a model call. `message` is shown and never stored."""

    message: Message


Piece: TypeAlias = TextPiece | ReasoningPiece | CallPiece


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """The last event of a turn: why it stopped and what its model calls took together."""

    stop_reason: str
    usage: Usage = NO_USAGE
    step_count: int = 0
    context_tokens: int = 0
    """Tokens that the conversation filled at the last call."""


Event: TypeAlias = Message | Piece | CompactionBegun | TurnEnd
