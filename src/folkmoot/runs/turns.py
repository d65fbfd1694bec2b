"""Taking turns: one at a time in each conversation, in every process, each as a run with a task of its own.

The task goes on when the client that asked goes away. A plain request waits for its result, a stream follows its log, a
background run is left to itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from folkmoot.agents.events import Event, TurnEnd
from folkmoot.agents.services import Services
from folkmoot.agents.settling import INTERRUPTED, settle_pending
from folkmoot.agents.turn import TurnRequest, take_turn
from folkmoot.conversations.conversations import turn_topic
from folkmoot.errors import FolkmootError, ProviderError, StoreError
from folkmoot.runs.asked import Answer, Asked
from folkmoot.runs.colleagues import Asking
from folkmoot.runs.following import follow_stored, wait_or_look_again
from folkmoot.runs.log import DONE, failure_events, store_entries
from folkmoot.runs.runs import (
    CANCEL_TOPIC,
    LEASE,
    Run,
    cancel_requests,
    claim_callbacks,
    end_run,
    extend_leases,
    fail_dead_runs,
    find_run,
    request_cancel,
    store_run,
    topic,
)
from folkmoot.runs.telling import tell_callback
from folkmoot.runs.under_way import Encoder, RunUnderWay
from folkmoot.runs.waiting import begin_run, forget_asker, refuse_cycle
from folkmoot.store.engine import Transaction, Work

logger = logging.getLogger(__name__)

LONGEST_STOP = 2 * LEASE / 1e6
"""Seconds to wait for another process to stop a run; one that is dead has lost its lease by then."""

STORE_PIECES_SECONDS = 0.1
"""How long pieces of a reply stay in memory only, before readers of other processes can see them."""


class Turns:
    """Takes turns for the requests of this process, and keeps their runs alive."""

    def __init__(self, services: Services) -> None:
        """Start with no turn under way."""
        self._services = services
        self._store = services.store
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._under_way: dict[str, RunUnderWay] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._pieces = asyncio.Event()
        self._asking = Asking(self.answer, self._leave)
        self._callbacks: set[asyncio.Task[None]] = set()
        self._unsettled: dict[str, Work[None]] = {}

    async def open(self, *, alone: bool) -> None:
        """Settle what dead processes left, and begin to keep this one's runs alive.

        Args:
            alone: no other process can be at work on this database.
        """
        await self._fail_dead(every=alone)
        work: Sequence[Coroutine[Any, Any, None]] = (self._keep_alive(), self._hear_cancels(), self._store_pieces())
        self._keepers = [asyncio.create_task(each) for each in work]

    async def close(self) -> None:
        """Give the runs under way their time to end, then stop them."""
        tasks = [under_way.task for under_way in self._under_way.values() if under_way.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._services.settings.shutdown_wait)
            for late in list(self._under_way.values()):
                late.stop(cancelled=False)
            await asyncio.gather(*tasks, return_exceptions=True)
        for keeper in (*self._keepers, *self._callbacks):
            keeper.cancel()
        await asyncio.gather(*self._keepers, *self._callbacks, return_exceptions=True)

    async def answer(self, asked: Asked) -> Answer:
        """Take the whole turn and return it.

        Raises:
            NotFound: the agent, the conversation or the model does not exist.
            Conflict: a tool call waits for approval, and the request brings none.
            ProviderError: the model's provider failed; the run says why.
            StoreError: the database failed.
        """
        under_way = self._begin(new_run(asked), asked, None, stored=False)
        assert under_way.task is not None
        try:
            return await asyncio.shield(under_way.task)
        except asyncio.CancelledError:
            if under_way.cancelled and under_way.task.done():
                return Answer(under_way.run, under_way.messages, TurnEnd("cancelled"))
            if asked.asked_by is not None:
                await self._store.write(lambda transaction: forget_asker(transaction, under_way.run.id))
            raise

    async def start(self, asked: Asked, encode: Encoder, first: Callable[[Run], Sequence[Mapping[str, Any]]]) -> Run:
        """Begin a turn whose events are kept in a log, and return its run.

        Args:
            asked: what is asked.
            encode: how an event is shown.
            first: what is shown before the turn begins.
        """
        run = await self._create(asked)
        under_way = self._begin(run, asked, encode, stored=True)
        under_way.log.append(first(run))
        self._pieces.set()
        return run

    async def follow(self, run_id: str, after: int, encode: Encoder) -> AsyncGenerator[str, None]:
        """Yield the run's events behind number `after` as a stream shows them, to the last.

        Args:
            run_id: which run; of this or another process, under way or over.
            after: the number of the last event that was seen; 0 for all.
            encode: how an event is shown, for a run that kept no log.

        Raises:
            NotFound: there is no such run.
        """
        under_way = self._under_way.get(run_id)
        if under_way is not None and under_way.encode is not None:
            async with aclosing(under_way.log.follow(after)) as entries:
                async for _, entry in entries:
                    yield entry
            return
        async with aclosing(follow_stored(self._store, run_id, after, encode)) as stored:
            async for entry in stored:
                yield entry

    async def cancel(self, run_id: str) -> Run:
        """Stop the run, wherever it is worked on, and return it as it is then; one that is over stays as it is.

        Raises:
            NotFound: there is no such run.
        """
        under_way = self._under_way.get(run_id)
        if under_way is not None and under_way.task is not None:
            under_way.stop(cancelled=True)
            await asyncio.wait([under_way.task])
            return await self._find(run_id)
        with self._store.signals.listening(topic(run_id)) as changed, suppress(TimeoutError):
            await self._store.write(lambda transaction: request_cancel(transaction, run_id))
            async with asyncio.timeout(LONGEST_STOP):
                while not (await self._find(run_id)).is_over:
                    await wait_or_look_again(changed)
                    changed.clear()
        return await self._find(run_id)

    async def _find(self, run_id: str) -> Run:
        return await self._store.read(lambda transaction: find_run(transaction, run_id))

    async def _leave(self, asked: Asked) -> None:
        """Begin a turn that nobody waits for."""
        self._begin(await self._create(asked), asked, None, stored=True)

    async def _create(self, asked: Asked) -> Run:
        """Return a run that is stored before it has its turn."""
        run = replace(new_run(asked), status="created")
        await self._store.write(lambda transaction: store_run(transaction, run, "created"))
        return run

    def _begin(self, run: Run, asked: Asked, encode: Encoder | None, *, stored: bool) -> RunUnderWay:
        under_way = RunUnderWay(run, asked, self._store, encode)
        self._under_way[run.id] = under_way
        under_way.task = asyncio.create_task(self._work(under_way, stored=stored), name=run.id)
        under_way.task.add_done_callback(_retrieve)
        return under_way

    async def _work(self, under_way: RunUnderWay, *, stored: bool) -> Answer:
        """Take the turn of a run to its end, and store its failure if it fails."""
        run = under_way.run
        try:
            async with self._turn(run, stored=stored):
                under_way.begun = True
                return await self._take(under_way)
        except BaseException as error:
            await asyncio.shield(self._fail(under_way, error))
            raise
        finally:
            self._under_way.pop(run.id, None)
            if run.details.get("callback_url"):
                self._call_back(run.id)

    def _call_back(self, run_id: str) -> None:
        """Tell the run's callback address, in a task of its own, that the run is over."""
        task = asyncio.create_task(tell_callback(self._services, run_id))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def _take(self, under_way: RunUnderWay) -> Answer:
        event: Event | None = None
        async with aclosing(take_turn(self._request(under_way), self._services)) as events:
            async for event in events:
                under_way.take(event)
                if under_way.encode is not None:
                    self._pieces.set()
        assert isinstance(event, TurnEnd), "a turn ends with a TurnEnd"
        return Answer(under_way.run, under_way.messages, event)

    def _request(self, under_way: RunUnderWay) -> TurnRequest:
        run, asked = under_way.run, under_way.asked
        return TurnRequest(
            agent_id=asked.agent_id,
            conversation_id=run.conversation_id,
            run_id=run.id,
            messages=asked.messages,
            max_steps=asked.max_steps,
            journal=under_way,
            decisions=asked.decisions,
            client_tools=asked.client_tools,
            stream=asked.stream_tokens,
            colleagues=self._asking,
            chain=asked.chain,
            hops=asked.hops,
            model=asked.model,
            instructions=asked.instructions,
        )

    @asynccontextmanager
    async def _turn(self, run: Run, *, stored: bool) -> AsyncIterator[None]:
        """Hold the conversation's turn: first among this process's runs, then among all processes'."""
        queue = self._queues.setdefault(run.conversation_id, asyncio.Lock())
        if not stored and (queue.locked() or run.asked_by is not None):
            await self._store.write(lambda transaction: store_run(transaction, run, "created"))
            stored = True
        if run.asked_by is not None:
            await self._store.read(lambda transaction: refuse_cycle(transaction, run))
        async with queue:
            await self._settle()
            with self._store.signals.listening(turn_topic(run.conversation_id)) as freed:
                while not await self._store.write(
                    lambda transaction: begin_run(transaction, run, stored=stored)  # noqa: B023
                ):
                    stored = True
                    await wait_or_look_again(freed)
                    freed.clear()
                    await self._fail_dead(every=False)
            yield

    async def _fail(self, under_way: RunUnderWay, error: BaseException) -> None:
        """Store why a run failed. A database that is away leaves that to `fail_dead_runs`."""
        run = under_way.run
        details = {"type": type(error).__name__, "message": str(error)}
        status, reason = "failed", "llm_api_error" if isinstance(error, ProviderError) else "error"
        if under_way.cancelled:
            status = reason = "cancelled"
        elif isinstance(error, asyncio.CancelledError):
            details = {"type": "server_stopped", "message": "The server was stopped before the run's end."}
        logger.warning("Run %s: %s", status, details["type"], extra={"run_id": run.id, "agent_id": run.agent_id})
        events = failure_events(run.id, reason, details)
        entries = under_way.log.entries[under_way.log.stored :]
        # A refusal comes before anything that was decided is carried out; what was decided can be said again.
        refused = isinstance(error, FolkmootError) and not isinstance(error, StoreError)
        interrupted = under_way.begun and under_way.asked.decisions is not None and not refused

        async def store(transaction: Transaction) -> None:
            ended = await end_run(transaction, run, status, reason, {"error": details})
            if ended and under_way.encode is not None:
                last = [*entries, *under_way.log.encode(events), DONE]
                await store_entries(transaction, run.id, under_way.log.stored, last)
            if ended and interrupted:
                await settle_pending(transaction, run.conversation_id, INTERRUPTED)

        self._unsettled[run.id] = store
        await self._settle()
        under_way.log.append(events)
        under_way.log.finish()

    async def _settle(self) -> None:
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

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3e6)
            try:
                active = list(self._under_way)
                if active:
                    await self._store.write(lambda transaction: extend_leases(transaction, active))  # noqa: B023
                await self._settle()
                await self._fail_dead(every=False)
                for run_id in await self._store.write(claim_callbacks):
                    self._call_back(run_id)
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

    async def _fail_dead(self, *, every: bool) -> None:
        dead = await self._store.write(lambda transaction: fail_dead_runs(transaction, every=every))
        for run_id in dead:
            logger.warning("Run was left unfinished by a process that is gone", extra={"run_id": run_id})


def new_run(asked: Asked) -> Run:
    """Return the run of a request, not yet stored."""
    conversation_id = asked.conversation_id or asked.agent_id
    otids = [message.otid for message in asked.messages if message.otid is not None]
    details = {**(asked.details or {}), "otids": otids, "decides": asked.decisions is not None}
    return Run(asked.agent_id, conversation_id, asked.background, details, asked.asked_by)


def _retrieve(task: asyncio.Task[Answer]) -> None:
    """Look at a task's error, which its run says already, so that asyncio does not report it as overlooked."""
    if not task.cancelled():
        task.exception()
