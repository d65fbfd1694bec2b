"""Following a run through the store: one of another process, or one that is over."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from folkmoot.agents.events import Event
from folkmoot.runs.active import Encoder
from folkmoot.runs.log import DONE, RunLog, failure_events, read_entries
from folkmoot.runs.reading import end_of_run, messages_of_run
from folkmoot.runs.runs import Run, find_run, topic
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.signals import wait_or_look_again

LOOK_AGAIN_SECONDS = 1.0
"""How often a waiter looks by itself, should a wake-up from another process be lost."""


async def follow_stored(store: Store, run_id: str, after: int, encode: Encoder) -> AsyncGenerator[str, None]:
    """Yield the entries of a run's stored log behind number `after`, as they come, to the last.

    Args:
        store: where the run is kept.
        run_id: which run.
        after: the number of the last entry that was seen; 0 for all.
        encode: how an event is shown, for a run that kept no log.

    Raises:
        NotFound: there is no such run.
    """

    async def read(transaction: Transaction) -> tuple[Run, list[tuple[int, str]]]:
        return await find_run(transaction, run_id), await read_entries(transaction, run_id, after)

    with store.signals.listening(topic(run_id)) as changed:
        while True:
            changed.clear()
            run, entries = await store.read(read)
            for number, entry in entries:
                yield entry
                after = number
                if entry == DONE:
                    return
            if run.is_over and not entries:
                for entry in await _without_log(store, run, after, encode):
                    yield entry
                return
            if not entries:
                await wait_or_look_again(changed, LOOK_AGAIN_SECONDS)


async def _without_log(store: Store, run: Run, after: int, encode: Encoder) -> list[str]:
    """Return what a stream shows of a run that is over and kept no log: its messages and its end, or why it failed."""
    stored = await store.read(lambda transaction: messages_of_run(transaction, run.id))
    error = run.details.get("error") if run.status == "failed" else None
    log = RunLog()
    events: list[Event] = [*stored] if error else [*stored, end_of_run(run)]
    for event in events:
        log.append(encode(event))
    if error:
        log.append(failure_events(run.id, run.stop_reason or "error", error))
    log.finish()
    return log.entries[after:] or [DONE]
