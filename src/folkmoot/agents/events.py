"""What happens in a turn. A run keeps these in its log; who reads it shows them in a shape of his own.

`at` is when it happened, in microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeAlias, TypeVar

from folkmoot.agents.steps import Step
from folkmoot.conversations.messages import Message
from folkmoot.models.prompt import Usage
from folkmoot.store import clock
from folkmoot.store.engine import Work
from folkmoot.tools.tool import Messenger

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunBegun:
    """The first event of a log: which run it is, so that a reader can come back to it."""

    run_id: str
    at: int = field(default_factory=clock.now)


@dataclass(frozen=True, slots=True)
class TextPiece:
    """More of an assistant message that is being written; its step is not stored yet."""

    message_id: str
    step_id: str
    run_id: str
    text: str
    at: int = field(default_factory=clock.now)


@dataclass(frozen=True, slots=True)
class ReasoningPiece:
    """More of a reasoning message that is being written."""

    message_id: str
    step_id: str
    run_id: str
    text: str
    at: int = field(default_factory=clock.now)


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

    at: int = field(default_factory=clock.now)


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

    run_ids: Sequence[str] = ()
    """Runs that it has set off, which go on in the background."""


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """The last event of a run that did not come to its turn's end: it failed, or was cancelled."""

    run_id: str
    stop_reason: str
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class ReadingCut:
    """The process that reads a run which another one works on is stopping; it is in no log."""

    run_id: str


STOPPED = "server_stopped"
"""The error's type of runs that end because their server is stopped, and of readings that are cut by that."""

Event: TypeAlias = RunBegun | Message | Piece | CompactionBegun | TurnEnd | TurnFailed | ReadingCut


@dataclass(frozen=True, slots=True)
class Recorded(Generic[T]):
    """What one transaction of a turn came to: its result, and what happened in it, which readers are shown."""

    result: T
    messages: Sequence[Message] = ()
    end: TurnEnd | None = None


class TurnSink(Protocol):
    """Where the events of a turn go: the run that takes it."""

    @property
    def run_id(self) -> str:
        """The run."""

    @property
    def messenger(self) -> Messenger:
        """How the agent's tools reach other agents from this run."""

    async def commit(self, work: Work[Recorded[T]]) -> Recorded[T]:
        """Run `work` in a transaction, store with it what the run keeps, and publish what happened in it.

        Raises:
            CancelledError: the run is to be stopped; what was committed has been published.
        """

    def publish(self, event: Piece | CompactionBegun) -> None:
        """Show readers something that is not stored with a step."""

    def note_failed(self, step: Step) -> None:
        """Keep a model call that failed, and the turn with it, to be stored when the run ends."""
