"""The worker of a process: it takes jobs that are due, some at a time, and keeps their leases."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack

from folkmoot import tracing
from folkmoot.errors import FolkmootError, JobDelayed, JobFailed, ServerStopped, StoreError
from folkmoot.jobs.jobs import (
    ADDED_TOPIC,
    ENDED_TOPIC,
    Job,
    JobLost,
    claim_job,
    extend_leases,
    find_job,
    free_all,
    hold_job,
    kind_waited_for,
    next_due,
    prune_jobs,
    put_back,
)
from folkmoot.jobs.kinds import ActiveJob, JobKind, JobKinds, JobYielded, give_up
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.leases import EXTEND_SECONDS, again_and_again
from folkmoot.store.signals import wait_or_look_again

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Jobs that a process works on at once, of all kinds."""

LOOK_AGAIN_SECONDS = 2.0
"""How often is looked for jobs that no signal told of: those that come due, and those of dead processes."""

TURN_SECONDS = 30.0
"""How long a job goes on, at least, while one of an organisation for which nothing is done waits for its place."""

LONG_SECONDS = 60.0
"""What has gone on for so long takes no place from an organisation for which nothing is done."""

PRUNE_SECONDS = 60.0
"""How often is looked for jobs that need not be kept any longer."""

LONGEST_DELAY = 300.0
"""Seconds at most until a job that failed is tried again."""


def delay_after(attempts: int) -> float:
    """Return the seconds until a job is tried again that has failed so often: 1, 2, 4, …, each up to half as much more.

    >>> 4 <= delay_after(3) <= 6
    True
    """
    return float(min(2 ** min(attempts - 1, 20), LONGEST_DELAY) * (1 + random.random() / 2))


class JobWorker:
    """Works on jobs of any organisation, for as long as the process lives."""

    def __init__(
        self, store: Store, kinds: JobKinds, keep: float, is_stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """Work on `store`.

        Args:
            store: any view of the database.
            kinds: what this process can do.
            keep: seconds for which a job that is over stays listed.
            is_stopping: whether this process is about to stop, so that it would only take jobs from others.
        """
        self._store = store.everywhere
        self._kinds = kinds
        self._keep = keep
        self._active: dict[asyncio.Task[None], ActiveJob] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = ExitStack()
        self._is_stopping = is_stopping
        self._added = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def leases(self) -> int:
        """How many jobs this process works on."""
        return len(self._active)

    async def open(self, *, alone: bool) -> None:
        """Begin.

        Args:
            alone: no other process can be at work on this database, so that what is being done is being done by none.
        """
        if alone:
            await self._store.write(free_all)
        self._added = self._listening.enter_context(self._store.signals.listening(ADDED_TOPIC))
        self._ended = self._listening.enter_context(self._store.signals.listening(ENDED_TOPIC))
        self._tasks = [
            asyncio.create_task(again_and_again("Jobs could not be taken", self._take)),
            asyncio.create_task(again_and_again("Leases of jobs could not be extended", self._extend)),
            asyncio.create_task(again_and_again("Old jobs were not deleted", self._prune)),
        ]

    async def close(self) -> None:
        """Stop; what was being done is put back, for another process or for the next start."""
        for task in self._tasks:
            task.cancel()
        active = dict(self._active)
        for task in active:
            task.cancel()
        await asyncio.gather(*self._tasks, *active, return_exceptions=True)
        self._listening.close()
        for each in active.values():
            await self._put_back(each.job)

    # -- the three rounds ------------------------------------------------------------------------------------

    async def _take(self) -> None:
        """Take a job that is due and begin with it, or wait for one."""
        self._added.clear()
        if self._is_stopping():
            await asyncio.Event().wait()  # until it is closed
        kinds = self._kinds_with_room()
        if kinds and await self._begin_due(kinds):
            return
        if full := self._kinds.keys() - kinds:
            if await self._begin_beside():
                return
            await self._ask_for_a_place(full)
        await wait_or_look_again(self._added, await self._seconds_until_due(kinds))

    async def _begin_due(self, kinds: list[str]) -> bool:
        """Begin with a job that is due; tell whether there was one.

        It is one at a time, since whose it is decides who comes first for the next place.
        """
        due = await self._store.read(lambda transaction: next_due(transaction, kinds))
        if due is None or due > clock.now():
            return False
        busy = self._busy()
        return self._begin(await self._store.write(lambda transaction: claim_job(transaction, kinds, busy)))

    async def _begin_beside(self) -> bool:
        """Begin with a job of an organisation for which nothing is done, beside jobs that go on for long; tell whether.

        Some work cannot be let go of, such as a turn whose model takes its time.
        """
        since = time.monotonic() - LONG_SECONDS
        shorter = Counter(active.job.kind for active in self._active.values() if active.begun_at > since)
        has_room = shorter.total() < min(AT_ONCE, len(self._active)) and len(self._active) < 2 * AT_ONCE
        if not has_room:
            return False
        kinds, busy = [name for name, kind in self._kinds.items() if shorter[name] < kind.at_once], self._busy()
        if await self._store.read(lambda transaction: kind_waited_for(transaction, kinds, busy)) is None:
            return False
        return self._begin(
            await self._store.write(lambda transaction: claim_job(transaction, kinds, busy, only_others=True))
        )

    def _begin(self, job: Job | None) -> bool:
        if job is None:
            return False
        active = ActiveJob(self._store.of(job.organization_id), job, self._kinds[job.kind])
        task = asyncio.create_task(self._do(active))
        self._active[task] = active
        task.add_done_callback(self._is_done)
        return True

    async def _ask_for_a_place(self, full: Collection[str]) -> None:
        """Ask a job that has had its turn for its place, if an organisation for which nothing is done waits for it.

        Args:
            full: the kinds that have no room.
        """
        busy, before = self._busy(), list(self._active)
        wanted = await self._store.read(lambda transaction: kind_waited_for(transaction, full, busy))
        made_room = before != list(self._active)  # meanwhile
        if wanted is None or made_room or any(active.is_asked_to_yield for active in self._active.values()):
            return
        has_room = self._room(wanted) > 0  # but for jobs of all kinds together
        for active in self._active.values():  # the one that was begun first stands first
            holds_it = has_room or active.job.kind == wanted
            if holds_it and self._kinds[active.job.kind].yields and time.monotonic() - active.begun_at >= TURN_SECONDS:
                active.is_asked_to_yield = True
                return

    def _busy(self) -> set[str]:
        """Return the organisations for which something is done."""
        return {active.job.organization_id for active in self._active.values()}

    async def _seconds_until_due(self, kinds: list[str]) -> float:
        due = await self._store.read(lambda transaction: next_due(transaction, kinds)) if kinds else None
        left = LOOK_AGAIN_SECONDS if due is None else (due - clock.now()) / 1e6
        return min(max(left, 0.01), LOOK_AGAIN_SECONDS)

    def _kinds_with_room(self) -> list[str]:
        return [name for name in self._kinds if self._room(name) > 0] if len(self._active) < AT_ONCE else []

    def _room(self, kind: str) -> int:
        return self._kinds[kind].at_once - Counter(active.job.kind for active in self._active.values())[kind]

    def _is_done(self, task: asyncio.Task[None]) -> None:
        self._active.pop(task, None)
        self._added.set()  # there is room for another one

    async def _extend(self) -> None:
        """Say that this process is still at work, and stop what it was told to."""
        await wait_or_look_again(self._ended, EXTEND_SECONDS)
        self._ended.clear()
        mine = [active.job for active in self._active.values()]
        if not mine:
            return
        lost = await self._store.write(lambda transaction: extend_leases(transaction, mine))
        for task, active in list(self._active.items()):
            if active.job in lost:
                task.cancel()

    async def _prune(self) -> None:
        before = clock.now() - int(self._keep * 1e6)
        more = await self._store.write(lambda transaction: prune_jobs(transaction, before))
        await asyncio.sleep(0.1 if more else PRUNE_SECONDS)

    # -- one job ---------------------------------------------------------------------------------------------

    async def _do(self, active: ActiveJob) -> None:
        """Do a job; whatever happens, it ends, is put back, or is left to who takes it over."""
        job = active.job
        known: tracing.Attributes = {
            "folkmoot.job.id": job.id,
            "folkmoot.job.kind": job.kind,
            "folkmoot.job.attempt": job.attempts,
        }
        with tracing.apart(f"job {job.kind}", known) as span:
            await self._work_on(active, span)

    async def _work_on(self, active: ActiveJob, span: tracing.Span) -> None:
        job = active.job
        kind = self._kinds[job.kind]
        try:
            _check_attempts(job, kind)
            await kind.work(active)
            if not active.is_complete:
                await active.complete(_yes)
        except JobLost:
            logger.info("A job was ended or taken over", extra={"job_id": job.id})
        except (JobYielded, ServerStopped):
            await self._put_back(job)
        except JobFailed as error:
            span.fail(type(error).__name__)
            await self._fail(job, error.message)
        except FolkmootError as error:
            span.fail(type(error).__name__)
            logger.warning("A job is to be tried again: %s", error.message, extra={"job_id": job.id})
            await self._retry(job, error.message, error.seconds if isinstance(error, JobDelayed) else 0)
        except Exception as error:
            span.fail(type(error).__name__)
            logger.exception("A job failed", extra={"job_id": job.id})
            await self._retry(job, f"It failed unexpectedly ({type(error).__name__}); the server's log says why.", 0)

    async def _fail(self, job: Job, message: str) -> None:
        await self._let_go(job, lambda transaction, _: give_up(transaction, self._kinds, job, "failed", message))

    async def _retry(self, job: Job, message: str, seconds: float) -> None:
        """Have a job tried again, in so many seconds at least; one that was tried often enough has failed."""
        most = self._kinds[job.kind].attempts

        async def end(transaction: Transaction, now: Job) -> None:
            if most is not None and now.attempts >= most:
                await give_up(transaction, self._kinds, now, "failed", message)
            else:
                delay = max(seconds, delay_after(now.attempts))
                await put_back(transaction, now, message, int(delay * 1e6))

        await self._let_go(job, end)

    async def _put_back(self, job: Job) -> None:
        await self._let_go(job, lambda transaction, now: put_back(transaction, now, None, 0))

    async def _let_go(self, job: Job, work: Callable[[Transaction, Job], Awaitable[None]]) -> None:
        """Store what became of a job of this process; one that it has no more is left to others.

        If the database cannot take it, the lease ends and the job is taken up anew.
        """

        async def fenced(transaction: Transaction) -> None:
            await hold_job(transaction, job)
            await work(transaction, await find_job(transaction, job.id))

        try:
            await self._store.of(job.organization_id).write(fenced)
        except JobLost:
            logger.info("A job was ended or taken over", extra={"job_id": job.id})
        except StoreError as error:
            logger.warning("The end of a job could not be stored: %s", error.message, extra={"job_id": job.id})


def _check_attempts(job: Job, kind: JobKind) -> None:
    """Refuse a job that has been claimed too often without its end, since it may be what kills its processes."""
    if kind.attempts is not None and job.attempts > kind.attempts:
        raise JobFailed(job.error or f"Each of the {kind.attempts} processes that worked on it died.")


async def _yes(_: Transaction) -> bool:
    return True
