"""Turns as streams: each event of a turn as the wire format shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from folkmoot.agents.events import (
    STOPPED,
    CompactionBegun,
    Event,
    Piece,
    ReadingCut,
    ReasoningPiece,
    RunBegun,
    TextPiece,
    TurnEnd,
    TurnFailed,
)
from folkmoot.conversations.messages import Message
from folkmoot.runs.runs import Run
from folkmoot.server.wire.common import moment
from folkmoot.server.wire.messages import MessageShape, StopReason, UsageStatistics, show_messages

CUT = (
    "This server process was stopped; the run may go on in another one. "
    "Follow it again, behind the last event that you saw."
)
"""What is told to who reads a run of another process when this one stops."""


@dataclass(frozen=True, slots=True)
class StreamShape:
    """How a stream shows a turn: the form of its messages, only those of `types` when given, and whether pings."""

    messages: MessageShape
    pings: bool = True
    types: Sequence[str] | None = None
    speaker: Mapping[str, str] = field(default_factory=dict)
    """`name` and `sender_id` of the agent that speaks, where several do."""

    @classmethod
    def of_run(cls, run: Run) -> StreamShape:
        """Return how the run's own stream shows it: as whoever began it asked for."""
        asked, shown = run.details.get("request_config") or {}, run.details.get("stream") or {}
        return cls(
            messages=MessageShape.of_run(run.details),
            pings=shown.get("pings", True),
            types=asked.get("include_return_message_types"),
        )

    def lines(self, number: int, event: Event) -> list[str]:
        """Return the JSON lines in which a stream shows event `number` of a run; a message gets the number."""
        shown = self._show(event)
        return [json.dumps({**each, "seq_id": number} if "seq_id" in each else each) for each in shown]

    def _show(self, event: Event) -> Sequence[Mapping[str, Any]]:
        if isinstance(event, RunBegun):  # names the run, so that the stream can be resumed
            ping_id = event.run_id.replace("run-", "ping-", 1)
            return [_head(event, "ping", ping_id)] if self.pings else []
        if isinstance(event, TurnFailed):
            return _show_failure(event)
        if isinstance(event, ReadingCut):
            return [_error(event.run_id, STOPPED, CUT)]
        if isinstance(event, TurnEnd):
            return [StopReason(stop_reason=event.stop_reason).model_dump(), show_usage(event).model_dump()]
        if isinstance(event, CompactionBegun):
            event = event.message
        if isinstance(event, Message):
            return [message.model_dump(mode="json") for message in show_messages([event], self.messages, self.types)]
        piece = {**_show_piece(event), **self.speaker}
        return [piece] if self.types is None or piece["message_type"] in self.types else []


def _show_piece(piece: Piece) -> Mapping[str, Any]:
    if isinstance(piece, TextPiece):
        return {**_head(piece, "assistant_message", piece.message_id, piece.step_id), "content": piece.text}
    if isinstance(piece, ReasoningPiece):
        head = _head(piece, "reasoning_message", piece.message_id, piece.step_id)
        return {**head, "source": "reasoner_model", "reasoning": piece.text, "signature": None}
    kind = "approval_request_message" if piece.waits else "tool_call_message"
    call = {"name": piece.name, "arguments": piece.arguments, "tool_call_id": piece.call_id}
    shown = {name: value for name, value in call.items() if value}
    head = _head(piece, kind, piece.message_id, piece.step_id)
    return {**head, "tool_call": shown, "tool_calls": shown}


def _show_failure(failed: TurnFailed) -> Sequence[Mapping[str, Any]]:
    stop_reason = {"message_type": "stop_reason", "stop_reason": failed.stop_reason}
    if failed.stop_reason == "cancelled":
        return [stop_reason]
    return [_error(failed.run_id, failed.error_type, failed.message), stop_reason]


def _error(run_id: str, error_type: str, message: str) -> Mapping[str, Any]:
    return {
        "message_type": "error_message",
        "run_id": run_id,
        "error_type": error_type,
        "message": message,
        "detail": None,
        "seq_id": None,
    }


def show_usage(end: TurnEnd) -> UsageStatistics:
    """Show what a turn took."""
    usage = end.usage
    return UsageStatistics(
        completion_tokens=usage.completion_tokens,
        prompt_tokens=usage.prompt_tokens,
        total_tokens=usage.completion_tokens + usage.prompt_tokens,
        step_count=end.step_count,
        run_ids=list(end.run_ids) or None,
        cached_input_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        context_tokens=end.context_tokens,
    )


def _head(event: RunBegun | Piece, kind: str, message_id: str, step_id: str | None = None) -> dict[str, Any]:
    return {
        "id": message_id,
        "date": moment(event.at).isoformat(),
        "name": None,
        "message_type": kind,
        "otid": None if step_id is None else message_id.partition("-")[2],
        "sender_id": None,
        "step_id": step_id,
        "is_err": None,
        "seq_id": None,
        "run_id": event.run_id,
    }
