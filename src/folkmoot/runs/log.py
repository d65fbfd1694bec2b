"""A run's events as its streams show them, numbered from 1: in memory while the run is under way, and in the store.

Whoever reads on the process that works on the run reads the memory, everybody else the store. An entry that shows a
step is stored in the step's own transaction; pieces of a reply that is being written are stored a little later.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, func, select

from folkmoot.store.engine import Transaction
from folkmoot.store.tables import run_events, runs

DONE = "[DONE]"
"""The last entry of every log."""

_is_kept = select(runs.c.id).where(runs.c.id == bindparam("run_id"))
_last = select(func.max(run_events.c.sequence).label("sequence")).where(run_events.c.run_id == bindparam("run_id"))
_after = (
    select(run_events.c.sequence, run_events.c.data)
    .where(
        run_events.c.run_id == bindparam("run_id"),
        run_events.c.sequence > bindparam("after"),
    )
    .order_by(run_events.c.sequence)
    .limit(500)
)


class RunLog:
    """The log of a run that this process works on."""

    def __init__(self) -> None:
        """Start with no entry."""
        self.entries: list[str] = []
        self.stored = 0
        self._readers: set[asyncio.Event] = set()

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Add events and wake the readers."""
        self._add(self.encode(events))

    def add_stored(self, entries: Sequence[str]) -> None:
        """Add entries that are stored already, with all before them, and wake the readers."""
        self._add(entries)
        self.stored = len(self.entries)

    def finish(self) -> None:
        """Add the last entry."""
        self._add([DONE])

    def _add(self, entries: Sequence[str]) -> None:
        self.entries += entries
        for reader in self._readers:
            reader.set()

    def encode(self, events: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return events as the entries that they will be when they are appended now."""
        return encode_events(events, len(self.entries))

    async def follow(self, after: int) -> AsyncGenerator[tuple[int, str], None]:
        """Yield each entry behind number `after` with its number, as it comes, until the last."""
        changed = asyncio.Event()
        self._readers.add(changed)
        try:
            while True:
                changed.clear()
                while after < len(self.entries):
                    after += 1
                    yield after, self.entries[after - 1]
                if self.entries and self.entries[-1] == DONE:
                    return
                await changed.wait()
        finally:
            self._readers.discard(changed)


def encode_events(events: Sequence[Mapping[str, Any]], before: int) -> list[str]:
    """Return events as entries behind `before` others; one that has a `seq_id` gets its number."""
    entries: list[str] = []
    for event in events:
        number = before + len(entries) + 1
        entries.append(json.dumps({**event, "seq_id": number} if "seq_id" in event else event))
    return entries


def failure_events(run_id: str, stop_reason: str, error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a stream shows of a run that did not come to its end."""
    shown: list[Mapping[str, Any]] = []
    if stop_reason != "cancelled":
        shown.append(
            {
                "message_type": "error_message",
                "run_id": run_id,
                "error_type": error["type"],
                "message": error["message"],
                "detail": None,
                "seq_id": None,
            }
        )
    return [*shown, {"message_type": "stop_reason", "stop_reason": stop_reason}]


async def store_entries(transaction: Transaction, run_id: str, before: int, entries: Sequence[str]) -> None:
    """Store entries behind `before` others; those that are stored already stay, and a deleted run's are not kept."""
    if await transaction.first(_is_kept, run_id=run_id) is None:
        return
    rows = [{"run_id": run_id, "sequence": number, "data": entry} for number, entry in enumerate(entries, before + 1)]
    await transaction.insert(run_events, rows, or_keep=True)


async def append_events(transaction: Transaction, run_id: str, events: Sequence[Mapping[str, Any]]) -> None:
    """Store a run's last events and its end, for a run whose process is gone; nothing for one that kept no log."""
    row = await transaction.first(_last, run_id=run_id)
    if row is None or row["sequence"] is None:
        return
    before = int(row["sequence"])
    await store_entries(transaction, run_id, before, [*encode_events(events, before), DONE])


async def read_entries(transaction: Transaction, run_id: str, after: int) -> list[tuple[int, str]]:
    """Return some of the stored entries behind number `after`."""
    return [(row["sequence"], row["data"]) for row in await transaction.all(_after, run_id=run_id, after=after)]
