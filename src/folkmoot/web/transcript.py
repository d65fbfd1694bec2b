"""A conversation as it is shown: each call of a tool together with what it came to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from folkmoot.agents.approvals import calls_of
from folkmoot.conversations.messages import Message, text_in
from folkmoot.models.frames import SAID_SINCE, read_frames
from folkmoot.models.prompt import ToolCall
from folkmoot.runs.runs import Run
from folkmoot.web.pictures import Picture, pictures_of
from folkmoot.web.remedies import can_be_retried, remedy_of
from folkmoot.web.words import content_text


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """One thing that is shown. `message` is where it comes from, `call` and `result` are those of a tool."""

    kind: Literal["user", "agent", "thought", "call", "system", "summary", "told"]
    message: Message
    text: str = ""
    call: ToolCall | None = None
    result: Mapping[str, Any] | None = None
    waits: bool = False
    asked: bool = False
    """Whether the call had to be approved."""
    pictures: Sequence[Picture] = ()
    """Those that were sent with what was said."""


@dataclass(frozen=True, slots=True)
class UnansweredTurn:
    """A turn that came to nothing, or is under way: what was said and answered in it is not in the conversation."""

    run: Run
    said: Sequence[str]
    partial_answer: str
    problem: str
    """Why it came to nothing; empty while it is under way."""

    kind: Literal["unanswered"] = "unanswered"

    @classmethod
    def of(cls, run: Run) -> UnansweredTurn:
        """Show what a run has that its conversation has not."""
        error = (run.details.get("error") or {}).get("message")
        problem = "" if not run.is_over else "It was stopped." if run.status == "cancelled" else error or "It failed."
        said = [content_text(message.body["content"]) for message in run.said]
        return cls(run, said, run.details.get("partial_answer", ""), problem)

    @property
    def remedy(self) -> str:
        """What to do about it, where that is known."""
        return remedy_of(self.run)

    @property
    def can_be_retried(self) -> bool:
        """Whether what was said can be said again, and nobody has yet."""
        return can_be_retried(self.run)


def transcript_of(
    messages: Sequence[Message], waiting: Sequence[ToolCall] = (), unanswered: Sequence[Run] = ()
) -> list[TranscriptEntry | UnansweredTurn]:
    """Return messages as they are shown, the oldest first.

    Args:
        messages: of one conversation, the oldest first.
        waiting: the calls that somebody has to decide about.
        unanswered: the conversation's runs that have no answer, the oldest first; each is shown behind its own
            messages, or where it began.
    """
    behind = _places(messages, unanswered)
    sayings: list[TranscriptEntry | UnansweredTurn] = [*behind[-1]]
    places: dict[str, int] = {}
    open_calls = {call.id for call in waiting}
    for number, message in enumerate(messages):
        body = message.body
        match message.message_type:
            case "user_message":
                sayings.append(_said_to_agent(message))
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
                    called = sayings[place]
                    assert isinstance(called, TranscriptEntry)
                    sayings[place] = replace(called, result=body)
        sayings += behind[number]
    return sayings


def _said_to_agent(message: Message) -> TranscriptEntry:
    """Return what somebody said; to one who tends another agent's memory, what was said there, without its frames."""
    text = content_text(message.body["content"])
    frames = read_frames(text, SAID_SINCE) if message.sender_id is not None else []
    if not frames:
        content = message.body["content"]
        return TranscriptEntry("user", message, text_in(content), pictures=pictures_of(content))
    return TranscriptEntry("told", message, "\n".join(each.attributed for each in frames))


def _places(messages: Sequence[Message], unanswered: Sequence[Run]) -> Mapping[int, list[UnansweredTurn]]:
    """Return behind which messages the runs are shown, by the messages' numbers; -1 is before the first."""
    behind: dict[int, list[UnansweredTurn]] = defaultdict(list)
    for run in unanswered:
        own = [number for number, message in enumerate(messages) if message.run_id == run.id]
        if own and not run.is_over:
            continue  # what it has said and done so far is in the conversation
        earlier = [number for number, message in enumerate(messages) if message.created_at <= run.created_at]
        behind[max(own or earlier, default=-1)].append(UnansweredTurn.of(run))
    return behind
