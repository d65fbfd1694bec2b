"""What a process does all the time for its runs, and for those that other processes left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from folkmoot.agents.services import Services
from folkmoot.errors import FolkmootError, StoreError
from folkmoot.runs.following import wait_or_look_again
from folkmoot.runs.log import store_entries
from folkmoot.runs.pruning import prune_logs
from folkmoot.runs.runs import (
    CANCEL_TOPIC,
    LEASE,
    cancel_requests,
    claim_callbacks,
    extend_leases,
    fail_dead_runs,
    topic,
)
from folkmoot.runs.telling import tell_callback
from folkmoot.runs.under_way import RunUnderWay
from folkmoot.store import clock
from folkmoot.store.engine import Transaction, Work

logger = logging.getLogger(__name__)

STORE_PIECES_SECONDS = 0.1
"""How long pieces of a reply stay in memory only, before readers of other processes can see them."""

PRUNE_SECONDS = 60.0
"""How often streams are looked for that need not be kept any longer."""


class Keeper:
    """Keeps the leases of a process's runs, stores their pieces and ends, hears cancels, sends callbacks."""

    def __init__(self, services: Services, under_way: Mapping[str, RunUnderWay]) -> None:
        """Keep these runs, by their identifiers."""
        self._services = services
        self._store = services.store
        self._under_way = under_way
        self._tasks: list[asyncio.Task[None]] = []
        self._callbacks: set[asyncio.Task[None]] = set()
        self._pieces = asyncio.Event()
        self._unsettled: dict[str, Work[None]] = {}

    async def open(self, *, alone: bool) -> None:
        """Settle what dead processes left, and begin.

        Args:
            alone: no other process can be at work on this database.
        """
        await self.fail_dead(every=alone)
        work: Sequence[Coroutine[Any, Any, None]] = (
            self._keep_alive(),
            self._hear_cancels(),
            self._store_pieces(),
            self._prune_logs(),
        )
        self._tasks = [asyncio.create_task(each) for each in work]

    async def close(self) -> None:
        """Stop, with no run under way any more."""
        for task in (*self._tasks, *self._callbacks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._callbacks, return_exceptions=True)

    def look_for_pieces(self) -> None:
        """Say that a log has got new entries."""
        self._pieces.set()

    def call_back(self, run_id: str) -> None:
        """Tell the run's callback address, in a task of its own, that the run is over."""
        task = asyncio.create_task(tell_callback(self._services, run_id))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def end(self, run_id: str, store: Work[None]) -> None:
        """Store the end of a run that failed, later if the database cannot take it now."""
        self._unsettled[run_id] = store
        await self.settle()

    async def settle(self) -> None:
        """Store the ends of failed runs; those that a database in trouble does not take are tried again later."""
        for run_id, store in list(self._unsettled.items()):
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

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3e6)
            try:
                active = list(self._under_way)
                if active:
                    await self._store.write(lambda transaction: extend_leases(transaction, active))  # noqa: B023
                await self.settle()
                await self.fail_dead(every=False)
                for run_id in await self._store.write(claim_callbacks):
                    self.call_back(run_id)
            except StoreError as error:
                logger.warning("Leases could not be extended: %s", error.message)
            except Exception:
                logger.exception("Leases could not be extended")

    async def _hear_cancels(self) -> None:
        """Cancel the runs of this process that another process was asked to cancel."""
        with self._store.signals.listening(CANCEL_TOPIC) as requested:
            while True:
                await wait_or_look_again(requested)
                requested.clear()
                active = list(self._under_way)
                if not active:
                    continue
                with suppress(StoreError):
                    for run_id in await self._store.read(
                        lambda transaction: cancel_requests(transaction, active)  # noqa: B023
                    ):
                        if under_way := self._under_way.get(run_id):
                            under_way.stop(cancelled=True)

    async def _store_pieces(self) -> None:
        """Store what the logs of this process have gathered, some at a time, for readers of other processes."""
        while True:
            await self._pieces.wait()
            await asyncio.sleep(STORE_PIECES_SECONDS)
            self._pieces.clear()
            waiting = [
                (each.log, each.run.id, each.log.stored, each.log.entries[each.log.stored :])
                for each in self._under_way.values()
                if each.encode is not None and len(each.log.entries) > each.log.stored
            ]

            async def store(transaction: Transaction, waiting: Any = waiting) -> None:
                for _, run_id, before, entries in waiting:
                    await store_entries(transaction, run_id, before, entries)
                    transaction.signal(topic(run_id))

            try:
                await self._store.write(store)
            except FolkmootError as error:
                logger.warning("Pieces of streams were not stored: %s", error.message)
                continue
            for log, _, before, entries in waiting:
                log.stored = max(log.stored, before + len(entries))

    async def _prune_logs(self) -> None:
        """Forget how runs were streamed that were made longer ago than streams are kept."""
        pruned = 0
        while True:
            before = clock.now() - int(self._services.settings.keep_streams * 1e6)
            try:
                done = await self._store.write(lambda transaction: prune_logs(transaction, pruned, before))  # noqa: B023
            except StoreError as error:
                logger.warning("Old streams were not deleted: %s", error.message)
                done = None
            pruned = done or pruned
            if done is None:
                await asyncio.sleep(PRUNE_SECONDS)
