"""Kinds of jobs, which rooms register, and a job as its work sees it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from folkmoot.jobs.jobs import Job, Progress, drop_job, end_job, find_job, hold_job, unfinished_jobs_of
from folkmoot.store.engine import Store, Transaction, Work

T = TypeVar("T")


class JobYielded(Exception):
    """The job was let go of where it stood, for that of another organisation; it goes on when its turn has come."""


async def _nothing(_: Transaction, __: Job) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """What is done for jobs of one kind."""

    name: str
    work: Callable[[ActiveJob], Awaitable[None]]
    """Does a job from wherever it stands: it may have been begun, and left anywhere, by a process that is gone.

    It writes through `ActiveJob.commit` only. What it raises is tried again, but for `JobFailed`, which ends the job.
    """

    given_up: Callable[[Transaction, Job], Awaitable[None]] = _nothing
    """Says on the job's subject that the job failed or was cancelled, in the transaction that ends it."""

    attempts: int | None = 5
    """How often a job is tried that brings nothing forward; None for as long as it takes."""

    at_once: int = 2
    """How many of them a process works on at once."""

    yields: bool = False
    """Whether its work can take long, and calls `ActiveJob.yield_if_asked` wherever it can be gone on with later."""


JobKinds: TypeAlias = Mapping[str, JobKind]
"""The kinds that this process can do, by their names."""


class ActiveJob:
    """A job that this process works on."""

    def __init__(self, store: Store, job: Job, kind: JobKind) -> None:
        self.store = store
        """The database as the job's organisation sees it."""

        self.job = job
        self.is_complete = False
        self.begun_at = time.monotonic()
        self.is_asked_to_yield = False
        """Whether a job of another organisation waits for this one's place."""

        self._kind = kind

    def yield_if_asked(self) -> None:
        """Let go of the job where it stands, if somebody waits for its place.

        Raises:
            JobYielded: somebody does; the worker puts the job back.
        """
        if self.is_asked_to_yield:
            raise JobYielded

    async def commit(self, work: Work[T], progress: Progress | None = None) -> T:
        """Run `work` in a transaction that commits only if the job is still this process's.

        Args:
            work: what to do.
            progress: how far the job is with it.

        Raises:
            JobLost: the job was ended, deleted or taken over; nothing was changed.
        """

        async def fenced(transaction: Transaction) -> T:
            await hold_job(transaction, self.job, progress, forgive=self._kind.attempts is None)
            return await work(transaction)

        return await self.store.write(fenced)

    async def report(self, progress: Progress) -> None:
        """Tell how far the job is.

        Raises:
            JobLost: the job was ended, deleted or taken over.
        """

        async def nothing(_: Transaction) -> None:
            """Write no more than the progress."""

        await self.commit(nothing, progress)

    async def complete(self, work: Work[bool], progress: Progress | None = None) -> bool:
        """End the job as completed in the transaction that does `work`, unless that returns False; tell which.

        Args:
            work: the last thing to do, which sees everything that was added for the job to do.
            progress: how far the job is with it.

        Raises:
            JobLost: the job was ended, deleted or taken over; nothing was changed.
        """

        async def fenced(transaction: Transaction) -> bool:
            await hold_job(transaction, self.job, progress)
            return await work(transaction) and await end_job(transaction, self.job, "completed")

        self.is_complete = await self.store.write(fenced)
        return self.is_complete


async def give_up(transaction: Transaction, kinds: JobKinds, job: Job, status: str, error: str | None = None) -> None:
    """End a job that did not do its work, and have its kind say so where it belongs; one that is over stays so.

    Args:
        transaction: where to write.
        kinds: the kinds that this process knows.
        job: which one.
        status: `failed` or `cancelled`.
        error: why it failed.
    """
    if await end_job(transaction, job, status, error) and job.kind in kinds:
        await kinds[job.kind].given_up(transaction, await find_job(transaction, job.id))


async def cancel_job(transaction: Transaction, kinds: JobKinds, job_id: str) -> Job:
    """Cancel a job; whoever works on it can write nothing for it from now on.

    Raises:
        NotFound: there is no such job.
    """
    await give_up(transaction, kinds, await find_job(transaction, job_id), "cancelled")
    return await find_job(transaction, job_id)


async def delete_job(transaction: Transaction, kinds: JobKinds, job_id: str) -> Job:
    """Delete a job and return it as it was; an unfinished one is cancelled first.

    Raises:
        NotFound: there is no such job.
    """
    job = await cancel_job(transaction, kinds, job_id)
    await drop_job(transaction, job_id)
    return job


async def drop_jobs_of(transaction: Transaction, subject_id: str, *, but: str = "") -> None:
    """End what is being done to something that is being deleted; its kind is not told, since there is nothing left.

    Jobs of the kind `but` go on: they clear away what is left of it.
    """
    for job in await unfinished_jobs_of(transaction, subject_id):
        if job.kind == but:
            continue
        await end_job(transaction, job, "cancelled")
