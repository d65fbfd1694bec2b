"""A model's reply as messages. While it is streamed, its pieces already carry the ids that the messages will have."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from folkmoot.agents.approvals import request_message
from folkmoot.agents.events import CallPiece, Piece, ReasoningPiece, TextPiece
from folkmoot.agents.tool_calls import Outcome, PlannedCall, call_message, return_message
from folkmoot.conversations.messages import Message, clean_text
from folkmoot.identifiers import new_id
from folkmoot.models.prompt import Delta, ReasoningDelta, Reply, TextDelta, ToolCall
from folkmoot.tools.builtin.proposed import arguments_of


class ReplyWriter:
    """Gives the parts of one reply their message ids, before the reply is whole."""

    def __init__(
        self,
        run_id: str,
        step_id: str,
        awaited: Container[str],
        *,
        parallel: bool,
        open_until_whole: Container[str] = (),
    ) -> None:
        """Begin the reply of a step.

        Args:
            run_id: whose step it is.
            step_id: which one.
            awaited: names of the tools whose calls wait for somebody.
            parallel: whether more than its first call counts.
            open_until_whole: names of the tools whose calls wait or not by what all their arguments say.
        """
        self.run_id = run_id
        self.step_id = step_id
        self.text_id = new_id("message")
        self.request_id = new_id("message")
        self._awaited = awaited
        self._parallel = parallel
        self._open_until_whole = open_until_whole
        self._held: set[str] = set()
        self._thoughts: dict[int, str] = {}
        self._calls: dict[str, str] = {}
        self._seen: set[str] = set()
        self._waiting: set[str] = set()

    @property
    def thought_ids(self) -> list[str]:
        """The ids of the messages that show what was thought, as far as that was streamed, in order."""
        return list(self._thoughts.values())

    def call_message_id(self, call_id: str) -> str:
        """Return the id of the message that shows a call."""
        return self._calls.setdefault(call_id, new_id("message"))

    def piece(self, delta: Delta) -> Piece | None:
        """Return what a model has just written as a piece of its message.

        None while it is part of a call of which nobody knows yet whether it will wait: `held_back` has that.
        """
        if isinstance(delta, TextDelta):
            return TextPiece(self.text_id, self.step_id, self.run_id, clean_text(delta.text))
        if isinstance(delta, ReasoningDelta):
            message_id = self._thoughts.setdefault(delta.place, new_id("message"))
            return ReasoningPiece(message_id, self.step_id, self.run_id, clean_text(delta.text))
        counts = self._parallel or self._seen <= {delta.id}
        self._seen.add(delta.id)
        if counts and delta.name in self._awaited:
            (self._held if delta.name in self._open_until_whole else self._waiting).add(delta.id)
        if delta.id in self._held:
            return None
        waits = delta.id in self._waiting
        message_id = self.request_id if waits else self.call_message_id(delta.id)
        arguments = clean_text(delta.arguments)
        return CallPiece(message_id, self.step_id, self.run_id, delta.id, delta.name, arguments, waits)

    def held_back(self, reply: Reply, waits: Callable[[ToolCall], bool]) -> list[Piece]:
        """Return the calls that were held back, each as one piece, now that the reply is whole."""
        return [
            CallPiece(
                self.request_id if waiting else self.call_message_id(call.id),
                self.step_id,
                self.run_id,
                call.id,
                call.name,
                clean_text(call.arguments),
                waiting,
            )
            for call, waiting in ((call, waits(call)) for call in reply.tool_calls if call.id in self._held)
        ]


def words_of(message: Message) -> str:
    """Return what an agent said with a message, in either way in which agents speak; nothing for all else."""
    if message.message_type == "assistant_message":
        return str(message.body["content"])
    if message.message_type == "tool_call_message" and message.name == "send_message":
        return str((arguments_of(message.body["tool_call"]["arguments"]) or {}).get("message", ""))
    return ""


def reply_messages(
    reply: Reply,
    planned: Sequence[PlannedCall],
    outcomes: Sequence[Outcome | None],
    writer: ReplyWriter,
) -> list[Message]:
    """Return the reply's messages: reasoning, text, tool calls, what waits for approval, and the tools' returns."""
    run_id, step_id = writer.run_id, writer.step_id
    calls = [replace(call.call, arguments=clean_text(call.call.arguments)) for call in planned]
    new: list[Message] = []
    streamed = iter(writer.thought_ids)
    for thought in reply.reasoning:
        body = {
            "reasoning": clean_text(thought.text),
            "signature": thought.signature,
            "source": "reasoner_model",
            "provider": thought.provider,
        }
        message_id = (next(streamed, None) if thought.text else None) or new_id("message")
        new.append(Message("reasoning_message", body, run_id=run_id, step_id=step_id, id=message_id))
    if reply.text or not reply.tool_calls:
        body = {"content": clean_text(reply.text)}
        new.append(Message("assistant_message", body, run_id=run_id, step_id=step_id, id=writer.text_id))
    new += [
        replace(call_message(call, run_id, step_id), id=writer.call_message_id(call.id))
        for call, plan in zip(calls, planned, strict=True)
        if not plan.waits
    ]
    waiting = [call for call, plan in zip(calls, planned, strict=True) if plan.waits]
    if waiting:
        new.append(replace(request_message(waiting, run_id, step_id), id=writer.request_id))
    new += [
        return_message(call.call, outcome, run_id, step_id)
        for call, outcome in zip(planned, outcomes, strict=True)
        if outcome is not None
    ]
    return new
