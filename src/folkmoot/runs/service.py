"""Taking turns: one at a time in each conversation, in every process, each as a run with a task of its own.

The task goes on when the client that asked goes away. A plain request waits for its result, a stream follows its log, a
background run is left to itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from folkmoot.agents.abandoned_calls import INTERRUPTED, settle_abandoned
from folkmoot.agents.events import Event, TurnEnd
from folkmoot.agents.services import Services
from folkmoot.agents.turn import preview_turn, take_turn
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.conversations import lock_topic
from folkmoot.errors import BadRequest, InvalidInput, NotFound, ProviderError
from folkmoot.models.prompt import Prompt
from folkmoot.runs.active import ActiveRun, Encoder
from folkmoot.runs.asked import Answer, Asked
from folkmoot.runs.log import DONE, failure_events, store_entries
from folkmoot.runs.log_reader import LOOK_AGAIN_SECONDS, follow_stored
from folkmoot.runs.messenger import AgentMessenger
from folkmoot.runs.runs import (
    LEASE,
    Run,
    end_run,
    find_run,
    request_cancel,
    store_run,
    topic,
)
from folkmoot.runs.scheduler import begin_run, forget_asker, refuse_cycle
from folkmoot.runs.supervisor import RunSupervisor
from folkmoot.store.engine import Transaction
from folkmoot.store.signals import wait_or_look_again

logger = logging.getLogger(__name__)

LONGEST_STOP = 2 * LEASE / 1e6
"""Seconds to wait for another process to stop a run; one that is dead has lost its lease by then."""


class RunService:
    """Takes turns for the requests of this process, and keeps their runs alive."""

    def __init__(self, services: Services) -> None:
        """Start with no turn under way."""
        self._services = services
        self._store = services.store
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._active: dict[str, ActiveRun] = {}
        self._supervisor = RunSupervisor(services, self._active)
        self._messenger = AgentMessenger(self.answer, self._leave)

    async def open(self, *, alone: bool) -> None:
        """Settle what dead processes left, and begin to keep this one's runs alive.

        Args:
            alone: no other process can be at work on this database.
        """
        await self._supervisor.open(alone=alone)

    async def close(self) -> None:
        """Give the runs under way their time to end, then stop them."""
        now = asyncio.get_running_loop().time
        until = now() + self._services.settings.shutdown_wait
        while (tasks := self._tasks()) and (left := until - now()) > 0:  # a run may begin others meanwhile
            await asyncio.wait(tasks, timeout=left)
        while tasks := self._tasks():
            for late in list(self._active.values()):
                late.stop(cancelled=False)
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._supervisor.close()

    def _tasks(self) -> list[asyncio.Task[Answer]]:
        return [active.task for active in self._active.values() if active.task is not None]

    async def answer(self, asked: Asked) -> Answer:
        """Take the whole turn and return it.

        Raises:
            NotFound: the agent, the conversation or the model does not exist.
            Conflict: a tool call waits for approval, and the request brings none.
            ProviderError: the model's provider failed; the run says why.
            StoreError: the database failed.
        """
        active = self._begin(new_run(asked), asked, None, stored=False)
        assert active.task is not None
        try:
            return await asyncio.shield(active.task)
        except asyncio.CancelledError:
            if active.cancelled and active.task.done():
                return Answer(active.run, active.messages, TurnEnd("cancelled"))
            if asked.asked_by is not None:
                await self._store.write(lambda transaction: forget_asker(transaction, active.run.id))
            raise

    async def start(self, asked: Asked, encode: Encoder, first: Callable[[Run], Sequence[Mapping[str, Any]]]) -> Run:
        """Begin a turn whose events are kept in a log, and return its run.

        Args:
            asked: what is asked.
            encode: how an event is shown.
            first: what is shown before the turn begins.
        """
        run = await self._create(asked)
        active = self._begin(run, asked, encode, stored=True)
        active.log.append(first(run))
        self._supervisor.look_for_pieces()
        return run

    async def preview(self, asked: Asked) -> tuple[str, Prompt]:
        """Return the model that a turn would ask first, and what; no model is asked and nothing is stored.

        Raises:
            NotFound: the agent or the conversation does not exist.
        """
        return await preview_turn(self._request(ActiveRun(new_run(asked), asked, self._store)), self._services)

    async def follow(self, run_id: str, after: int, encode: Encoder) -> AsyncGenerator[str, None]:
        """Yield the run's events behind number `after` as a stream shows them, to the last.

        Args:
            run_id: which run; of this or another process, under way or over.
            after: the number of the last event that was seen; 0 for all.
            encode: how an event is shown, for a run that kept no log.

        Raises:
            NotFound: there is no such run.
        """
        active = self._active.get(run_id)
        if active is not None and active.encode is not None:
            async with aclosing(active.log.follow(after)) as entries:
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
        active = self._active.get(run_id)
        if active is not None and active.task is not None:
            active.stop(cancelled=True)
            await asyncio.wait([active.task])
            return await self._find(run_id)
        with self._store.signals.listening(topic(run_id)) as changed, suppress(TimeoutError):
            await self._store.write(lambda transaction: request_cancel(transaction, run_id))
            async with asyncio.timeout(LONGEST_STOP):
                while not (await self._find(run_id)).is_over:
                    await wait_or_look_again(changed, LOOK_AGAIN_SECONDS)
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

    def _begin(self, run: Run, asked: Asked, encode: Encoder | None, *, stored: bool) -> ActiveRun:
        active = ActiveRun(run, asked, self._store, encode)
        self._active[run.id] = active
        active.task = asyncio.create_task(self._work(active, stored=stored), name=run.id)
        active.task.add_done_callback(_retrieve)
        return active

    async def _work(self, active: ActiveRun, *, stored: bool) -> Answer:
        """Take the turn of a run to its end, and store its failure if it fails."""
        run = active.run
        try:
            active.set_off()
            async with self._turn(run, stored=stored):
                active.begun = True
                return await self._take(active)
        except BaseException as error:
            active.give_up()
            await asyncio.shield(self._fail(active, error))
            raise
        finally:
            self._active.pop(run.id, None)
            if run.details.get("callback_url"):
                self._supervisor.call_back(run.id)

    async def _take(self, active: ActiveRun) -> Answer:
        event: Event | None = None
        async with aclosing(take_turn(self._request(active), self._services)) as events:
            async for event in events:
                active.take(event)
                if active.has_pieces:
                    self._supervisor.look_for_pieces()
        assert isinstance(event, TurnEnd), "a turn ends with a TurnEnd"
        return Answer(active.run, active.messages, event)

    def _request(self, active: ActiveRun) -> TurnRequest:
        run, asked = active.run, active.asked
        return TurnRequest(
            agent_id=asked.agent_id,
            conversation_id=run.conversation_id,
            run_id=run.id,
            messages=asked.messages,
            max_steps=asked.max_steps,
            journal=active,
            decisions=asked.decisions,
            client_tools=asked.client_tools,
            stream=asked.stream_tokens,
            messenger=self._messenger,
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
            await self._supervisor.settle(run.conversation_id)
            with self._store.signals.listening(lock_topic(run.conversation_id)) as freed:
                while not await self._store.write(
                    lambda transaction: begin_run(transaction, run, stored=stored)  # noqa: B023
                ):
                    stored = True
                    if not await self._supervisor.fail_dead(every=False):
                        await wait_or_look_again(freed, LOOK_AGAIN_SECONDS)
                        freed.clear()
            yield

    async def _fail(self, active: ActiveRun, error: BaseException) -> None:
        """Store why a run failed."""
        run = active.run
        details = {"type": type(error).__name__, "message": str(error)}
        status, reason = "failed", "llm_api_error" if isinstance(error, ProviderError) else "error"
        if active.cancelled:
            status = reason = "cancelled"
        elif isinstance(error, asyncio.CancelledError):
            details = {"type": "server_stopped", "message": "The server was stopped before the run's end."}
        logger.warning("Run %s: %s", status, details["type"], extra={"run_id": run.id, "agent_id": run.agent_id})
        log, events = active.log, failure_events(run.id, reason, details)
        before, entries = log.stored, [*log.entries[log.stored :], *log.encode(events), DONE]
        # Such a refusal comes before anything that was decided is carried out; what was decided can be said again.
        refused = isinstance(error, BadRequest | InvalidInput | NotFound)
        interrupted = active.begun and active.asked.decisions is not None and not refused

        async def store(transaction: Transaction) -> None:
            ended = await end_run(transaction, run, status, reason, {"error": details})
            if ended and active.encode is not None:
                await store_entries(transaction, run.id, before, entries)
            if ended and interrupted:
                await settle_abandoned(transaction, run.conversation_id, INTERRUPTED)

        await self._supervisor.end(run, store)
        log.append(events)
        log.finish()


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
