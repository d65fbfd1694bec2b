"""Taking turns: one at a time in each conversation, in every process, each with its run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from folkmoot.agents.services import Services
from folkmoot.agents.turn import Event, TurnEnd, TurnRequest, take_turn
from folkmoot.conversations.conversations import turn_topic
from folkmoot.conversations.messages import Message
from folkmoot.errors import FolkmootError, ProviderError, StoreError
from folkmoot.runs.runs import LEASE, Run, begin_run, end_run, extend_leases, fail_dead_runs
from folkmoot.store.engine import Transaction

logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 1.0
"""How often a waiting turn looks by itself, should a wake-up from another process be lost."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks of an agent: messages, and how to answer them."""

    agent_id: str
    messages: Sequence[Message]
    max_steps: int
    conversation_id: str | None = None
    model: str | None = None
    instructions: str | None = None
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole turn: its messages, why it stopped, what it took."""

    run: Run
    messages: Sequence[Message]
    end: TurnEnd


class Turns:
    """Takes turns for the requests of this process and keeps their runs alive."""

    def __init__(self, services: Services) -> None:
        """Start with no turn under way."""
        self._services = services
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._active: set[str] = set()
        self._keeper: asyncio.Task[None] | None = None

    async def open(self, *, alone: bool) -> None:
        """Settle what dead processes left, and begin to keep this one's runs alive.

        Args:
            alone: no other process can be at work on this database.
        """
        await self._fail_dead(every=alone)
        self._keeper = asyncio.create_task(self._keep_alive())

    async def close(self) -> None:
        """Stop keeping runs alive."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper

    async def answer(self, asked: Asked) -> Answer:
        """Take the whole turn and return it.

        Raises:
            NotFound: the agent, the conversation or the model does not exist.
            ProviderError: the model's provider failed; the run says why.
            StoreError: the database failed.
        """
        messages: list[Message] = []
        run = new_run(asked)
        async for event in self.events(run, asked):
            if isinstance(event, TurnEnd):
                return Answer(run, messages, event)
            messages.append(event)
        raise AssertionError("a turn ends with a TurnEnd")

    async def events(self, run: Run, asked: Asked) -> AsyncIterator[Event]:
        """Wait for the conversation's turn, take it, and yield its events as they are stored."""

        async def finish(transaction: Transaction, end: TurnEnd) -> None:
            await end_run(transaction, run, "completed", end.stop_reason, {"usage": usage_details(end)})

        request = TurnRequest(
            agent_id=asked.agent_id,
            conversation_id=run.conversation_id,
            run_id=run.id,
            messages=asked.messages,
            max_steps=asked.max_steps,
            finish=finish,
            model=asked.model,
            instructions=asked.instructions,
        )
        async with self._turn(run):
            try:
                async for event in take_turn(request, self._services):
                    yield event
            except BaseException as error:
                await self._fail(run, error)
                raise

    @asynccontextmanager
    async def _turn(self, run: Run) -> AsyncIterator[None]:
        """Hold the conversation's turn: first among this process's runs, then among all processes'."""
        queue = self._queues.setdefault(run.conversation_id, asyncio.Lock())
        async with queue:
            await self._begin(run)
            self._active.add(run.id)
            try:
                yield
            finally:
                self._active.discard(run.id)

    async def _begin(self, run: Run) -> None:
        store = self._services.store
        with store.signals.listening(turn_topic(run.conversation_id)) as freed:
            while not await store.write(lambda transaction: begin_run(transaction, run)):
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                        await freed.wait()
                freed.clear()

    async def _fail(self, run: Run, error: BaseException) -> None:
        """Store why a run failed. A database that is away leaves that to `fail_dead_runs`."""
        details = {"type": type(error).__name__, "message": str(error)}
        if isinstance(error, FolkmootError):
            logger.warning("Run failed: %s", error.message, extra={"run_id": run.id, "agent_id": run.agent_id})
        reason = "llm_api_error" if isinstance(error, ProviderError) else "error"
        status = "failed"
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            status, reason = "cancelled", "cancelled"
        try:
            await self._services.store.write(
                lambda transaction: end_run(transaction, run, status, reason, {"error": details})
            )
        except StoreError as failure:
            logger.warning("The end of run %s could not be stored: %s", run.id, failure.message)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3e6)
            try:
                if self._active:
                    active = list(self._active)
                    await self._services.store.write(lambda transaction: extend_leases(transaction, active))  # noqa: B023
                await self._fail_dead(every=False)
            except StoreError as error:
                logger.warning("Leases could not be extended: %s", error.message)

    async def _fail_dead(self, *, every: bool) -> None:
        dead = await self._services.store.write(lambda transaction: fail_dead_runs(transaction, every=every))
        for run_id in dead:
            logger.warning("Run was left unfinished by a process that is gone", extra={"run_id": run_id})


def new_run(asked: Asked) -> Run:
    """Return the run of a request, not yet stored."""
    return Run(asked.agent_id, asked.conversation_id or asked.agent_id, details=asked.details or {})


def usage_details(end: TurnEnd) -> dict[str, int]:
    """Return a turn's usage as its run keeps it."""
    return {
        "prompt_tokens": end.usage.prompt_tokens,
        "completion_tokens": end.usage.completion_tokens,
        "step_count": end.step_count,
    }
