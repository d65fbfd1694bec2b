"""Following a run through the store: one of another process, or one that is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from folkmoot.agents.events import Event, ReadingCut, RunBegun, TurnFailed
from folkmoot.conversations.messages import Message
from folkmoot.errors import NotFound
from folkmoot.runs.log import is_last, last_number, read_events
from folkmoot.runs.reading import last_event, messages_of_run
from folkmoot.runs.runs import Run, find_run, topic
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.signals import wait_or_look_again

LOOK_AGAIN_SECONDS = 1.0
"""How often a waiter looks by itself, should a wake-up from another process be lost."""


async def follow_stored(
    store: Store, run_id: str, after: int, stopped: asyncio.Event
) -> AsyncGenerator[tuple[int, Event], None]:
    """Yield the events of a run's stored log behind number `after` with their numbers, as they come, to the last.

    The answer has begun by then, so that one of a run that is deleted meanwhile can only end.

    Args:
        store: where the run is kept.
        run_id: which run.
        after: the number of the last event that was seen; 0 for all.
        stopped: set when this process stops; the last event then says so, for the run may go on in another one.
    """

    async def read(transaction: Transaction) -> tuple[Run, list[tuple[int, Event | None]]]:
        return await find_run(transaction, run_id), await read_events(transaction, run_id, after)

    with store.signals.listening(topic(run_id)) as changed:
        last_look = False
        while True:
            changed.clear()
            try:
                run, events = await store.read(read)
            except NotFound:
                return
            for number, event in events:
                after = number
                if event is None:  # a message that was deleted since
                    continue
                yield number, event
                if is_last(event):
                    return
            if run.is_over and not events:
                for number, event in await _without_log(store, run, after):
                    yield number, event
                return
            if not events:
                if last_look:
                    yield after, ReadingCut(run_id)
                    return
                last_look = stopped.is_set()  # a run of this process is ending, and is given the time to say so
                await wait_or_look_again(changed, LOOK_AGAIN_SECONDS)


async def _without_log(store: Store, run: Run, after: int) -> list[tuple[int, Event]]:
    """Return what happened behind number `after` in a run that is over, as its messages and its end tell it."""

    async def read(transaction: Transaction) -> tuple[list[Message], int]:
        return await messages_of_run(transaction, run.id), await last_number(transaction, run.id)

    said, stored = await store.read(read)
    last = last_event(run)
    if stored:  # all of its log has been seen, but a killed process showed pieces that it did not live to store
        return [(after + 1, last)] if isinstance(last, TurnFailed) and after > stored else []
    events: list[Event] = [RunBegun(run.id), *said, last]
    return list(enumerate(events, 1))[after:]
