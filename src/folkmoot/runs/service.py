"""Turns as runs: one at a time in each conversation, in every process, each in a task of its own.

The task goes on when the client that asked goes away. A plain request waits for its result, a stream follows its log, a
background run is left to itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from folkmoot.access.principals import Principal
from folkmoot.agents.abandoned_calls import INTERRUPTED, settle_abandoned
from folkmoot.agents.context import Seen
from folkmoot.agents.events import STOPPED, Event, TurnEnd, TurnFailed
from folkmoot.agents.services import Services
from folkmoot.agents.steps import store_step
from folkmoot.agents.turn import preview_turn, take_turn
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.conversations import append_messages, find_conversation, lock_topic
from folkmoot.conversations.messages import message_to_json
from folkmoot.errors import BadRequest, FolkmootError, InvalidInput, NotFound, ProviderError, ServerStopped
from folkmoot.metrics import TURNS
from folkmoot.models.prompt import Prompt
from folkmoot.runs.active import ActiveRun, Answer
from folkmoot.runs.log import store_events, unfinished_words
from folkmoot.runs.log_reader import LOOK_AGAIN_SECONDS, follow_stored
from folkmoot.runs.messenger import AgentMessenger
from folkmoot.runs.reading import end_details, last_event
from folkmoot.runs.runs import Run, end_run, find_run, request_cancel, store_run, topic
from folkmoot.runs.scheduler import begin_run, forget_asker, refuse_cycle
from folkmoot.runs.supervisor import RunSupervisor
from folkmoot.store import clock
from folkmoot.store.engine import Transaction, Work
from folkmoot.store.leases import LEASE
from folkmoot.store.signals import wait_or_look_again

logger = logging.getLogger(__name__)

LONGEST_STOP = 2 * LEASE / 1e6
"""Seconds to wait for another process to stop a run; one that is dead has lost its lease by then."""


class RunService:
    """Takes turns on behalf of a principal, in its organisation; the runs of the whole process are its supervisor's."""

    def __init__(self, services: Services, supervisor: RunSupervisor, principal: Principal) -> None:
        self._services = services
        self._principal = principal
        self._store = services.store
        self.supervisor = supervisor
        self.messenger = AgentMessenger(self.answer, self._leave)

    async def answer(self, request: TurnRequest) -> Answer:
        """Take the whole turn and return it.

        Raises:
            NotFound: the agent, the conversation or the model does not exist.
            Conflict: a tool call waits for approval, and the request brings none.
            ProviderError: the model's provider failed; the run says why.
            StoreError: the database failed.
            ServerStopped: the server was stopped before the turn's end.
        """
        active = self._begin(new_run(request, self._principal), request, stored=False, logged=False)
        try:
            return await _answer_of(active)
        except asyncio.CancelledError:
            if request.asked_by is not None:
                await self._store.write(lambda transaction: forget_asker(transaction, active.run.id))
            raise

    async def take_stored(self, run: Run, request: TurnRequest) -> Answer:
        """Take the turn of a run that was stored as `created`, and return it; who waits no longer stops it.

        Raises:
            FolkmootError: what `answer` raises.
        """
        active = self._begin(run, request, stored=True, logged=True)
        active.announce()
        try:
            return await _answer_of(active)
        except asyncio.CancelledError:
            assert active.task is not None
            active.stop(cancelled=False)
            await asyncio.wait([active.task])
            raise

    async def carry_out(self, run: Run, request: TurnRequest) -> Answer:
        """Take the turn of a run that was stored as `created`, and return it; it goes on when nobody waits any more.

        Raises:
            FolkmootError: what `answer` raises.
        """
        return await _answer_of(self._begin(run, request, stored=True, logged=False))

    async def start(self, request: TurnRequest) -> Run:
        """Begin a turn whose events are kept in a log, and return its run."""
        active = self._begin(await self._create(request), request, stored=True, logged=True)
        active.announce()
        return active.run

    async def start_if(self, request: TurnRequest, taken: Callable[[Transaction, str], Awaitable[bool]]) -> Run | None:
        """Begin a turn as `start` does, if something is true in the transaction that stores its run.

        Args:
            request: the turn.
            taken: is given that transaction and the run's identifier; when it returns False nothing is stored.

        Raises:
            NotFound: there is no such agent.
        """
        run = replace(new_run(request, self._principal), status="created")

        async def store(transaction: Transaction) -> bool:
            if not await taken(transaction, run.id):
                return False
            await store_run(transaction, run, "created")
            return True

        if not await self._store.write(store):
            return None
        active = self._begin(run, request, stored=True, logged=True)
        active.announce()
        return run

    async def record(self, request: TurnRequest, also: Work[None]) -> Run:
        """Store a turn that was taken elsewhere as a run that has completed, behind those that have the conversation.

        Args:
            request: its messages, the model's answer among them.
            also: what else the same transaction does.

        Raises:
            NotFound: there is no such agent or conversation.
        """
        run = new_run(replace(request, messages=()), self._principal)
        said = [replace(message, run_id=run.id) for message in request.messages]
        active = self._activate(run, request)

        async def store(transaction: Transaction) -> None:
            await also(transaction)
            await append_messages(transaction, run.conversation_id, said, run.id)
            end = TurnEnd("end_turn")
            await active.after_turn(transaction, run, end)
            await end_run(transaction, run, "completed", end.stop_reason, end_details(end, None))

        try:
            async with self._locked(run, stored=False):
                await self._store.write(store)
        except BaseException as error:
            await asyncio.shield(self._fail(active, error))
            raise
        finally:
            self.supervisor.active.pop(run.id, None)
        return run

    async def preview(self, request: TurnRequest) -> tuple[str, Prompt]:
        """Return the model that a turn would ask first, and what; no model is asked and nothing is stored.

        Raises:
            NotFound: the agent or the conversation does not exist.
        """
        return await preview_turn(request, self._services)

    async def follow(self, run_id: str, after: int = 0) -> AsyncGenerator[tuple[int, Event], None]:
        """Yield the run's events behind number `after`, with their numbers, to the last; none of a run that is deleted.

        Args:
            run_id: which run; of this or another process, under way or over.
            after: the number of the last event that was seen; 0 for all.
        """
        active = self.supervisor.active.get(run_id)
        if active is not None and active.logged and active.store == self._store:
            async with aclosing(active.log.follow(after)) as events:
                async for numbered in events:
                    yield numbered
            return
        async with aclosing(follow_stored(self._store, run_id, after, self.supervisor.stopped)) as stored:
            async for numbered in stored:
                yield numbered

    async def cancel(self, run_id: str) -> Run:
        """Stop the run, wherever it is worked on, and return it as it is then; one that is over stays as it is.

        Raises:
            NotFound: there is no such run.
        """
        active = self.supervisor.active.get(run_id)
        if active is not None and active.task is not None and active.store == self._store:
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

    async def _leave(self, request: TurnRequest) -> None:
        """Begin a turn that nobody waits for."""
        self._begin(await self._create(request), request, stored=True, logged=False)

    async def _create(self, request: TurnRequest) -> Run:
        """Return a run that is stored before it has its conversation."""
        run = replace(new_run(request, self._principal), status="created")
        await self._store.write(lambda transaction: store_run(transaction, run, "created"))
        return run

    def _begin(self, run: Run, request: TurnRequest, *, stored: bool, logged: bool) -> ActiveRun:
        active = self._activate(run, request, logged=logged)
        active.task = asyncio.create_task(self._work(active, stored=stored), name=run.id)
        active.task.add_done_callback(_retrieve)
        if self.supervisor.stopped.is_set():
            active.stop(cancelled=False)
        return active

    def _activate(self, run: Run, request: TurnRequest, *, logged: bool = False) -> ActiveRun:
        """Return a run that this process works on from now on, also while it waits: its lease is kept."""
        after_turn, pieces = self.supervisor.after_turn, self.supervisor.pieces
        active = ActiveRun(run, request, self._store, self.messenger, after_turn, pieces, logged)
        self.supervisor.active[run.id] = active
        return active

    async def _work(self, active: ActiveRun, *, stored: bool) -> Answer:
        """Take the turn of a run to its end, and store its failure if it fails."""
        run = active.run
        try:
            active.enter()
            async with self._locked(run, stored=stored):
                active.began_at = clock.now()
                end = await take_turn(active.request, active, self._services)
                TURNS.add(end.stop_reason)
                return Answer(run, active.messages, end)
        except BaseException as error:
            active.fail()
            why = await self._missing(run) if active.deleted else error
            await asyncio.shield(self._fail(active, why))
            if active.deleted:
                raise why from error
            raise
        finally:
            self.supervisor.active.pop(run.id, None)
            if run.details.get("callback_url"):
                self.supervisor.call_back(self._store, run.id)

    @asynccontextmanager
    async def _locked(self, run: Run, *, stored: bool) -> AsyncIterator[None]:
        """Hold the conversation: first among this process's runs, then among all processes'."""
        queue = self.supervisor.queue(run.conversation_id)
        if not stored and (queue.locked() or run.asked_by is not None):
            await self._store.write(lambda transaction: store_run(transaction, run, "created"))
            stored = True
        if run.asked_by is not None:
            await self._store.read(lambda transaction: refuse_cycle(transaction, run))
        async with queue:
            await self.supervisor.settle(run.conversation_id)
            with self._store.signals.listening(lock_topic(run.conversation_id)) as freed:
                while not await self._store.write(
                    lambda transaction: begin_run(transaction, run, stored=stored)  # noqa: B023
                ):
                    stored = True
                    if not await self.supervisor.fail_dead(every=False):
                        await wait_or_look_again(freed, LOOK_AGAIN_SECONDS)
                        freed.clear()
            yield

    async def _missing(self, run: Run) -> FolkmootError:
        """Return what says that a run was deleted under way: with its agent, its conversation, or alone."""

        async def look(transaction: Transaction) -> None:
            await find_conversation(transaction, run.conversation_id)
            await find_run(transaction, run.id)

        try:
            await self._store.read(look)
        except FolkmootError as error:
            return error
        return NotFound(f"Run with ID {run.id} not found")

    async def _fail(self, active: ActiveRun, error: BaseException) -> None:
        """Store why a run failed, and what would be lost with it: what was said, and what was answered so far."""
        run = active.run
        failed, status = _failure(active, error)
        TURNS.add(failed.stop_reason)
        about = {"run_id": run.id, "agent_id": run.agent_id}
        if active.cancelled:  # as somebody wanted it
            logger.info("Run cancelled, for %s", self._principal.name, extra=about)
        else:
            logger.warning("Run %s: %s, for %s", status, failed.error_type, self._principal.name, extra=about)
        before, events = active.log.stored, [*active.log.waiting, failed]
        details: dict[str, Any] = {"error": {"type": failed.error_type, "message": failed.message}}
        if partial := unfinished_words(active.log.events, {message.id for message in active.messages}):
            details["partial_answer"] = partial
        # Such a refusal comes before anything that was decided is carried out; what was decided can be said again.
        refused = isinstance(error, BadRequest | InvalidInput | NotFound)
        interrupted = active.began_at is not None and active.request.decisions is not None and not refused

        last: list[Event] = [failed]

        async def store(transaction: Transaction) -> None:
            if not await end_run(transaction, run, status, failed.stop_reason, details):
                with suppress(NotFound):  # it had ended, whatever we were told, or was deleted
                    last[:] = [last_event(await find_run(transaction, run.id))]
                return
            if active.failed_step is not None:
                await store_step(transaction, active.failed_step, Seen())
            if active.logged:
                await store_events(transaction, run.id, before, events)
            if interrupted:
                await settle_abandoned(transaction, run.conversation_id, INTERRUPTED)

        await self.supervisor.end(self._store, run, store)
        active.log.append(last)


def new_run(request: TurnRequest, principal: Principal) -> Run:
    """Return the run of a principal's request, not yet stored; it keeps what was said until the conversation does."""
    otids = [message.otid for message in request.messages if message.otid is not None]
    details = {**request.details, "otids": otids, "decides": request.decisions is not None}
    details["principal"] = {"id": principal.id, "name": principal.name}
    if request.messages:
        details["said"] = [message_to_json(message) for message in request.messages]
    return Run(request.agent_id, request.conversation_id, request.background, details, request.asked_by)


def _failure(active: ActiveRun, error: BaseException) -> tuple[TurnFailed, str]:
    """Return the last event of a run that did not come to its end, and the run's status."""
    run_id = active.run.id
    if active.cancelled:
        return TurnFailed(run_id, "cancelled", type(error).__name__, str(error)), "cancelled"
    if isinstance(error, asyncio.CancelledError):
        return TurnFailed(run_id, "error", STOPPED, ServerStopped().message), "failed"
    reason = "llm_api_error" if isinstance(error, ProviderError) else "error"
    return TurnFailed(run_id, reason, type(error).__name__, str(error)), "failed"


async def _answer_of(active: ActiveRun) -> Answer:
    """Wait for a run's turn; it goes on when whoever waits is cancelled.

    Raises:
        ServerStopped: the server was stopped before the turn's end.
    """
    assert active.task is not None
    try:
        return await asyncio.shield(active.task)
    except asyncio.CancelledError:
        if active.cancelled and active.task.done():
            return Answer(active.run, active.messages, TurnEnd("cancelled"))
        if active.task.cancelled() and not _is_cancelled():
            raise ServerStopped from None
        raise


def _is_cancelled() -> bool:
    """Tell whether the task itself is to end, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _retrieve(task: asyncio.Task[Answer]) -> None:
    """Look at a task's error, which its run says already, so that asyncio does not report it as overlooked."""
    if not task.cancelled():
        task.exception()
