"""What was sent of long conversations, in the form of Chat Completions, so that the next request repeats it as it is.

pydantic-ai makes the whole request from nothing, which for 400 turns takes twice what all else of a call does. It is
asked for the new turns only, and the older ones are put before them when the request is posted. That is the same
request, byte for byte: a turn's form depends on the turn alone, but for reasoning, of which such conversations have
none, and for calls without an answer, which the last reply may have and earlier ones may not.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from folkmoot.models.pairing import paired, with_pictures_apart
from folkmoot.models.prompt import AssistantMessage, Prompt, PromptMessage, SystemMessage

FEWEST = 50
"""Turns below which nothing is gained."""

MOST_BYTES = 8_000_000
"""Of all conversations that are kept, as far as they are counted: their texts, and so much for each message:"""

BYTES_OF_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class Sent:
    """The older turns of a conversation, and what was sent of them."""

    turns: Sequence[PromptMessage] = ()
    wire: Sequence[Mapping[str, Any]] = ()
    before_instructions: int = 0
    """How many of those messages stand before the instructions: system messages with which the turns begin."""

    calls: Counter[str] = field(default_factory=Counter)
    """How often each call id is among the turns."""

    size: int = 0


class SentBefore:
    """What was sent of the conversations that were asked about last, as many as have room."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._kept: OrderedDict[str, Sent] = OrderedDict()
        self._size = 0

    def continuing(self, prompt: Prompt) -> Continuing | None:
        """Return how the request goes on from an earlier one; None when it is to be made from nothing."""
        if not prompt.conversation_id or len(prompt.messages) < FEWEST:
            return None
        sent = self._taken(prompt.conversation_id)
        if sent is not None and list(prompt.messages[: len(sent.turns)]) == sent.turns:
            newer = prompt.messages[len(sent.turns) :]
            # Instructions are put behind the system messages with which a request begins.
            if next(map(type, _said(newer)), SystemMessage) is SystemMessage:
                sent, newer = Sent(), prompt.messages
        else:
            sent, newer = Sent(), prompt.messages
        if any(isinstance(turn, AssistantMessage) and turn.reasoning for turn in newer):
            return None
        return Continuing(self, prompt, sent, newer)

    def keep(self, conversation_id: str, sent: Sent) -> None:
        """Keep what has been sent of a conversation, and forget what there is no room for."""
        self._taken(conversation_id)
        self._kept[conversation_id] = sent
        self._size += sent.size
        while self._size > MOST_BYTES:
            self._size -= self._kept.popitem(last=False)[1].size

    def _taken(self, conversation_id: str) -> Sent | None:
        sent = self._kept.pop(conversation_id, None)
        if sent is not None:
            self._size -= sent.size
        return sent


@dataclass(frozen=True, slots=True)
class Continuing:
    """A request whose older turns were sent before."""

    kept_in: SentBefore
    prompt: Prompt
    sent: Sent
    newer: Sequence[PromptMessage]

    @property
    def rest(self) -> Prompt:
        """The prompt with the newer turns only."""
        return replace(self.prompt, messages=self.newer)

    def whole(self, made: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the request's messages, from those that were made of `rest`, and keep what can be repeated."""
        sent, newer = self.sent, self.newer
        said = _said(newer)
        before = sum(1 for _ in takewhile(lambda turn: isinstance(turn, SystemMessage), said))
        instructions = made[before : before + bool(self.prompt.instructions.strip())]
        wire = [*made[:before], *made[before + len(instructions) :]]
        if not sent.turns:
            sent = Sent(before_instructions=before)
        if before < len(said) and len(wire) == len(said) + bool(self.prompt.memory):
            self.kept_in.keep(self.prompt.conversation_id, _with_settled(sent, newer, wire))
        wire = [*sent.wire, *wire]
        return [*wire[: sent.before_instructions], *instructions, *wire[sent.before_instructions :]]


def _with_settled(sent: Sent, newer: Sequence[PromptMessage], wire: Sequence[Mapping[str, Any]]) -> Sent:
    """Return what was sent with those of the newer turns that nothing can change: the ones before the last reply."""
    replies = [place for place, turn in enumerate(newer) if isinstance(turn, AssistantMessage)]
    settled = newer[: replies[-1] if replies else 0]
    wire = wire[: len(_said(settled))]
    return Sent(
        [*sent.turns, *settled],
        [*sent.wire, *wire],
        sent.before_instructions,
        sent.calls + Counter(call.id for turn in settled for call in getattr(turn, "tool_calls", ())),
        sent.size + sum(BYTES_OF_MESSAGE + len(str(message.get("content"))) for message in wire),
    )


def _said(turns: Sequence[PromptMessage]) -> list[PromptMessage]:
    """Return the turns of which a message is made, one of each: not a reply in which nothing was said."""
    return [
        turn
        for turn in with_pictures_apart(paired(turns))
        if not isinstance(turn, AssistantMessage) or bool(turn.text or turn.tool_calls)
    ]


going_on: ContextVar[Continuing | None] = ContextVar("going_on", default=None)
"""Set while a request is made whose older turns were sent before."""


@contextmanager
def continued(continuing: Continuing | None) -> Iterator[None]:
    """Let the request that is posted inside begin with what was sent before."""
    token = going_on.set(continuing)
    try:
        yield
    finally:
        going_on.reset(token)
