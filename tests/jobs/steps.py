"""A kind of job for tests: it tags a block with one number after the other, and says when it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy import delete, func, select

from folkmoot.jobs.jobs import Job, Progress
from folkmoot.jobs.kinds import ActiveJob, JobKind
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import block_tags

STEP_KIND = "steps"
STEPS = 4
GIVEN_UP = "given up"


async def nowhere(_: str) -> None:
    """Do nothing at any stage."""


async def steps_of(transaction: Transaction, block_id: str) -> int:
    """Return how many steps have been done."""
    row = await transaction.first(
        select(func.count().label("count")).select_from(block_tags).where(block_tags.c.block_id == block_id)
    )
    return int(row["count"]) if row is not None else 0


async def mark(transaction: Transaction, block_id: str, tag: str, place: int) -> None:
    """Tag the block."""
    await transaction.insert(block_tags, [{"block_id": block_id, "tag": tag, "place": place}])


def steps_kind(reached: Callable[[str], Awaitable[None]] = nowhere, attempts: int | None = 3) -> JobKind:
    """Return the kind; `reached` is called with each stage: `begun`, `before 2`, `written 2`, `after 2`, `done`."""

    async def work(active: ActiveJob) -> None:
        block_id = active.job.subject_id
        await reached("begun")
        while (done := await active.store.read(lambda transaction: steps_of(transaction, block_id))) < STEPS:
            await reached(f"before {done}")
            await active.commit(
                lambda transaction, done=done: mark(transaction, block_id, str(done), done),  # type: ignore[misc]
                Progress("stepping", items_done=done + 1, items_total=STEPS),
            )
            await reached(f"after {done}")
        await reached("done")

    async def given_up(transaction: Transaction, job: Job) -> None:
        await transaction.run(delete(block_tags).where(block_tags.c.block_id == job.subject_id))
        await mark(transaction, job.subject_id, f"{GIVEN_UP}: {job.status}: {job.error}", 0)

    return JobKind(STEP_KIND, work, given_up, attempts=attempts)
