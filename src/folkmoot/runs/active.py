"""A run that this process works on: its turn's journal, and how it is stopped so that nobody misses what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from folkmoot.agents.events import CompactionBegun, Event, Piece, TurnEnd
from folkmoot.conversations.messages import Message
from folkmoot.runs.asked import Answer, Asked
from folkmoot.runs.log import DONE, RunLog, store_entries
from folkmoot.runs.reading import end_details
from folkmoot.runs.runs import Run, end_run, topic
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction, Work

T = TypeVar("T")

Encoder: TypeAlias = Callable[[Event], Sequence[Mapping[str, Any]]]
"""Turns an event into what a stream shows of it: the wire format's events, none or several."""


@dataclass(slots=True)
class ActiveRun:
    """A run that this process works on. `encode` is None when it keeps no log."""

    run: Run
    asked: Asked
    store: Store
    encode: Encoder | None = None
    log: RunLog = field(default_factory=RunLog)
    task: asyncio.Task[Answer] | None = None
    messages: list[Message] = field(default_factory=list)
    begun: bool = False
    """Whether it has had its turn."""

    cancelled: bool = False
    _stopping: bool = False
    _stoppable: bool = False
    """Whether cancelling the task is heard: from its first step until its failure is being stored."""

    _answered_at: int | None = None
    _writing: bool = False
    _owed: int = 0
    """How many events of the step that was stored last the turn has not yielded yet."""

    _recorded: Sequence[str] = ()
    """That step's part of the log."""

    @property
    def has_pieces(self) -> bool:
        """Whether its log has entries that are not stored yet."""
        return self.encode is not None and len(self.log.entries) > self.log.stored

    def set_off(self) -> None:
        """Say that the task has begun; asyncio would never enter one that is cancelled before.

        Raises:
            CancelledError: the run is to be stopped already.
        """
        self._stoppable = True
        if self._stopping:
            raise asyncio.CancelledError

    def stop(self, *, cancelled: bool) -> None:
        """End the run's task: at once, or behind the step that is being stored, so that nobody misses that."""
        if self._stopping:
            return
        self.cancelled, self._stopping = cancelled, True
        if self._stoppable and self.task is not None and not self._writing and not self._owed:
            self.task.cancel()

    def give_up(self) -> None:
        """Say that the run has failed; nothing is left to stop while that is being stored."""
        self._stopping = True

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction, to its end even when the run is to be stopped meanwhile.

        Raises:
            CancelledError: the run was to be stopped, and nothing is to be yielded of this transaction.
        """
        self._writing, self._owed = True, 0
        try:
            written = await self.store.write(work)
        except BaseException:
            self._owed = 0
            raise
        finally:
            self._writing = False
        if self._stopping and not self._owed:
            raise asyncio.CancelledError
        return written

    async def record(self, transaction: Transaction, added: Sequence[Message], end: TurnEnd | None) -> None:
        """Store a step's part of the log, and with the last step the end of the run.

        The turn yields these events as soon as `write` returns.
        """
        events: list[Event] = [*added, *((end,) if end else ())]
        self._answered_at = self._answered_at or clock.now()
        self._owed = len(events)
        if self.encode is not None:
            shown = [each for event in events for each in self.encode(event)]
            self._recorded = [*self.log.encode(shown), *((DONE,) if end else ())]
            entries = [*self.log.entries[self.log.stored :], *self._recorded]
            await store_entries(transaction, self.run.id, self.log.stored, entries)
            transaction.signal(topic(self.run.id))
        if end is not None:
            await end_run(
                transaction, self.run, "completed", end.stop_reason, end_details(self.run, end, self._answered_at)
            )

    def take(self, event: Event) -> None:
        """Take in what the turn has yielded.

        Raises:
            CancelledError: the run was to be stopped behind the step that this was the last event of.
        """
        if not isinstance(event, Message | TurnEnd):
            self._take_unstored(event)
            return
        self._owed -= 1
        if isinstance(event, Message):
            self.messages.append(event)
        if not self._owed:
            self.log.add_stored(self._recorded)
            self._recorded = ()
            if self._stopping and not isinstance(event, TurnEnd):
                raise asyncio.CancelledError

    def _take_unstored(self, event: Piece | CompactionBegun) -> None:
        if isinstance(event, CompactionBegun):
            self.messages.append(event.message)
        else:
            self._answered_at = self._answered_at or clock.now()
        if self.encode is not None:
            self.log.append(self.encode(event))
