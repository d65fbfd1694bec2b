"""Batches: many messages to agents, worked through behind as one job, some turns at a time.

Each message's run is noted on it in the transaction that stores the run, so that whoever goes on after a crash knows
which were begun. A run that was cut off before anything of it was stored is begun again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import bindparam, func, select, update

from folkmoot.access.keys import find_key
from folkmoot.access.principals import Principal
from folkmoot.agents.services import Services
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.messages import Message, message_from_json, message_to_json
from folkmoot.errors import FolkmootError, NotFound, ServerStopped, StoreError
from folkmoot.identifiers import new_id
from folkmoot.jobs.jobs import Job, JobFilter, Progress, add_job, find_job, list_jobs
from folkmoot.jobs.kinds import ActiveJob, JobKind
from folkmoot.models.prompt import ToolSchema
from folkmoot.runs.callbacks import call_back
from folkmoot.runs.runs import Run, find_run, request_cancel, store_run, topic
from folkmoot.runs.service import RunService, new_run
from folkmoot.runs.supervisor import RunSupervisor
from folkmoot.settings import Settings
from folkmoot.store import clock
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.signals import wait_or_look_again
from folkmoot.store.tables import batch_items, batches, messages

logger = logging.getLogger(__name__)

BATCH = "batch"
"""The name of this kind of job."""

CALLBACK = "batch_callback"
"""The name of the job of telling that a batch is over; no batch waits for whom it tells."""

CALLBACKS_AT_ONCE = 20
"""Callbacks of batches that a process makes at once; most of their time they wait."""

TURNS_AT_ONCE = 8
"""Turns of one batch that a process takes at once."""

MOST_REQUESTS = 1000
"""Messages of one batch."""

LOOK_AGAIN_SECONDS = 1.0

_CUT_OFF = frozenset({"process_died", "server_stopped"})
"""Errors of runs that ended with the process that worked on them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch: its job, what became of its messages by state, and of its callback. Times are in microseconds."""

    job: Job
    counts: Mapping[str, int]
    callback_url: str | None = None
    callback_sent_at: int | None = None
    callback_status_code: int | None = None
    callback_error: str | None = None


@dataclass(frozen=True, slots=True)
class _Item:
    """A message of a batch, by its place."""

    batch_id: str
    place: int
    agent_id: str
    request: Mapping[str, Any]
    run_id: str | None

    @classmethod
    def from_row(cls, row: Row) -> _Item:
        """Read a row of the batch_items table."""
        return cls(row["batch_id"], row["place"], row["agent_id"], json.loads(row["request"]), row["run_id"])

    def to_request(self) -> TurnRequest:
        """Return the turn that is asked for."""
        kept = dict(self.request)
        said = [message_from_json(each) for each in kept.pop("messages")]
        tools = [ToolSchema(**each) for each in kept.pop("client_tools")]
        return TurnRequest(self.agent_id, self.agent_id, messages=said, client_tools=tools, background=True, **kept)


_this = (batch_items.c.batch_id == bindparam("of_batch"), batch_items.c.place == bindparam("at"))
_waiting = (
    select(batch_items)
    .where(batch_items.c.batch_id == bindparam("of_batch"), batch_items.c.state == "waiting")
    .order_by(batch_items.c.place)
)
_set_run = update(batch_items).where(*_this).values(run_id=bindparam("new_run"))
_set_state = update(batch_items).where(*_this).values(state=bindparam("new_state"), request="{}")
_cancel_rest = (
    update(batch_items)
    .where(batch_items.c.batch_id == bindparam("of_batch"), batch_items.c.state == "waiting")
    .values(state="cancelled", request="{}")
)
_counts = select(batch_items.c.batch_id, batch_items.c.state, func.count().label("count")).group_by(
    batch_items.c.batch_id, batch_items.c.state
)
_callback = select(batches).where(batches.c.id == bindparam("of_batch"))
_set_callback = (
    update(batches)
    .where(batches.c.id == bindparam("of_batch"))
    .values(
        callback_sent_at=bindparam("sent"), callback_status_code=bindparam("status"), callback_error=bindparam("why")
    )
)


async def create_batch(
    transaction: Transaction, requests: Sequence[TurnRequest], principal: Principal, callback_url: str | None
) -> Batch:
    """Have turns taken behind, in the order of `requests` as far as they are of one agent.

    Args:
        transaction: where to write.
        requests: messages to agents, in their main conversations, without decisions.
        principal: on whose behalf.
        callback_url: who is told of the batch's end.
    """
    given = {"principal": {"id": principal.id, "name": principal.name, "kind": principal.kind, "role": principal.role}}
    job = await add_job(transaction, BATCH, new_id("batch"), given=given)
    await transaction.insert(batches, [{"id": job.id, "callback_url": callback_url}])
    rows = [
        {
            "batch_id": job.id,
            "place": place,
            "agent_id": request.agent_id,
            "request": json.dumps(_kept(request)),
            "state": "waiting",
        }
        for place, request in enumerate(requests)
    ]
    await transaction.insert(batch_items, rows)
    return await find_batch(transaction, job.id)


async def find_batch(transaction: Transaction, batch_id: str) -> Batch:
    """Return the batch.

    Raises:
        NotFound: there is no such batch.
    """
    row = await transaction.first(_callback, of_batch=batch_id)
    if row is None:
        raise NotFound(f"Batch with id '{batch_id}' not found")
    return (await _of_jobs(transaction, [await find_job(transaction, batch_id)]))[0]


async def list_batches(transaction: Transaction, page: Page) -> list[Batch]:
    """Return a page of the batches, by time of creation."""
    return await _of_jobs(transaction, await list_jobs(transaction, JobFilter(kind=BATCH), page))


async def messages_of_batch(
    transaction: Transaction, batch_id: str, page: Page, agent_id: str | None
) -> list[tuple[str, Message]]:
    """Return a page of what was said in a batch's turns, by time, each with its agent.

    Raises:
        NotFound: there is no such batch.
    """
    await find_batch(transaction, batch_id)
    mine = select(batch_items.c.run_id).where(batch_items.c.batch_id == batch_id)
    statement = select(messages).where(messages.c.run_id.in_(mine))
    if agent_id is not None:
        statement = statement.where(messages.c.agent_id == agent_id)
    rows = await fetch_page(transaction, statement, messages, page)
    return [(row["agent_id"], Message.from_row(row)) for row in rows]


def batch_kind(services: Services, supervisor: RunSupervisor) -> JobKind:
    """Return what a process does for batches."""

    async def work(active: ActiveJob) -> None:
        await _Working(active, services, supervisor).run()

    return JobKind(BATCH, work, _given_up, attempts=None, yields=True)


def callback_kind(settings: Settings) -> JobKind:
    """Return what a process does to tell the callback addresses of batches."""

    async def work(active: ActiveJob) -> None:
        await _call_back(active, settings)

    return JobKind(CALLBACK, work, at_once=CALLBACKS_AT_ONCE)


async def _given_up(transaction: Transaction, job: Job) -> None:
    """Let what was not begun be cancelled, and stop what is under way."""
    for row in await transaction.all(_waiting, of_batch=job.id):
        if row["run_id"] is not None:
            await request_cancel(transaction, row["run_id"])
    await transaction.run(_cancel_rest, of_batch=job.id)


class _Working:
    """One batch that this process works through."""

    def __init__(self, active: ActiveJob, services: Services, supervisor: RunSupervisor) -> None:
        self._active = active
        self._store = active.store
        given = active.job.details["given"]["principal"]
        principal = Principal(given["name"], given["kind"], active.job.organization_id, given["role"], given["id"])
        self._runs = RunService(services.of(active.job.organization_id), supervisor, principal)
        self._supervisor = supervisor
        self._principal = principal
        self._done = self._total = 0

    async def run(self) -> None:
        """Take the turns that are left, some at a time, and have told who wants to know."""
        batch = await self._store.read(lambda transaction: find_batch(transaction, self._active.job.id))
        waiting = await self._store.read(lambda transaction: transaction.all(_waiting, of_batch=batch.job.id))
        self._total = sum(batch.counts.values())
        self._done = self._total - len(waiting)
        try:
            await self._take_all([_Item.from_row(row) for row in waiting])
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        if batch.callback_url is not None:
            await self._active.complete(self._owe_callback)

    async def _take_all(self, items: Sequence[_Item]) -> None:
        """Take the turns of several agents beside each other, those of one agent one after the other."""
        places = asyncio.Semaphore(TURNS_AT_ONCE)
        by_agent: dict[str, list[_Item]] = {}
        for item in items:
            by_agent.setdefault(item.agent_id, []).append(item)

        async def take_in_order(of_agent: Sequence[_Item]) -> None:
            for item in of_agent:
                async with places:
                    if self._active.is_asked_to_yield:
                        return  # the turns that were begun are taken to their end
                    await self._settle(item)

        async with asyncio.TaskGroup() as group:
            for of_agent in by_agent.values():
                group.create_task(take_in_order(of_agent))
        if self._done < self._total:
            self._active.yield_if_asked()

    async def _settle(self, item: _Item) -> None:
        """Take one turn to its end, and note what became of it."""
        state = await self._take(item)
        batch_id, place = item.batch_id, item.place

        async def write(transaction: Transaction) -> None:
            await transaction.run(_set_state, of_batch=batch_id, at=place, new_state=state)

        self._done += 1
        await self._active.commit(write, Progress("taking turns", items_done=self._done, items_total=self._total))

    async def _take(self, item: _Item) -> str:
        """Return what became of a turn: `succeeded`, `failed` or `cancelled`.

        Raises:
            ServerStopped: this process stops; the turn is for whoever goes on with the batch.
        """
        if item.run_id is not None and (before := await self._outcome(item.run_id)) is not None:
            return before
        if self._supervisor.is_stopping:
            raise ServerStopped
        request = item.to_request()
        run = replace(new_run(request, self._principal), status="created")

        async def begin(transaction: Transaction) -> bool:
            if not await self._may_go_on(transaction):
                return False
            await store_run(transaction, run, "created")
            await transaction.run(_set_run, of_batch=item.batch_id, at=item.place, new_run=run.id)
            return True

        try:
            if not await self._active.commit(begin):
                return "cancelled"
            answer = await self._runs.carry_out(run, request)
        except (ServerStopped, StoreError):
            raise
        except FolkmootError:  # the run says why; where its agent is not there any more there is none
            return "failed"
        return "cancelled" if answer.end.stop_reason == "cancelled" else "succeeded"

    async def _may_go_on(self, transaction: Transaction) -> bool:
        """Tell whether the key that the batch was made with still holds; what it left behind is not said without it."""
        if self._principal.id is None or self._principal.kind not in ("key", "session"):
            return True
        try:
            return (await find_key(transaction, self._principal.id)).is_valid(clock.now())
        except NotFound:
            return False

    async def _outcome(self, run_id: str) -> str | None:
        """Return what became of a run that was begun before; None for one that is to be begun again."""
        with self._store.signals.listening(topic(run_id)) as changed:
            while True:
                changed.clear()
                try:
                    run = await self._store.read(lambda transaction: find_run(transaction, run_id))
                except NotFound:  # it was deleted: nobody wants it
                    return "cancelled"
                if run.is_over:
                    return _state_of(run)
                await wait_or_look_again(changed, LOOK_AGAIN_SECONDS)

    async def _owe_callback(self, transaction: Transaction) -> bool:
        """Have the batch's callback made once it is over."""
        await add_job(transaction, CALLBACK, self._active.job.id)
        return True


async def _call_back(active: ActiveJob, settings: Settings) -> None:
    """Tell a batch's callback address that it is over; once more after a crash, if that came in between."""
    batch_id = active.job.subject_id
    try:
        batch = await active.store.read(lambda transaction: find_batch(transaction, batch_id))
    except NotFound:  # it was deleted: nobody wants to know
        return
    if batch.callback_url is None or batch.callback_sent_at is not None:
        return
    told = {"batch_id": batch_id, "status": "completed", "counts": dict(batch.counts)}
    result = await call_back(batch.callback_url, told, settings)

    async def write(transaction: Transaction) -> None:
        came = {"sent": result.sent_at, "status": result.status_code, "why": result.error}
        await transaction.run(_set_callback, of_batch=batch_id, **came)

    await active.commit(write)


def _state_of(run: Run) -> str | None:
    if run.status == "completed":
        return "succeeded"
    error = run.details.get("error") or {}
    if error.get("type") in _CUT_OFF and run.said:  # nothing of it is in the conversation
        return None
    return "cancelled" if run.status == "cancelled" else "failed"


def _kept(request: TurnRequest) -> dict[str, Any]:
    """Return what a batch keeps of a request."""
    return {
        "messages": [message_to_json(message) for message in request.messages],
        "client_tools": [asdict(tool) for tool in request.client_tools],
        "max_steps": request.max_steps,
        "model": request.model,
        "instructions": request.instructions,
        **({"skills": request.skills} if request.skills else {}),
        "details": dict(request.details),
    }


async def _of_jobs(transaction: Transaction, jobs: Sequence[Job]) -> list[Batch]:
    ids = [job.id for job in jobs]
    counts: dict[str, dict[str, int]] = {job_id: {} for job_id in ids}
    for row in await transaction.all(_counts.where(batch_items.c.batch_id.in_(ids))):
        counts[row["batch_id"]][row["state"]] = row["count"]
    found = {row["id"]: row for row in await transaction.all(select(batches).where(batches.c.id.in_(ids)))}
    names = ("callback_url", "callback_sent_at", "callback_status_code", "callback_error")
    return [
        Batch(job, counts[job.id], **{name: found[job.id][name] for name in names}) for job in jobs if job.id in found
    ]
