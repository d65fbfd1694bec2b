"""What a process does all the time for its runs, and for those that other processes left behind."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from weakref import WeakValueDictionary

from folkmoot.agents.deletion import finish_deletions
from folkmoot.agents.events import Event
from folkmoot.agents.services import Services
from folkmoot.errors import StoreError
from folkmoot.runs.active import ActiveRun, AfterTurn, Answer
from folkmoot.runs.callbacks import tell_callback
from folkmoot.runs.log import store_pieces
from folkmoot.runs.log_reader import LOOK_AGAIN_SECONDS
from folkmoot.runs.pruning import Pruning
from folkmoot.runs.runs import (
    CANCEL_TOPIC,
    Run,
    cancel_requests,
    claim_callbacks,
    extend_leases,
    fail_dead_runs,
    stored_runs,
    topic,
)
from folkmoot.store.engine import Store, Transaction, Work
from folkmoot.store.leases import EXTEND_SECONDS, LEASE, again_and_again
from folkmoot.store.signals import wait_or_look_again

logger = logging.getLogger(__name__)

AWAY_SECONDS = 2 * EXTEND_SECONDS
"""How long a process may have been without the database, or asleep, and still know who has let a lease end."""

STORE_PIECES_SECONDS = 0.1
"""How long pieces of a reply stay in memory only, before readers of other processes can see them."""

FINISH_DELETIONS_SECONDS = 60.0
"""How often it is looked for deletions that a process which is gone has left."""

PRUNE_SECONDS = 60.0
"""How often is looked for what need not be kept any longer."""


class RunSupervisor:
    """Keeps the leases of a process's runs, stores their pieces and ends, hears cancels, sends callbacks."""

    def __init__(self, services: Services, after_turn: AfterTurn) -> None:
        """Look after the runs of a process.

        Args:
            services: the store and the settings.
            after_turn: what is done in the transaction that stores a turn's end.
        """
        self.after_turn = after_turn
        self._services = services
        self._store = services.store
        self.active: dict[str, ActiveRun] = {}
        """The runs that this process works on, by their identifiers."""

        self.pieces = asyncio.Event()
        """Set when a log has events that are not stored yet."""

        self.stopped = asyncio.Event()
        """Set when this process stops what it works on."""

        self._in_touch_at = time.monotonic()
        self._judges_from = self._in_touch_at
        self._until: float | None = None
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._tasks: list[asyncio.Task[None]] = []
        self._callbacks: set[asyncio.Task[None]] = set()
        self._cancel_requested = asyncio.Event()
        self._listening = ExitStack()
        self._pruning = Pruning(services.store, services.settings, services.traces)
        self._unsettled: dict[str, tuple[Store, str, Work[None]]] = {}

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
            "What is too old was not deleted": self._prune,
            "What was being deleted is still there": self._finish_deletions,
        }
        self._tasks = [asyncio.create_task(again_and_again(what, each)) for what, each in work.items()]

    def queue(self, conversation_id: str) -> asyncio.Lock:
        """Return the lock that this process's runs of a conversation wait for, in order."""
        return self._queues.setdefault(conversation_id, asyncio.Lock())

    @property
    def is_stopping(self) -> bool:
        """Whether this process is about to stop, so that nothing is to be begun that can wait."""
        return self._until is not None

    def stop_after(self, seconds: float) -> None:
        """Let the active runs go on for so many seconds at most; what is left then is stopped, and says so.

        Of several such calls the earliest end counts.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._until is None or until < self._until:
            self._until = until
            loop.call_at(until, self._stop)

    async def close(self) -> None:
        """Give the active runs what is left of their time to end, then stop them and all else."""
        now = asyncio.get_running_loop().time
        self.stop_after(self._services.settings.shutdown_wait)
        while (working := self._working()) and self._until is not None and (left := self._until - now()) > 0:
            await asyncio.wait(working, timeout=left)  # a run may begin others meanwhile
        while working := self._working():
            self._stop()
            await asyncio.gather(*working, return_exceptions=True)
        self._stop()  # what is begun from here on ends at once
        for task in (*self._tasks, *self._callbacks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._callbacks, return_exceptions=True)
        self._listening.close()

    def _stop(self) -> None:
        self.stopped.set()
        for late in list(self.active.values()):
            late.stop(cancelled=False)

    def _working(self) -> list[asyncio.Task[Answer]]:
        return [active.task for active in self.active.values() if active.task is not None]

    def call_back(self, store: Store, run_id: str) -> None:
        """Tell the run's callback address, in a task of its own, that the run is over."""
        task = asyncio.create_task(tell_callback(store, self._services.settings, run_id))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def end(self, store: Store, run: Run, work: Work[None]) -> None:
        """Store the end of a run that failed, later if the database cannot take it now."""
        self._unsettled[run.id] = store, run.conversation_id, work
        await self._settle([run.id])

    async def settle(self, conversation_id: str | None = None) -> None:
        """Store the ends of failed runs, only those in one conversation when it is named.

        Those that a database in trouble does not take are tried again later.
        """
        unsettled = self._unsettled.items()
        await self._settle([run_id for run_id, (_, where, _) in unsettled if conversation_id in (None, where)])

    async def _settle(self, run_ids: Sequence[str]) -> None:
        """Store the ends of these runs; when the database cannot take one, the others wait for the next try too.

        Each might wait as long for a database that is away, and there are as many as messages were sent meanwhile.
        """
        for place, run_id in enumerate(run_ids):
            if run_id not in self._unsettled:  # somebody else was faster
                continue
            store, _, work = self._unsettled[run_id]
            try:
                await store.write(work)
            except StoreError as error:
                about = {"run_id": run_id, "runs": len(run_ids) - place}
                logger.warning("The end of a run could not be stored: %s", error.message, extra=about)
                if run_id in self._unsettled:  # the next try begins with another one
                    self._unsettled[run_id] = self._unsettled.pop(run_id)
                return
            except Exception:
                logger.exception("The end of a run cannot be stored", extra={"run_id": run_id})
                self._unsettled.pop(run_id, None)
            else:
                self._unsettled.pop(run_id, None)

    async def fail_dead(self, *, every: bool) -> bool:
        """Mark runs as failed whose process is gone; tell whether there was one.

        Whoever was without the database judges nobody until a lease has passed: the others, and it itself, may have
        been without it as long, and need the time to say that they are still at work.

        Args:
            every: all that no process of this database works on, because this is its only one and has just started.
        """
        now = time.monotonic()
        if now - self._in_touch_at > AWAY_SECONDS:
            self._judges_from = now + LEASE / 1e6
        if now < self._judges_from and not every:
            return False
        own = self.active
        dead = await self._store.everywhere.write(lambda transaction: fail_dead_runs(transaction, own, every=every))
        for run_id in dead:
            logger.warning("Run was left unfinished by a process that is gone", extra={"run_id": run_id})
        return bool(dead)

    async def _extend_leases(self) -> None:
        """Say that this process is at work on its runs; those that were deleted meanwhile are stopped."""
        await asyncio.sleep(EXTEND_SECONDS)
        begun = {run_id for run_id, active in self.active.items() if active.began_at is not None}
        if begun.difference(await self._for_each_organization(extend_leases)):
            for run_id in begun.difference(await self._for_each_organization(stored_runs)):
                if active := self.active.get(run_id):
                    active.stop(cancelled=False, deleted=True)

    async def _tidy(self) -> None:
        """Finish what failing, dying and stopping left undone: ends, dead runs, callbacks."""
        await asyncio.sleep(EXTEND_SECONDS)
        await self.settle()
        await self.fail_dead(every=False)
        for organization_id, run_id in await self._store.everywhere.write(claim_callbacks):
            self.call_back(self._store.of(organization_id), run_id)
        self._in_touch_at = time.monotonic()

    async def _hear_cancels(self) -> None:
        """Stop the runs of this process that another process was asked to cancel."""
        await wait_or_look_again(self._cancel_requested, LOOK_AGAIN_SECONDS)
        self._cancel_requested.clear()
        for run_id in await self._for_each_organization(cancel_requests):
            if active := self.active.get(run_id):
                active.stop(cancelled=True)

    async def _for_each_organization(
        self, work: Callable[[Transaction, Sequence[str]], Awaitable[Sequence[str]]]
    ) -> list[str]:
        """Do `work` with the runs of this process, organisation by organisation, and return all that it returned."""
        by_organization: dict[str | None, list[str]] = {}
        for run_id, active in self.active.items():
            by_organization.setdefault(active.store.organization_id, []).append(run_id)

        async def each(transaction: Transaction) -> list[str]:
            found: list[str] = []
            for organization_id, run_ids in by_organization.items():
                found += await work(transaction.within(organization_id or ""), run_ids)
            return found

        return await self._store.everywhere.write(each) if by_organization else []

    async def _store_pieces(self) -> None:
        """Store what the logs of this process have gathered, some at a time, for readers of other processes."""
        await self.pieces.wait()
        await asyncio.sleep(STORE_PIECES_SECONDS)
        self.pieces.clear()
        waiting = [
            (each, each.log.stored, each.log.waiting)
            for each in self.active.values()
            if each.logged and each.log.waiting
        ]
        if not waiting:
            return
        by_organization: dict[str | None, list[tuple[str, int, Sequence[Event]]]] = {}
        for active, before, events in waiting:
            of_organization = by_organization.setdefault(active.store.organization_id, [])
            of_organization.append((active.run_id, before, events))

        async def store(transaction: Transaction) -> None:
            for organization_id, pieces in by_organization.items():
                await store_pieces(transaction.within(organization_id or ""), pieces)
            for active, _, _ in waiting:
                transaction.signal(topic(active.run_id))

        try:
            await self._store.everywhere.write(store)
        except Exception:
            self.pieces.set()  # they still wait, and a model may be long in writing the next
            raise
        for active, before, events in waiting:
            active.log.stored = max(active.log.stored, before + len(events))

    async def _finish_deletions(self) -> None:
        """Finish what processes that are gone were deleting."""
        await finish_deletions(self._store)
        await asyncio.sleep(FINISH_DELETIONS_SECONDS)

    async def _prune(self) -> None:
        """Forget what is older than it is to be kept, some at a time."""
        more = await self._pruning.prune()
        await asyncio.sleep(STORE_PIECES_SECONDS if more else PRUNE_SECONDS)
