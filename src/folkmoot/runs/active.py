"""A run that this process works on: where its turn's events go, and how it is stopped so that nobody misses any."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TypeAlias, TypeVar

from folkmoot.agents.events import CompactionBegun, Event, Piece, Recorded, RunBegun, TurnEnd
from folkmoot.agents.replies import words_of
from folkmoot.agents.steps import Step
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.messages import Message
from folkmoot.runs.log import RunLog, store_events
from folkmoot.runs.reading import end_details
from folkmoot.runs.runs import Run, end_run, topic
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction, Work
from folkmoot.tools.tool import Messenger

T = TypeVar("T")

AfterTurn: TypeAlias = Callable[[Transaction, Run, TurnEnd], Awaitable[Sequence[str]]]
"""What is done in the transaction that stores a turn's end; it returns the runs that are set off by it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole turn: its messages, why it stopped, what it took."""

    run: Run
    messages: Sequence[Message]
    end: TurnEnd

    @property
    def words(self) -> str:
        """What the agent said in it; empty where that is nothing."""
        return "\n".join(said for message in self.messages if (said := words_of(message)))


class RunState(Enum):
    """Where an active run stands, as far as stopping it goes."""

    CREATED = auto()
    """Its task has not begun; asyncio would never enter one that is cancelled before."""

    WORKING = auto()
    """It waits for its conversation, a model or a tool: cancelling the task stops it at once."""

    COMMITTING = auto()
    """What happened is being stored: a stop waits until that is stored and published."""

    STOPPING = auto()
    """It is to be stopped, and ends as soon as it may."""

    OVER = auto()
    """Its end is stored, or is about to be: there is nothing left to stop."""


@dataclass(slots=True)
class ActiveRun:
    """A run that this process works on: the sink of its turn's events."""

    run: Run
    request: TurnRequest
    store: Store
    messenger: Messenger
    after_turn: AfterTurn
    pieces: asyncio.Event
    """Set whenever its log has events that are not stored yet."""

    logged: bool = False
    """Whether its events are kept for readers, in its log and in the store."""

    log: RunLog = field(default_factory=RunLog)
    task: asyncio.Task[Answer] | None = None
    messages: list[Message] = field(default_factory=list)
    state: RunState = RunState.CREATED
    began_at: int | None = None
    """When it had its conversation to itself, in microseconds; None while it waits."""

    cancelled: bool = False
    """Whether somebody wanted it stopped; else it is the server that stops."""

    deleted: bool = False
    """Whether it is stopped because it was deleted, with its agent or conversation."""

    failed_step: Step | None = None
    """The model call that failed, and the run with it."""

    _answered_at: int | None = None
    _in_pieces: set[str] = field(default_factory=set)
    """The messages that readers are shown in pieces, and so not whole."""

    @property
    def run_id(self) -> str:
        """The run."""
        return self.run.id

    def enter(self) -> None:
        """Say that the task has begun.

        Raises:
            CancelledError: the run is to be stopped already.
        """
        self._refuse_when_stopping()
        self.state = RunState.WORKING

    def announce(self) -> None:
        """Begin the log."""
        self._add([RunBegun(self.run.id)])

    def stop(self, *, cancelled: bool, deleted: bool = False) -> None:
        """End the run's task: at once, or behind what is being stored, so that nobody misses that."""
        if self.state in (RunState.STOPPING, RunState.OVER):
            return
        self.cancelled, self.deleted = cancelled, deleted
        at_once, self.state = self.state is RunState.WORKING, RunState.STOPPING
        if at_once and self.task is not None:
            self.task.cancel()

    async def commit(self, work: Work[Recorded[T]]) -> Recorded[T]:
        """Run `work` in a transaction with what the run keeps of it, to its end even if it is to be stopped meanwhile.

        Raises:
            CancelledError: the run was to be stopped; what was committed has been published, unless it is the end.
        """
        self._refuse_when_stopping()
        self.state = RunState.COMMITTING

        async def store(transaction: Transaction) -> Recorded[T]:
            recorded = await work(transaction)
            if recorded.end is not None:
                set_off = await self.after_turn(transaction, self.run, recorded.end)
                recorded = replace(recorded, end=replace(recorded.end, run_ids=set_off))
            await self._keep(transaction, recorded)
            return recorded

        try:
            recorded = await self.store.write(store)
        except BaseException:
            if self.state is RunState.COMMITTING:
                self.state = RunState.WORKING
            raise
        self.messages += recorded.messages
        self._add(self._events(recorded), stored=True)
        if recorded.end is not None:
            self.state = RunState.OVER
        self._refuse_when_stopping()
        if self.state is RunState.COMMITTING:
            self.state = RunState.WORKING
        return recorded

    async def _keep(self, transaction: Transaction, recorded: Recorded[T]) -> None:
        """Store the step's part of the log, and with the last step the end of the run."""
        self._answered_at = self._answered_at or clock.now()
        if self.logged:
            events = [*self.log.waiting, *self._events(recorded)]
            await store_events(transaction, self.run.id, self.log.stored, events)
            transaction.signal(topic(self.run.id))
        if (end := recorded.end) is not None:
            began_at = self.run.created_at if self.began_at is None else self.began_at
            details = end_details(end, self._answered_at - began_at)
            await end_run(transaction, self.run, "completed", end.stop_reason, details)

    def publish(self, event: Piece | CompactionBegun) -> None:
        """Show readers something that is not stored with a step."""
        if isinstance(event, CompactionBegun):
            self.messages.append(event.message)
        else:
            self._answered_at = self._answered_at or clock.now()
            self._in_pieces.add(event.message_id)
        self._add([event])

    def note_failed(self, step: Step) -> None:
        """Keep a model call that failed, to be stored when the run ends."""
        self.failed_step = step

    def fail(self) -> None:
        """Say that the run has failed; nothing is left to stop while that is being stored."""
        self.state = RunState.OVER

    def _add(self, events: Sequence[Event], *, stored: bool = False) -> None:
        if not self.logged:
            return
        if stored:
            self.log.append_stored(events)
        else:
            self.log.append(events)
            self.pieces.set()

    def _events(self, recorded: Recorded[T]) -> list[Event]:
        told = [message for message in recorded.messages if message.id not in self._in_pieces]
        return [*told, *([recorded.end] if recorded.end is not None else [])]

    def _refuse_when_stopping(self) -> None:
        if self.state is RunState.STOPPING:
            raise asyncio.CancelledError
