"""A run's events, numbered from 1: in memory while the run is worked on, and in the store.

Whoever reads on the process that works on the run reads the memory, everybody else the store. Events of a step are
stored in the step's own transaction; pieces of a reply that is being written are stored a little later. The log keeps
what happened; how it is shown is the reader's business. A message is kept once, among the messages: the log names it,
or holds the pieces in which it came.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence, Set
from dataclasses import asdict
from typing import Any

from sqlalchemy import bindparam, func, select

from folkmoot.agents.events import (
    CallPiece,
    CompactionBegun,
    Event,
    ReasoningPiece,
    RunBegun,
    TextPiece,
    TurnEnd,
    TurnFailed,
)
from folkmoot.conversations.messages import Message
from folkmoot.models.prompt import Usage
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import messages, run_events, runs

_AT_ONCE = 500

_RUNS_AT_ONCE = 20
"""Runs whose events are stored by one statement; always so many are asked for, which is compiled once."""

_is_kept = select(runs.c.id).where(runs.c.id == bindparam("run_id")).with_for_update(read=True, key_share=True)
_are_kept = (
    select(runs.c.id)
    .where(runs.c.id.in_([bindparam(f"run_{place}") for place in range(_RUNS_AT_ONCE)]))
    .order_by(runs.c.id)
    .with_for_update(read=True, key_share=True)
)
"""Locked, since a run that is deleted before its events are in would refuse them, and with them those of the others."""

_last = select(func.max(run_events.c.sequence).label("sequence")).where(run_events.c.run_id == bindparam("run_id"))
_after = (
    select(run_events.c.sequence, run_events.c.data)
    .where(run_events.c.run_id == bindparam("run_id"), run_events.c.sequence > bindparam("after"))
    .order_by(run_events.c.sequence)
    .limit(_AT_ONCE)
)


class RunLog:
    """The log of a run that this process works on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.stored = 0
        """How many of them are in the store."""

        self._readers: set[asyncio.Event] = set()

    def append(self, events: Sequence[Event]) -> None:
        """Add events and wake the readers."""
        self.events += events
        for reader in self._readers:
            reader.set()

    def append_stored(self, events: Sequence[Event]) -> None:
        """Add events that are in the store already, with all before them, and wake the readers."""
        self.append(events)
        self.stored = len(self.events)

    @property
    def waiting(self) -> list[Event]:
        """The events that are not in the store yet."""
        return self.events[self.stored :]

    async def follow(self, after: int) -> AsyncGenerator[tuple[int, Event], None]:
        """Yield each event behind number `after` with its number, as it comes, until the last."""
        changed = asyncio.Event()
        self._readers.add(changed)
        try:
            while True:
                changed.clear()
                while after < len(self.events):
                    after += 1
                    yield after, self.events[after - 1]
                if self.events and is_last(self.events[-1]):
                    return
                await changed.wait()
        finally:
            self._readers.discard(changed)


def is_last(event: Event) -> bool:
    """Tell whether nothing comes behind this event."""
    return isinstance(event, TurnEnd | TurnFailed)


async def store_events(transaction: Transaction, run_id: str, before: int, events: Sequence[Event]) -> None:
    """Store events behind `before` others; those that are stored already stay, and a deleted run's are not kept."""
    if not events or await transaction.first(_is_kept, run_id=run_id) is None:
        return
    await transaction.insert(run_events, _rows(run_id, before, events), or_keep=True)


async def store_pieces(transaction: Transaction, waiting: Sequence[tuple[str, int, Sequence[Event]]]) -> None:
    """Store events of several runs as `store_events` does, many together; of each its id, what was before, and them."""
    for start in range(0, len(waiting), _RUNS_AT_ONCE):
        some = waiting[start : start + _RUNS_AT_ONCE]
        asked = {f"run_{place}": some[min(place, len(some) - 1)][0] for place in range(_RUNS_AT_ONCE)}
        kept = {row["id"] for row in await transaction.all(_are_kept, **asked)}
        rows = [row for run_id, before, events in some if run_id in kept for row in _rows(run_id, before, events)]
        await transaction.insert(run_events, rows, or_keep=True)


def _rows(run_id: str, before: int, events: Sequence[Event]) -> list[dict[str, Any]]:
    return [
        {"run_id": run_id, "sequence": number, "data": _encode(event)}
        for number, event in enumerate(events, before + 1)
    ]


async def append_last(transaction: Transaction, run_id: str, event: TurnFailed) -> None:
    """Store a run's last event, for a run whose process is gone; nothing for one that kept no log."""
    if number := await last_number(transaction, run_id):
        await store_events(transaction, run_id, number, [event])


async def last_number(transaction: Transaction, run_id: str) -> int:
    """Return the number of the last event in the store; 0 when the run has no log there."""
    row = await transaction.first(_last, run_id=run_id)
    return int(row["sequence"] or 0) if row is not None else 0


async def partial_answer(transaction: Transaction, run_id: str) -> str:
    """Return the words that a model was writing in a step which was not stored, as far as the run's log has them."""
    pieces: list[Event] = []
    after = 0
    while numbered := await read_events(transaction, run_id, after):
        after = numbered[-1][0]
        pieces += [event for _, event in numbered if isinstance(event, TextPiece)]
    ids = {piece.message_id for piece in pieces if isinstance(piece, TextPiece)}
    if not ids:
        return ""
    found = await transaction.all(select(messages.c.id).where(messages.c.id.in_(sorted(ids))))
    return unfinished_words(pieces, {row["id"] for row in found})


def unfinished_words(events: Iterable[Event], stored: Set[str]) -> str:
    """Return the words of messages that were being written; `stored` has the identifiers of those that came to be."""
    pieces = (event for event in events if isinstance(event, TextPiece) and event.message_id not in stored)
    return "".join(piece.text for piece in pieces)


async def read_events(transaction: Transaction, run_id: str, after: int) -> list[tuple[int, Event | None]]:
    """Return some of the stored events behind number `after` with their numbers; None for a message deleted since."""
    rows = [
        (row["sequence"], json.loads(row["data"])) for row in await transaction.all(_after, run_id=run_id, after=after)
    ]
    named = [data["id"] for _, data in rows if data["kind"] == "Message"]
    said: dict[str, Message] = {}
    if named:
        found = await transaction.all(
            # A fork shares the messages; there they are of no run.
            select(messages).where(messages.c.run_id == run_id, messages.c.id.in_(named))
        )
        said = {row["id"]: Message.from_row(row) for row in found}
    return [(number, _decode(data, said)) for number, data in rows]


_KINDS = {each.__name__: each for each in (RunBegun, TextPiece, ReasoningPiece, CallPiece, TurnFailed)}


def _encode(event: Event) -> str:
    kind = type(event).__name__
    if isinstance(event, Message):
        return json.dumps({"kind": kind, "id": event.id})
    return json.dumps({"kind": kind, **asdict(event)})


def _decode(data: Mapping[str, Any], said: Mapping[str, Message]) -> Event | None:
    kind, fields = data["kind"], {name: value for name, value in data.items() if name != "kind"}
    if kind == "Message":
        return said.get(fields["id"])
    if kind == "CompactionBegun":
        return CompactionBegun(Message(**fields["message"]))
    if kind == "TurnEnd":
        return TurnEnd(**{**fields, "usage": Usage(**fields["usage"])})
    event: Event = _KINDS[kind](**fields)
    return event
