"""Jobs: each is done once, whole or not at all, by whichever process is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from steps import GIVEN_UP, STEP_KIND, STEPS, mark, steps_kind, steps_of

from folkmoot.errors import JobDelayed, JobFailed
from folkmoot.identifiers import ORGANIZATION
from folkmoot.jobs.jobs import (
    Job,
    JobFilter,
    JobLost,
    add_job,
    claim_job,
    find_job,
    list_jobs,
    prune_jobs,
    topic,
)
from folkmoot.jobs.kinds import ActiveJob, JobKind, cancel_job, delete_job
from folkmoot.jobs.worker import TURN_SECONDS, JobWorker
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import create_block
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.paging import Page
from folkmoot.store.tables import block_tags, jobs
from support.polling import PATIENCE
from support.scripts import run

Work = Callable[[JobKind], Awaitable[JobWorker]]

AUTHOR = Author("api", "key", "test")


async def subject(opened: Store) -> str:
    """Return a new block that a job can work on."""
    fields = {"label": f"label_{uuid4().hex[:12]}", "value": ""}
    return (await opened.write(lambda transaction: create_block(transaction, fields, AUTHOR))).id


async def added(opened: Store, kind: str = STEP_KIND) -> Job:
    """Return a job that was added on a new block."""
    block_id = await subject(opened)
    return await opened.write(lambda transaction: add_job(transaction, kind, block_id))


async def until(opened: Store, job: Job, *statuses: str) -> Job:
    """Return the job when it has one of `statuses`."""
    with opened.signals.listening(topic(job.id)) as changed:
        try:
            async with asyncio.timeout(PATIENCE):
                while (
                    now := await opened.read(lambda transaction: find_job(transaction, job.id))
                ).status not in statuses:
                    await changed.wait()
                    changed.clear()
                return now
        except TimeoutError:
            every = await opened.read(lambda transaction: transaction.all(select(jobs)))
            raise AssertionError(f"not {statuses} after {PATIENCE} s: {[dict(row) for row in every]}") from None


async def written(opened: Store, job: Job) -> list[str]:
    """Return what the job has written on its block."""

    async def read(transaction: Transaction) -> list[str]:
        of_block = select(block_tags.c.tag).where(block_tags.c.block_id == job.subject_id)
        return [row["tag"] for row in await transaction.all(of_block.order_by(block_tags.c.place))]

    return await opened.read(read)


async def end_leases(opened: Store) -> None:
    """Let everything be due."""
    await opened.write(
        lambda transaction: transaction.run(update(jobs).where(jobs.c.due_at.is_not(None)).values(due_at=1))
    )


ALL = [str(number) for number in range(STEPS)]


async def test_a_job_is_done_and_tells_how_far_it_is(opened: Store, working: Work) -> None:
    await working(steps_kind())
    job = await added(opened)
    done = await until(opened, job, "completed")
    assert await written(opened, job) == ALL
    assert (done.progress.stage, done.progress.items_done, done.progress.items_total) == ("stepping", STEPS, STEPS)
    assert (done.attempts, done.error, done.due_at, done.claim) == (1, None, None, None)


async def test_many_jobs_of_two_workers_are_done_once_each(opened: Store, working: Work) -> None:
    begun: list[str] = []

    def noting(name: str) -> JobKind:
        async def reached(stage: str) -> None:
            if stage == "begun":
                begun.append(name)

        return steps_kind(reached)

    waiting = [await added(opened) for _ in range(20)]
    await working(noting("one"))
    await working(noting("two"))
    for job in waiting:
        assert (await until(opened, job, "completed")).attempts == 1
        assert await written(opened, job) == ALL
    assert len(begun) == len(waiting)


async def test_a_subject_has_one_unfinished_job_of_a_kind(opened: Store, working: Work) -> None:
    job = await added(opened)
    again = await asyncio.gather(
        *(opened.write(lambda transaction: add_job(transaction, STEP_KIND, job.subject_id)) for _ in range(8))
    )
    assert {each.id for each in again} == {job.id}
    await working(steps_kind())
    await until(opened, job, "completed")
    assert (await opened.write(lambda transaction: add_job(transaction, STEP_KIND, job.subject_id))).id != job.id


@pytest.mark.parametrize("stage", ["begun", "before 0", "after 0", "after 3", "done"])
@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_what_a_killed_process_left_another_goes_on_with(
    opened: Store, working: Work, database_url: str, stage: str, tmp_path: Path
) -> None:
    job = await added(opened)
    script = Path(__file__).parent / "killed.py"
    killed = await asyncio.to_thread(run, script, [database_url, stage], environ={}, folder=tmp_path)
    assert killed.returncode == -9, killed.stderr
    left = await opened.read(lambda transaction: find_job(transaction, job.id))
    assert (left.status, left.attempts) == ("running", 1)
    await working(steps_kind())
    await end_leases(opened)
    assert (await until(opened, job, "completed")).attempts == 2
    assert await written(opened, job) == ALL


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_what_a_killed_process_left_the_next_one_takes_up_at_once(opened: Store) -> None:
    job = await added(opened)
    await opened.everywhere.write(lambda transaction: claim_job(transaction, [STEP_KIND], []))
    worker = JobWorker(opened, {STEP_KIND: steps_kind()}, 3600)
    await worker.open(alone=True)
    try:
        assert (await until(opened, job, "completed")).attempts == 2
    finally:
        await worker.close()


async def test_a_process_that_lost_its_job_writes_nothing_more(opened: Store, working: Work) -> None:
    job = await added(opened)
    first = await opened.everywhere.write(lambda transaction: claim_job(transaction, [STEP_KIND], []))
    await end_leases(opened)
    second = await opened.everywhere.write(lambda transaction: claim_job(transaction, [STEP_KIND], []))
    assert (first.id, first.attempts, second.attempts) == (job.id, 1, 2)
    kind = steps_kind()
    with pytest.raises(JobLost):
        await ActiveJob(opened, first, kind).commit(lambda transaction: mark(transaction, job.subject_id, "late", 9))
    with pytest.raises(JobLost):
        await ActiveJob(opened, first, kind).complete(_true)
    assert await written(opened, job) == []
    assert await ActiveJob(opened, second, kind).complete(_true)


async def _true(_: Transaction) -> bool:
    return True


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_what_is_added_while_a_job_ends_is_not_left_behind(opened: Store) -> None:
    """Who ends a job waits for those who are adding to it, and sees what they added."""
    job = await added(opened)
    claimed = await opened.everywhere.write(lambda transaction: claim_job(transaction, [STEP_KIND], []))
    holding, let_go = asyncio.Event(), asyncio.Event()

    async def add(transaction: Transaction) -> Job:
        await mark(transaction, job.subject_id, "new", 0)
        same = await add_job(transaction, STEP_KIND, job.subject_id)
        holding.set()
        await let_go.wait()
        return same

    async def nothing_is_left(transaction: Transaction) -> bool:
        return await steps_of(transaction, job.subject_id) == 0

    adding = asyncio.create_task(opened.write(add))
    await holding.wait()
    ending = asyncio.create_task(ActiveJob(opened, claimed, steps_kind()).complete(nothing_is_left))
    assert not (await asyncio.wait([ending], timeout=0.5))[0]
    let_go.set()
    assert (await adding).id == job.id
    assert await ending is False


async def test_a_job_that_fails_is_tried_again_and_given_up_in_the_end(opened: Store, working: Work) -> None:
    async def fail(stage: str) -> None:
        if stage == "after 1":
            raise JobDelayed("the disk hums", 0)

    began = clock.now()
    await working(steps_kind(fail, attempts=2))
    job = await added(opened)
    waiting = await until(opened, job, "pending")
    assert (waiting.error, waiting.attempts, waiting.is_over) == ("the disk hums", 1, False)
    assert waiting.due_at is not None and waiting.due_at >= began
    assert await written(opened, job) == ["0", "1"], "what was committed stays"
    failed = await until(opened, job, "failed", "completed")
    assert failed.status == "completed", "its second try finds the stage done"


async def test_a_job_that_always_fails_is_given_up_whole(opened: Store, working: Work) -> None:
    async def fail(stage: str) -> None:
        if stage == "done":
            raise ValueError("secret words")

    await working(steps_kind(fail, attempts=1))
    job = await added(opened)
    failed = await until(opened, job, "failed")
    assert failed.error is not None and "ValueError" in failed.error and "secret" not in failed.error
    assert await written(opened, job) == [f"{GIVEN_UP}: failed: {failed.error}"]


async def test_what_cannot_be_done_is_not_tried_again(opened: Store, working: Work) -> None:
    async def fail(_: str) -> None:
        raise JobFailed("this file is no file")

    await working(steps_kind(fail, attempts=5))
    failed = await until(opened, await added(opened), "failed")
    assert (failed.error, failed.attempts) == ("this file is no file", 1)


async def test_a_job_that_kills_its_processes_is_given_up(opened: Store, working: Work) -> None:
    job = await added(opened)
    for _ in range(3):
        await opened.everywhere.write(lambda transaction: claim_job(transaction, [STEP_KIND], []))
        await end_leases(opened)
    await working(steps_kind())
    failed = await until(opened, job, "failed")
    assert failed.error == "Each of the 3 processes that worked on it died."
    assert (await written(opened, job))[0].startswith(GIVEN_UP)


async def test_a_job_that_is_cancelled_stops_where_it_is(opened: Store, working: Work) -> None:
    there, go_on = asyncio.Event(), asyncio.Event()

    async def reached(stage: str) -> None:
        if stage == "after 1":
            there.set()
            await go_on.wait()

    kind = steps_kind(reached)
    await working(kind)
    job = await added(opened)
    await asyncio.wait_for(there.wait(), PATIENCE)
    cancelled = await opened.write(lambda transaction: cancel_job(transaction, {STEP_KIND: kind}, job.id))
    go_on.set()
    other = await added(opened)
    await until(opened, other, "completed")
    assert cancelled.status == "cancelled"
    assert await written(opened, job) == [f"{GIVEN_UP}: cancelled: None"]
    deleted = await opened.write(lambda transaction: delete_job(transaction, {STEP_KIND: kind}, job.id))
    assert deleted.id == job.id
    assert [each.id for each in await _listed(opened)] == [other.id]


async def _listed(opened: Store) -> Sequence[Job]:
    return await opened.read(lambda transaction: list_jobs(transaction, JobFilter(), Page()))


async def test_a_worker_that_stops_puts_back_what_it_works_on(opened: Store, working: Work) -> None:
    there = asyncio.Event()

    async def reached(stage: str) -> None:
        if stage == "after 1":
            there.set()
            await asyncio.Event().wait()

    job = await added(opened)
    async with AsyncExitStack() as stack:
        worker = JobWorker(opened, {STEP_KIND: steps_kind(reached)}, 3600)
        await worker.open(alone=False)
        stack.push_async_callback(worker.close)
        await asyncio.wait_for(there.wait(), PATIENCE)
    left = await opened.read(lambda transaction: find_job(transaction, job.id))
    assert (left.status, left.attempts, left.claim) == ("created", 0, None)
    await working(steps_kind())
    assert (await until(opened, job, "completed")).attempts == 1


async def test_one_organisation_with_many_jobs_does_not_hold_up_another(
    opened: Store, working: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both places are taken when the other organisation comes; one of them is given up where it can be gone on with."""
    monkeypatch.setattr("folkmoot.jobs.worker.TURN_SECONDS", 0.0)
    taken, go_on = asyncio.Event(), asyncio.Event()
    begun: list[str] = []

    async def work(active: ActiveJob) -> None:
        begun.append(active.job.id)
        if len(begun) == 2:
            taken.set()
        while active.job.organization_id == ORGANIZATION and not go_on.is_set():
            active.yield_if_asked()
            await asyncio.sleep(0.01)

    many = [await added(opened) for _ in range(3)]
    await working(JobKind(STEP_KIND, work, yields=True))
    await asyncio.wait_for(taken.wait(), PATIENCE)
    other = opened.of("org-other")
    single = await until(other, await added(other), "completed")
    assert begun[:3] == [many[0].id, many[1].id, single.id]
    go_on.set()
    ended = [await until(opened, job, "completed") for job in many]
    assert [job.attempts for job in ended] == [1, 1, 1] and begun.count(many[0].id) == 2


@pytest.mark.parametrize("at_once", [1, 4], ids=["places of its kind", "all places"])
async def test_jobs_that_go_on_for_long_hold_up_their_own_organisation_only(
    opened: Store, working: Work, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("folkmoot.jobs.worker.LONG_SECONDS", 0.0)
    taken, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def work(active: ActiveJob) -> None:
        if active.job.organization_id == ORGANIZATION:
            taken.release()
            await go_on.wait()

    many = [await added(opened) for _ in range(at_once + 1)]
    await working(JobKind(STEP_KIND, work, at_once=at_once))
    for _ in range(at_once):
        await asyncio.wait_for(taken.acquire(), PATIENCE)
    other = opened.of("org-other")
    await until(other, await added(other), "completed")
    assert taken.locked(), "its own wait for their places"
    go_on.set()
    for job in many:
        await until(opened, job, "completed")


async def test_no_job_makes_room_before_its_turn_is_over_nor_for_its_own_organisation(opened: Store) -> None:
    kind = JobKind(STEP_KIND, lambda _: asyncio.sleep(3600), at_once=1, yields=True)
    for store in (opened, opened, opened.of("org-other")):
        await added(store)
    worker = JobWorker(opened, {STEP_KIND: kind}, 3600)
    assert await worker._begin_due([STEP_KIND])
    (active,) = worker._active.values()
    await worker._ask_for_a_place({STEP_KIND})
    assert not active.is_asked_to_yield
    active.begun_at -= TURN_SECONDS
    await opened.of("org-other").write(lambda transaction: transaction.run(update(jobs).values(due_at=None)))
    await worker._ask_for_a_place({STEP_KIND})
    assert not active.is_asked_to_yield
    await opened.of("org-other").write(lambda transaction: transaction.run(update(jobs).values(due_at=1)))
    await worker._ask_for_a_place({STEP_KIND})
    assert active.is_asked_to_yield
    await worker.close()


async def test_only_one_job_makes_room_for_one_that_waits(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first has made room while it is still looked for who waits: the place is free, and nobody else is asked."""
    monkeypatch.setattr("folkmoot.jobs.worker.TURN_SECONDS", 0.0)
    kind = JobKind(STEP_KIND, lambda _: asyncio.sleep(3600), yields=True)
    worker = JobWorker(opened, {STEP_KIND: kind}, 3600)
    for _ in range(2):
        await added(opened)
        assert await worker._begin_due([STEP_KIND])
    await added(opened.of("org-other"))
    (first, _), (_, second) = worker._active.items()
    read = Store.read

    async def read_slowly(store: Store, work: Any) -> Any:
        found = await read(store, work)
        first.cancel()
        await asyncio.wait([first])
        return found

    monkeypatch.setattr(Store, "read", read_slowly)
    await worker._ask_for_a_place({STEP_KIND})
    assert not second.is_asked_to_yield
    await worker.close()


async def test_jobs_that_are_over_are_forgotten_in_time(opened: Store, working: Work) -> None:
    await working(steps_kind())
    old = await until(opened, await added(opened), "completed")
    assert old.completed_at is not None
    at = old.completed_at
    assert not await opened.everywhere.write(lambda transaction: prune_jobs(transaction, at))
    assert len(await _listed(opened)) == 1
    await opened.everywhere.write(lambda transaction: prune_jobs(transaction, at + 1))
    assert await _listed(opened) == []
