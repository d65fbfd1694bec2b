"""Jobs as they are stored: added, claimed by a process, gone on with by another, ended.

A job works on one subject, and a subject has one unfinished job of a kind at most, so that to add one twice is to add
it once. Who adds a job to rows that it shall work on holds the job's row until its commit; who ends it takes the row
first and then looks whether anything is left. So nothing is added behind the back of a job that ends.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

from sqlalchemy import and_, bindparam, case, delete, or_, select, update

from folkmoot.errors import NotFound
from folkmoot.identifiers import new_id
from folkmoot.store import clock
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.leases import LEASE
from folkmoot.store.paging import Page, fetch_page, leave_places, leaving
from folkmoot.store.tables import jobs

UNFINISHED = ("created", "pending", "running")
"""States of a job that was never begun, that waits to be tried again, that a process works on."""

ADDED_TOPIC = "jobs"
"""The signal that there is something to do."""

ENDED_TOPIC = "jobs:ended"
"""The signal that a job was ended by somebody else than who works on it."""

_PRUNED_AT_ONCE = 500


def topic(job_id: str) -> str:
    """Return the signal that a job's progress gives, and its end."""
    return f"job:{job_id}"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. What is None is not counted, or not known yet."""

    stage: str | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None
    items_done: int | None = None
    items_total: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work. Times are in microseconds."""

    id: str
    kind: str
    subject_id: str
    parent_id: str | None
    status: str
    details: Mapping[str, Any]
    progress: Progress
    attempts: int
    created_at: int
    updated_at: int
    started_at: int | None = None
    completed_at: int | None = None
    due_at: int | None = None
    claim: str | None = None
    organization_id: str = field(default="", compare=False)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status not in UNFINISHED

    @property
    def error(self) -> str | None:
        """What went wrong last, for a job that failed or is to be tried again."""
        return self.details.get("error")

    @classmethod
    def from_row(cls, row: Row) -> Job:
        """Read a row of the jobs table."""
        return cls(
            id=row["id"],
            kind=row["kind"],
            subject_id=row["subject_id"],
            parent_id=row["parent_id"],
            status=row["status"],
            details=json.loads(row["details"]),
            progress=Progress(**json.loads(row["progress"])),
            attempts=row["attempts"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            started_at=row["started_at"],
            completed_at=row["completed_at"],
            due_at=row["due_at"],
            claim=row["claim"],
            organization_id=row["organization_id"],
        )


class JobLost(Exception):
    """The job is no longer this process's: it was ended, deleted, or another process has taken it over."""


_by_id = select(jobs).where(jobs.c.id == bindparam("job_id"))
_unfinished_of = (
    select(jobs)
    .where(jobs.c.kind == bindparam("of_kind"), jobs.c.subject_id == bindparam("subject"), jobs.c.due_at.is_not(None))
    .with_for_update()
)
_mine = and_(jobs.c.id == bindparam("job_id"), jobs.c.claim == bindparam("own_claim"), jobs.c.status == "running")
_go_on = update(jobs).where(_mine).values(due_at=bindparam("due"), updated_at=bindparam("now"))
_report = update(jobs).where(jobs.c.id == bindparam("job_id")).values(progress=bindparam("new_progress"))
_set_due = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"), jobs.c.status == "created", jobs.c.due_at.is_not(None))
    .values(due_at=bindparam("due"))
)
_forgive = update(jobs).where(jobs.c.id == bindparam("job_id")).values(attempts=1)
_take = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"))
    .values(
        status="running",
        claim=bindparam("new_claim"),
        due_at=bindparam("due"),
        attempts=jobs.c.attempts + 1,
        started_at=bindparam("begun"),
        updated_at=bindparam("now"),
    )
)
_put_back = (
    update(jobs)
    .where(_mine)
    .values(
        status=bindparam("new_status"),
        details=bindparam("new_details"),
        attempts=bindparam("left_attempts"),
        claim=None,
        due_at=bindparam("due"),
        updated_at=bindparam("now"),
    )
)
_end = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"), jobs.c.due_at.is_not(None))
    .values(
        status=bindparam("new_status"),
        details=bindparam("new_details"),
        claim=None,
        due_at=None,
        updated_at=bindparam("now"),
        completed_at=bindparam("now"),
    )
)
_free_all = update(jobs).where(jobs.c.status == "running").values(due_at=bindparam("now"))
_delete = delete(jobs).where(jobs.c.id == bindparam("job_id"))
_leaving = leaving(jobs, jobs.c.id == bindparam("job_id"))
_of_subject = select(jobs).where(jobs.c.subject_id == bindparam("subject"), jobs.c.due_at.is_not(None))
_old = (
    select(jobs.c.organization_id, jobs.c.id)
    .where(jobs.c.completed_at < bindparam("before"))
    .order_by(jobs.c.completed_at)
    .limit(_PRUNED_AT_ONCE)
)


# -- for who has work to be done -----------------------------------------------------------------------------


async def add_job(
    transaction: Transaction,
    kind: str,
    subject_id: str,
    *,
    parent_id: str | None = None,
    given: Mapping[str, Any] | None = None,
    due_at: int | None = None,
) -> Job:
    """Have something done once this transaction has committed; a job that is there for it already is kept as it is.

    Args:
        transaction: where the rows are written that the job shall work on; they come before this call.
        kind: the name of a kind that a room has registered.
        subject_id: what it works on.
        parent_id: what that is part of; jobs can be listed by it.
        given: what else the job needs to know, as JSON values.
        due_at: when, in microseconds; at once when None. One that waits for its time gets this one; one that is being
            done goes on.
    """
    now = clock.now()
    while (row := await transaction.first(_unfinished_of, of_kind=kind, subject=subject_id)) is None:
        new = {
            "id": new_id("job"),
            "kind": kind,
            "subject_id": subject_id,
            "parent_id": parent_id,
            "status": "created",
            "details": json.dumps({"given": dict(given or {})}),
            "progress": "{}",
            "attempts": 0,
            "due_at": now if due_at is None else due_at,
            "created_at": now,
            "updated_at": now,
        }
        await transaction.insert(jobs, [new], or_keep=True)
    if due_at is not None:
        await transaction.run(_set_due, job_id=row["id"], due=due_at)
    transaction.signal(ADDED_TOPIC)
    return Job.from_row(row)


async def find_job(transaction: Transaction, job_id: str) -> Job:
    """Return the job.

    Raises:
        NotFound: there is no such job.
    """
    row = await transaction.first(_by_id, job_id=job_id)
    if row is None:
        raise NotFound(f"Job with id '{job_id}' not found")
    return Job.from_row(row)


async def unfinished_jobs_of(transaction: Transaction, subject_id: str) -> list[Job]:
    """Return the jobs that work on something, or will."""
    return [Job.from_row(row) for row in await transaction.all(_of_subject, subject=subject_id)]


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs are wanted; what is None does not matter."""

    parent_id: str | None = None
    unfinished: bool = False
    kind: str | None = None


async def list_jobs(transaction: Transaction, wanted: JobFilter, page: Page) -> list[Job]:
    """Return a page of the jobs, by time of creation."""
    statement = select(jobs)
    if wanted.parent_id is not None:
        statement = statement.where(jobs.c.parent_id == wanted.parent_id)
    if wanted.kind is not None:
        statement = statement.where(jobs.c.kind == wanted.kind)
    if wanted.unfinished:
        # What waits for a time of its own is not being done yet.
        begun_or_due = or_(jobs.c.status != "created", jobs.c.due_at <= clock.now())
        statement = statement.where(jobs.c.due_at.is_not(None), begun_or_due)
    return [Job.from_row(row) for row in await fetch_page(transaction, statement, jobs, page)]


async def drop_job(transaction: Transaction, job_id: str) -> None:
    """Delete the row of a job."""
    await leave_places(transaction, _leaving, job_id=job_id)
    await transaction.run(_delete, job_id=job_id)


async def end_job(transaction: Transaction, job: Job, status: str, error: str | None = None) -> bool:
    """End a job, whoever works on it; False when it had ended already.

    Args:
        transaction: where to write.
        job: which one.
        status: `completed`, `failed` or `cancelled`.
        error: why it failed.
    """
    details = {name: value for name, value in job.details.items() if name != "error"}
    if error is not None:
        details["error"] = error
    ended = await transaction.run(
        _end, job_id=job.id, new_status=status, new_details=json.dumps(details), now=clock.now()
    )
    for each in (topic(job.id), ENDED_TOPIC):
        transaction.signal(each)
    return bool(ended)


# -- for the process that works on it ------------------------------------------------------------------------


async def next_due(transaction: Transaction, kinds: Collection[str]) -> int | None:
    """Return when the next job of these kinds is due, of all organisations; None when there is none."""
    waiting = select(jobs.c.due_at).where(jobs.c.due_at.is_not(None), jobs.c.kind.in_(list(kinds)))
    row = await transaction.first(waiting.order_by(jobs.c.due_at).limit(1))
    return None if row is None else int(row["due_at"])


async def kind_waited_for(transaction: Transaction, kinds: Collection[str], busy: Collection[str]) -> str | None:
    """Return the kind of the job that has been due for longest, of these kinds and organisations that are not busy."""
    waiting = select(jobs.c.kind).where(
        jobs.c.due_at <= clock.now(), jobs.c.kind.in_(list(kinds)), jobs.c.organization_id.not_in(list(busy))
    )
    row = await transaction.first(waiting.order_by(jobs.c.due_at).limit(1))
    return None if row is None else str(row["kind"])


async def claim_job(
    transaction: Transaction, kinds: Collection[str], busy: Collection[str], *, only_others: bool = False
) -> Job | None:
    """Take a job that is due: a new one, one to be tried again, or that of a process that says nothing any more.

    Args:
        transaction: where to write, in every organisation.
        kinds: which ones this process can do.
        busy: organisations that it works for already; the others come first.
        only_others: whether only the others come.
    """
    now, token = clock.now(), str(uuid4())
    wanted = [jobs.c.due_at <= now, jobs.c.kind.in_(list(kinds))]
    if only_others:
        wanted.append(jobs.c.organization_id.not_in(list(busy)))
    others_first = case((jobs.c.organization_id.in_(list(busy)), 1), else_=0)
    row = await transaction.first(
        select(jobs).where(*wanted).order_by(others_first, jobs.c.due_at).limit(1).with_for_update(skip_locked=True)
    )
    if row is None:
        return None
    own = transaction.within(row["organization_id"])
    begun = row["started_at"] or now
    await own.run(_take, job_id=row["id"], new_claim=token, due=now + LEASE, begun=begun, now=now)
    return await find_job(own, row["id"])


async def hold_job(
    transaction: Transaction, job: Job, progress: Progress | None = None, *, forgive: bool = False
) -> None:
    """Say that this process still works on the job, and lock its row: what is written beside it lands only if it does.

    Args:
        transaction: where to write.
        job: as it was claimed.
        progress: how far it is; as before when None.
        forgive: count the attempts anew, since it has come forward.

    Raises:
        JobLost: it is not this process's any more.
    """
    now = clock.now()
    if not await transaction.run(_go_on, job_id=job.id, own_claim=job.claim, due=now + LEASE, now=now):
        raise JobLost
    if progress is not None:
        told = {name: value for name, value in asdict(progress).items() if value is not None}
        await transaction.run(_report, job_id=job.id, new_progress=json.dumps(told))
        transaction.signal(topic(job.id))
    if forgive:
        await transaction.run(_forgive, job_id=job.id)


async def put_back(transaction: Transaction, job: Job, error: str | None, delay: int) -> None:
    """Let go of a job that is to be tried again.

    Args:
        transaction: where to write, and where the job is held.
        job: as it stands.
        error: what went wrong; None when the process merely stops, which does not count as an attempt.
        delay: microseconds until it may be tried again.
    """
    attempts = job.attempts if error is not None else job.attempts - 1
    now = clock.now()
    details = {**job.details, **({} if error is None else {"error": error})}
    await transaction.run(
        _put_back,
        job_id=job.id,
        own_claim=job.claim,
        new_status="created" if error is None and attempts == 0 else "pending",
        new_details=json.dumps(details),
        left_attempts=attempts,
        due=now + delay,
        now=now,
    )
    for each in (topic(job.id), ADDED_TOPIC):
        transaction.signal(each)


async def extend_leases(transaction: Transaction, mine: Sequence[Job]) -> list[Job]:
    """Say that this process still works on these jobs; return those that are not its own any more.

    Args:
        transaction: where to write, in every organisation.
        mine: as they were claimed.
    """
    lost = []
    for job in sorted(mine, key=lambda job: (job.organization_id, job.id)):
        try:
            await hold_job(transaction.within(job.organization_id), job)
        except JobLost:
            lost.append(job)
    return lost


async def free_all(transaction: Transaction) -> int:
    """Let every running job be taken up, because no other process can be at work on this database."""
    return await transaction.run(_free_all, now=clock.now())


async def prune_jobs(transaction: Transaction, before: int) -> bool:
    """Forget some of the jobs that were over before then; tell whether there may be more."""
    old = await transaction.all(_old, before=before)
    for row in old:
        await transaction.within(row["organization_id"]).run(_delete, job_id=row["id"])
    return len(old) == _PRUNED_AT_ONCE
