"""Turns as streams: each event of a turn as the wire format shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from folkmoot.agents.events import CallPiece, CompactionBegun, Event, ReasoningPiece, TextPiece, TurnEnd
from folkmoot.conversations.messages import Message
from folkmoot.identifiers import new_id
from folkmoot.runs.runs import Run
from folkmoot.server.wire.messages import MessageShape, StopReason, UsageStatistics, show_messages

STREAMED_AS_PIECES = frozenset(
    {"assistant_message", "reasoning_message", "tool_call_message", "approval_request_message"}
)


@dataclass(frozen=True, slots=True)
class StreamShape:
    """How a stream shows a turn: in pieces or whole messages, and only messages of `types` when given."""

    messages: MessageShape
    in_pieces: bool = False
    pings: bool = True
    types: Sequence[str] | None = None

    def first(self, run: Run) -> Sequence[Mapping[str, Any]]:
        """Return what is shown before the turn begins: the run's id, so that the stream can be resumed."""
        return [_head("ping", new_id("ping"), None, run.id)] if self.pings else []

    def encode(self, event: Event) -> Sequence[Mapping[str, Any]]:
        """Return what is shown of an event."""
        if isinstance(event, TurnEnd):
            return [StopReason(stop_reason=event.stop_reason).model_dump(), show_usage(event).model_dump()]
        if isinstance(event, CompactionBegun):
            event = event.message
        if isinstance(event, Message):
            shown = show_messages([event], self.messages, self.types)
            if self.in_pieces:
                shown = [message for message in shown if message.message_type not in STREAMED_AS_PIECES]
            return [message.model_dump(mode="json") for message in shown]
        piece = self._show_piece(event)
        return [piece] if self.types is None or piece["message_type"] in self.types else []

    def _show_piece(self, piece: TextPiece | ReasoningPiece | CallPiece) -> Mapping[str, Any]:
        if isinstance(piece, TextPiece):
            return {**_head("assistant_message", piece.message_id, piece.step_id, piece.run_id), "content": piece.text}
        if isinstance(piece, ReasoningPiece):
            head = _head("reasoning_message", piece.message_id, piece.step_id, piece.run_id)
            return {**head, "source": "reasoner_model", "reasoning": piece.text, "signature": None}
        kind = "approval_request_message" if piece.waits else "tool_call_message"
        call = {"name": piece.name, "arguments": piece.arguments, "tool_call_id": piece.call_id}
        shown = {name: value for name, value in call.items() if value}
        head = _head(kind, piece.message_id, piece.step_id, piece.run_id)
        return {**head, "tool_call": shown, "tool_calls": shown}


def show_usage(end: TurnEnd) -> UsageStatistics:
    """Show what a turn took."""
    usage = end.usage
    return UsageStatistics(
        completion_tokens=usage.completion_tokens,
        prompt_tokens=usage.prompt_tokens,
        total_tokens=usage.completion_tokens + usage.prompt_tokens,
        step_count=end.step_count,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        context_tokens=end.context_tokens,
    )


def _head(kind: str, message_id: str, step_id: str | None, run_id: str | None) -> dict[str, Any]:
    return {
        "id": message_id,
        "date": datetime.now(UTC).isoformat(),
        "name": None,
        "message_type": kind,
        "otid": None if step_id is None else message_id.partition("-")[2],
        "sender_id": None,
        "step_id": step_id,
        "is_err": None,
        "seq_id": None,
        "run_id": run_id,
    }
