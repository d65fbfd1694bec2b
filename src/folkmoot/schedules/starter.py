"""Starts what is due: a task of each process, of which one takes each due time.

The run is stored in the transaction that takes the due time. So each is started once, whichever processes look, die or
are started anew, and however their clocks are set; a run whose process dies has failed, and is not started again. A
schedule acts for the key that made it, and ends with it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from functools import partial

from folkmoot.access.keys import find_key
from folkmoot.access.principals import Principal
from folkmoot.agents.services import Services
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.messages import message_from_json
from folkmoot.errors import InvalidInput, NotFound, StoreError
from folkmoot.runs.service import RunService
from folkmoot.runs.supervisor import RunSupervisor
from folkmoot.schedules.schedules import TOPIC, Schedule, due_schedules, forget, next_due, put_off, take
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.leases import again_and_again
from folkmoot.store.signals import wait_or_look_again

logger = logging.getLogger(__name__)

AT_ONCE = 20
"""Runs that one look starts at most."""

LOOK_AGAIN_SECONDS = 5.0
"""How often is looked anew, since clocks are set and signals get lost."""

BLOCKED_SECONDS = 1.0
"""How long to wait when something is due whose last run goes on."""


class ScheduleStarter:
    """Starts the runs of due schedules, of any organisation, for as long as the process lives."""

    def __init__(self, services: Services, supervisor: RunSupervisor) -> None:
        self._services = services
        self._store = services.store.everywhere
        self._supervisor = supervisor
        self._listening = ExitStack()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin."""
        self._changed = self._listening.enter_context(self._store.signals.listening(TOPIC))
        self._task = asyncio.create_task(again_and_again("Schedules could not be started", self._look))

    async def close(self) -> None:
        """Start nothing more; what was started goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._listening.close()

    async def _look(self) -> None:
        """Start what is due, and wait until something may be."""
        self._changed.clear()
        found = await self._store.read(lambda transaction: due_schedules(transaction, AT_ONCE))
        for schedule in found:
            try:
                await self._start(schedule)
            except StoreError:
                raise  # it says nothing of this schedule
            except Exception:
                logger.exception("Schedule %s could not be started; it is put off", schedule.id)
                await self._services.of(schedule.organization_id).store.write(partial(put_off, schedule=schedule))
        if not found:
            await wait_or_look_again(self._changed, await self._seconds_until_due())

    async def _start(self, schedule: Schedule) -> None:
        services = self._services.of(schedule.organization_id)
        principal = await services.store.read(lambda transaction: _creator(transaction, schedule))
        if principal is None:
            logger.warning("Schedule %s has ended with the key that made it", schedule.id)
            await services.store.write(lambda transaction: forget(transaction, schedule))
            return
        request = TurnRequest(
            agent_id=schedule.agent_id,
            conversation_id=schedule.conversation_id,
            messages=[message_from_json(each) for each in schedule.said],
            max_steps=schedule.max_steps,
            background=True,
            details=schedule.details,
        )
        runs = RunService(services, self._supervisor, principal)
        try:
            run = await runs.start_if(request, lambda transaction, run_id: take(transaction, schedule, run_id))
        except (NotFound, InvalidInput) as error:  # its agent is being deleted, or its time zone is known no more
            logger.warning("Schedule %s cannot go on: %s", schedule.id, error.message)
            await services.store.write(lambda transaction: forget(transaction, schedule))
            return
        if run is not None:
            known = {"run_id": run.id, "agent_id": run.agent_id, "late_ms": (clock.now() - schedule.due_at) // 1000}
            logger.info("Schedule %s was due", schedule.id, extra=known)

    async def _seconds_until_due(self) -> float:
        due_at = await self._store.read(next_due)
        left = LOOK_AGAIN_SECONDS if due_at is None else (due_at - clock.now()) / 1e6
        return min(left, LOOK_AGAIN_SECONDS) if left > 0 else BLOCKED_SECONDS


async def _creator(transaction: Transaction, schedule: Schedule) -> Principal | None:
    """Return on whose behalf a schedule's turns are taken; None when the key that made it opens nothing any more."""
    name, key_id = schedule.created_by["name"], schedule.created_by["id"]
    if key_id is None:  # FOLKMOOT_API_KEY, or nobody needed one
        return Principal(name, "key", schedule.organization_id, "member")
    try:
        key = await find_key(transaction, key_id)
    except NotFound:
        return None
    return key.principal() if key.is_valid(clock.now()) else None
