"""Schedules as the store has them: what is said to which agent, when next, and what came of it last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from folkmoot.agents.agents import find_agent
from folkmoot.errors import Conflict, InvalidInput, NotFound
from folkmoot.identifiers import new_id
from folkmoot.runs.runs import unfinished
from folkmoot.schedules.times import Timetable
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.tables import runs, schedules

TOPIC = "schedules"
"""Signalled when something may be due sooner than it was."""

REST = 3_600_000_000
"""Microseconds until what could not be started, and has no next time, is tried again."""

MOST_SCHEDULES = 100
"""Schedules that an agent may have."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Something that is said to an agent at times to come. Times are in microseconds."""

    organization_id: str
    id: str
    agent_id: str
    request: Mapping[str, Any]
    """What was asked for, as the wire format has it."""

    said: Sequence[Mapping[str, Any]]
    """What is said, as `messages.message_to_json` writes it."""

    details: Mapping[str, Any]
    """What each of its runs says of the request."""

    max_steps: int
    timetable: Timetable
    due_at: int
    """When it is due next."""

    created_by: Mapping[str, Any]
    """On whose behalf its turns are taken: `id` and `name`."""

    last_run_id: str | None
    last_due_at: int | None
    """When the last run was due that was started."""

    created_at: int

    @property
    def conversation_id(self) -> str:
        """In which conversation it is said."""
        return self.request.get("conversation_id") or self.agent_id

    @classmethod
    def from_row(cls, row: Row) -> Schedule:
        """Read a row of the table."""
        return cls(
            organization_id=row["organization_id"],
            id=row["id"],
            agent_id=row["agent_id"],
            request=json.loads(row["request"]),
            said=json.loads(row["said"]),
            details=json.loads(row["details"]),
            max_steps=row["max_steps"],
            timetable=Timetable(None if row["cron"] else row["due_at"], row["cron"], row["timezone"]),
            due_at=row["due_at"],
            created_by=json.loads(row["created_by"]),
            last_run_id=row["last_run_id"],
            last_due_at=row["last_due_at"],
            created_at=row["created_at"],
        )


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """What is to be said to an agent, and when; the fields are those of a `Schedule`."""

    agent_id: str
    timetable: Timetable
    """It has been checked."""

    request: Mapping[str, Any]
    said: Sequence[Mapping[str, Any]]
    details: Mapping[str, Any]
    max_steps: int
    created_by: Mapping[str, Any]


_of_agent = select(schedules).where(schedules.c.agent_id == bindparam("of_agent"))
_this = _of_agent.where(schedules.c.id == bindparam("schedule_id"))
_count = count_of(schedules, schedules.c.agent_id == bindparam("of_agent"))
_of_the_same = runs.c.organization_id == schedules.c.organization_id  # of any: no index of runs begins with their ids
_goes_on = select(runs.c.id).where(_of_the_same, runs.c.id == schedules.c.last_run_id, unfinished).exists()
_next_due = select(func.min(schedules.c.due_at).label("due_at"))
_due = (
    select(schedules)
    .where(schedules.c.due_at <= bindparam("now"), ~_goes_on)
    .order_by(schedules.c.due_at)
    .limit(bindparam("most"))
)
_taken = (schedules.c.id == bindparam("schedule_id"), schedules.c.due_at == bindparam("seen_due_at"))
_advance = (
    update(schedules)
    .where(*_taken)
    .values(due_at=bindparam("next_due_at"), last_due_at=bindparam("seen_due_at"), last_run_id=bindparam("run_id"))
)
_put_off = update(schedules).where(*_taken).values(due_at=bindparam("next_due_at"))
_end = delete(schedules).where(*_taken)


async def create_schedule(transaction: Transaction, new: NewSchedule) -> Schedule:
    """Store what is to be said to an agent, and when.

    Raises:
        NotFound: there is no such agent.
        Conflict: it has too many schedules.
    """
    await find_agent(transaction, new.agent_id, lock=True)
    if await count_rows(transaction, _count, of_agent=new.agent_id) >= MOST_SCHEDULES:
        raise Conflict(f"Agent {new.agent_id} has {MOST_SCHEDULES} schedules already, the most that it may have.")
    now, schedule_id, table = clock.now(), new_id("schedule"), new.timetable
    metadata = {**new.details.get("metadata", {}), "schedule_id": schedule_id}
    values = {
        "id": schedule_id,
        "agent_id": new.agent_id,
        "request": json.dumps(new.request),
        "said": json.dumps(new.said),
        "details": json.dumps({**new.details, "metadata": metadata}),
        "max_steps": new.max_steps,
        "cron": table.cron,
        "timezone": table.timezone,
        "due_at": table.at if table.at is not None else table.after(now),
        "created_by": json.dumps({"id": new.created_by["id"], **new.created_by}),
        "created_at": now,
    }
    await transaction.insert(schedules, [values])
    transaction.signal(TOPIC)
    return await find_schedule(transaction, new.agent_id, schedule_id)


async def find_schedule(transaction: Transaction, agent_id: str, schedule_id: str) -> Schedule:
    """Return an agent's schedule; one that was to be said once is gone when it has been.

    Raises:
        NotFound: there is no such agent or schedule.
    """
    await find_agent(transaction, agent_id)
    row = await transaction.first(_this, of_agent=agent_id, schedule_id=schedule_id)
    if row is None:
        raise NotFound(f"Agent {agent_id} has no schedule {schedule_id}, or none any more")
    return Schedule.from_row(row)


async def list_schedules(transaction: Transaction, agent_id: str, page: Page) -> list[Schedule]:
    """Return a page of an agent's schedules, by time of creation.

    Raises:
        NotFound: there is no such agent.
    """
    await find_agent(transaction, agent_id)
    statement = select(schedules).where(schedules.c.agent_id == agent_id)
    return [Schedule.from_row(row) for row in await fetch_page(transaction, statement, schedules, page)]


async def delete_schedule(transaction: Transaction, agent_id: str, schedule_id: str) -> None:
    """Delete a schedule; a run that it has started goes on.

    Raises:
        NotFound: there is no such agent or schedule.
    """
    await find_schedule(transaction, agent_id, schedule_id)
    await transaction.run(delete(schedules).where(schedules.c.id == schedule_id))


async def forget(transaction: Transaction, schedule: Schedule) -> None:
    """Delete a schedule, whatever has become of its agent."""
    await transaction.run(delete(schedules).where(schedules.c.id == schedule.id))


async def end_schedules_of(transaction: Transaction, key_id: str) -> None:
    """Delete what a key has made that is over, before its identifier becomes that of another key."""
    begins = json.dumps({"id": key_id})[:-1] + ","
    await transaction.run(delete(schedules).where(schedules.c.created_by.startswith(begins, autoescape=True)))


async def next_due(transaction: Transaction) -> int | None:
    """Return when the next schedule is due of all that the transaction reaches; None when there is none."""
    row = await transaction.first(_next_due)
    return None if row is None else row["due_at"]


async def due_schedules(transaction: Transaction, most: int) -> list[Schedule]:
    """Return schedules that are due and whose last run is over, those that have waited longest first."""
    rows = await transaction.all(_due, now=clock.now(), most=most)
    return [Schedule.from_row(row) for row in rows]


async def take(transaction: Transaction, schedule: Schedule, run_id: str) -> bool:
    """Take a due time for a run that the same transaction stores; False when somebody else has taken it.

    What was due meanwhile, while no process was there or the last run went on, is part of this one start.
    """
    taken = {"schedule_id": schedule.id, "seen_due_at": schedule.due_at}
    due_at = None if schedule.timetable.cron is None else schedule.timetable.after(max(clock.now(), schedule.due_at))
    if due_at is None:
        return bool(await transaction.run(_end, **taken))
    return bool(await transaction.run(_advance, **taken, next_due_at=due_at, run_id=run_id))


async def put_off(transaction: Transaction, schedule: Schedule) -> None:
    """Let a schedule that could not be started rest until its next time, or for a while where it has none."""
    now = clock.now()
    try:
        next_time = schedule.timetable.after(max(now, schedule.due_at))
    except InvalidInput:
        next_time = None
    due_at = now + REST if next_time is None else next_time
    await transaction.run(_put_off, schedule_id=schedule.id, seen_due_at=schedule.due_at, next_due_at=due_at)
