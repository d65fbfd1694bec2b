"""What a process does all the time for its runs, and for those that other processes left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack

from folkmoot.agents.services import Services
from folkmoot.errors import StoreError
from folkmoot.runs.active import ActiveRun
from folkmoot.runs.log import store_entries
from folkmoot.runs.log_reader import LOOK_AGAIN_SECONDS
from folkmoot.runs.pruning import prune_logs
from folkmoot.runs.runs import (
    CANCEL_TOPIC,
    LEASE,
    Run,
    cancel_requests,
    claim_callbacks,
    extend_leases,
    fail_dead_runs,
    topic,
)
from folkmoot.runs.telling import tell_callback
from folkmoot.store import clock
from folkmoot.store.engine import Transaction, Work
from folkmoot.store.signals import wait_or_look_again

logger = logging.getLogger(__name__)

STORE_PIECES_SECONDS = 0.1
"""How long pieces of a reply stay in memory only, before readers of other processes can see them."""

PAUSE_SECONDS = 1.0
"""How long to wait after something went wrong."""

PRUNE_SECONDS = 60.0
"""How often streams are looked for that need not be kept any longer."""


class RunSupervisor:
    """Keeps the leases of a process's runs, stores their pieces and ends, hears cancels, sends callbacks."""

    def __init__(self, services: Services, active: Mapping[str, ActiveRun]) -> None:
        """Keep these runs, by their identifiers."""
        self._services = services
        self._store = services.store
        self._active = active
        self._tasks: list[asyncio.Task[None]] = []
        self._callbacks: set[asyncio.Task[None]] = set()
        self._pieces = asyncio.Event()
        self._cancel_requested = asyncio.Event()
        self._listening = ExitStack()
        self._pruned = 0
        self._unsettled: dict[str, tuple[str, Work[None]]] = {}

    async def open(self, *, alone: bool) -> None:
        """Settle what dead processes left, and begin.

        Args:
            alone: no other process can be at work on this database.
        """
        await self.fail_dead(every=alone)
        self._cancel_requested = self._listening.enter_context(self._store.signals.listening(CANCEL_TOPIC))
        work: Mapping[str, Callable[[], Awaitable[None]]] = {
            "Leases could not be extended": self._extend_leases,
            "What was left undone could not be finished": self._tidy,
            "Requests to cancel could not be read": self._hear_cancels,
            "Pieces of streams were not stored": self._store_pieces,
            "Old streams were not deleted": self._prune_logs,
        }
        self._tasks = [asyncio.create_task(self._again_and_again(what, each)) for what, each in work.items()]

    async def close(self) -> None:
        """Stop, with no run under way any more."""
        for task in (*self._tasks, *self._callbacks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._callbacks, return_exceptions=True)
        self._listening.close()

    def look_for_pieces(self) -> None:
        """Say that a log has got new entries."""
        self._pieces.set()

    def call_back(self, run_id: str) -> None:
        """Tell the run's callback address, in a task of its own, that the run is over."""
        task = asyncio.create_task(tell_callback(self._services, run_id))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def end(self, run: Run, store: Work[None]) -> None:
        """Store the end of a run that failed, later if the database cannot take it now."""
        self._unsettled[run.id] = run.conversation_id, store
        await self.settle(run.conversation_id)

    async def settle(self, conversation_id: str | None = None) -> None:
        """Store the ends of failed runs, only those in one conversation when it is named.

        Those that a database in trouble does not take are tried again later.
        """
        for run_id, (where, store) in list(self._unsettled.items()):
            if conversation_id not in (None, where):
                continue
            try:
                await self._store.write(store)
            except StoreError as error:
                logger.warning("The end of a run could not be stored: %s", error.message, extra={"run_id": run_id})
            except Exception:
                logger.exception("The end of a run cannot be stored", extra={"run_id": run_id})
                self._unsettled.pop(run_id, None)
            else:
                self._unsettled.pop(run_id, None)

    async def fail_dead(self, *, every: bool) -> bool:
        """Mark runs as failed whose process is gone; tell whether there was one.

        Args:
            every: all that no process of this database works on, because this is its only one and has just started.
        """
        dead = await self._store.write(lambda transaction: fail_dead_runs(transaction, every=every))
        for run_id in dead:
            logger.warning("Run was left unfinished by a process that is gone", extra={"run_id": run_id})
        return bool(dead)

    async def _again_and_again(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work for ever; what goes wrong is logged, and tried again after a pause."""
        while True:
            try:
                await work()
            except StoreError as error:
                logger.warning("%s: %s", what, error.message)
                await asyncio.sleep(PAUSE_SECONDS)
            except Exception:
                logger.exception(what)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _extend_leases(self) -> None:
        await asyncio.sleep(LEASE / 3e6)
        if active := list(self._active):
            await self._store.write(lambda transaction: extend_leases(transaction, active))

    async def _tidy(self) -> None:
        """Finish what failing, dying and stopping left undone: ends, dead runs, callbacks."""
        await asyncio.sleep(LEASE / 3e6)
        await self.settle()
        await self.fail_dead(every=False)
        for run_id in await self._store.write(claim_callbacks):
            self.call_back(run_id)

    async def _hear_cancels(self) -> None:
        """Stop the runs of this process that another process was asked to cancel."""
        await wait_or_look_again(self._cancel_requested, LOOK_AGAIN_SECONDS)
        self._cancel_requested.clear()
        if active := list(self._active):
            for run_id in await self._store.read(lambda transaction: cancel_requests(transaction, active)):
                if active := self._active.get(run_id):
                    active.stop(cancelled=True)

    async def _store_pieces(self) -> None:
        """Store what the logs of this process have gathered, some at a time, for readers of other processes."""
        await self._pieces.wait()
        await asyncio.sleep(STORE_PIECES_SECONDS)
        self._pieces.clear()
        waiting = [
            (each.log, each.run.id, each.log.stored, each.log.entries[each.log.stored :])
            for each in self._active.values()
            if each.has_pieces
        ]
        if not waiting:
            return

        async def store(transaction: Transaction) -> None:
            for _, run_id, before, entries in waiting:
                await store_entries(transaction, run_id, before, entries)
                transaction.signal(topic(run_id))

        await self._store.write(store)
        for log, _, before, entries in waiting:
            log.stored = max(log.stored, before + len(entries))

    async def _prune_logs(self) -> None:
        """Forget how runs were streamed that were made longer ago than streams are kept, some at a time."""
        before = clock.now() - int(self._services.settings.keep_streams * 1e6)
        done = await self._store.write(lambda transaction: prune_logs(transaction, self._pruned, before))
        self._pruned = done or self._pruned
        await asyncio.sleep(PRUNE_SECONDS if done is None else STORE_PIECES_SECONDS)
