"""A conversation as it is shown: each call of a tool together with what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from folkmoot.agents.approvals import calls_of
from folkmoot.conversations.messages import Message
from folkmoot.models.prompt import ToolCall
from folkmoot.web.words import content_text


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """One thing that is shown. `message` is where it comes from, `call` and `result` are those of a tool."""

    kind: Literal["user", "agent", "thought", "call", "system", "summary"]
    message: Message
    text: str = ""
    call: ToolCall | None = None
    result: Mapping[str, Any] | None = None
    waits: bool = False
    asked: bool = False
    """Whether the call had to be approved."""


def transcript_of(messages: Sequence[Message], waiting: Sequence[ToolCall] = ()) -> list[TranscriptEntry]:
    """Return messages as they are shown, the oldest first.

    Args:
        messages: of one conversation, the oldest first.
        waiting: the calls that somebody has to decide about.
    """
    sayings: list[TranscriptEntry] = []
    places: dict[str, int] = {}
    open_calls = {call.id for call in waiting}
    for message in messages:
        body = message.body
        match message.message_type:
            case "user_message":
                sayings.append(TranscriptEntry("user", message, content_text(body["content"])))
            case "assistant_message":
                sayings.append(TranscriptEntry("agent", message, body["content"]))
            case "reasoning_message":
                sayings.append(TranscriptEntry("thought", message, body["reasoning"]))
            case "system_message":
                sayings.append(TranscriptEntry("system", message, body["content"]))
            case "summary_message":
                sayings.append(TranscriptEntry("summary", message, body["summary"]))
            case "tool_call_message":
                call = body["tool_call"]
                places[call["tool_call_id"]] = len(sayings)
                shown = ToolCall(call["tool_call_id"], call["name"], call["arguments"])
                sayings.append(TranscriptEntry("call", message, call=shown))
            case "approval_request_message":
                for each in calls_of(body):
                    places[each.id] = len(sayings)
                    sayings.append(TranscriptEntry("call", message, call=each, waits=each.id in open_calls, asked=True))
            case "tool_return_message":
                place = places.get(body["tool_call_id"])
                if place is None:
                    alone = ToolCall(body["tool_call_id"], message.name or "tool", "")
                    sayings.append(TranscriptEntry("call", message, call=alone, result=body))
                else:
                    sayings[place] = replace(sayings[place], result=body)
    return sayings
