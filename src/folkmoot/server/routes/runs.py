"""Runs: what became of a turn, and following one that is under way."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from folkmoot.agents.steps import StepFilter, list_steps, traces_of_run
from folkmoot.conversations.messages import Message
from folkmoot.errors import Conflict
from folkmoot.memory.undo import UndoneBlock, undo_run
from folkmoot.models.prompt import Usage
from folkmoot.runs.reading import RunFilter, delete_run, list_runs, messages_of_run, usage_of_run
from folkmoot.runs.runs import UNFINISHED, Run, find_run
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.event_stream import EventStream
from folkmoot.server.scanning import Scan
from folkmoot.server.sending import as_server_sent
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import Deleted, Number, Request, RunId, json_response, page_of
from folkmoot.server.wire.messages import AnyMessage, show_messages
from folkmoot.server.wire.runs import RunMetrics, RunReply, RunUsage, StepReply, UndoneRun
from folkmoot.server.wire.streams import StreamShape
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, page_of_list

router = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=BodyRoute)
internal_router = APIRouter(prefix="/v1", include_in_schema=False)
"""Paths that only some clients ask for."""

NewestFirst = Annotated[Page, Depends(page_of("desc", 100))]
OldestFirst = Annotated[Page, Depends(page_of("asc", 100))]


class FollowRun(Request):
    """From where a stream is followed."""

    starting_after: Number = Field(0, description="Number (`seq_id`) of the last event that was seen.")


@internal_router.get("/_internal_runs")
@router.get("", response_model=list[RunReply])
async def list_all(
    page: NewestFirst,
    scan: Scan,
    agent_id: str | None = None,
    agent_ids: Annotated[list[str] | None, Query()] = None,
    conversation_id: str | None = None,
    statuses: Annotated[list[str] | None, Query()] = None,
    stop_reason: str | None = None,
    background: bool | None = None,
    start_date: Annotated[datetime | None, Query(description="When they were made at the earliest.")] = None,
    end_date: Annotated[datetime | None, Query(description="Before when they were made.")] = None,
    active: bool = False,
    ascending: bool | None = None,
) -> Response:
    """List runs, the newest first."""
    wanted = RunFilter(
        agent_ids=[*(agent_ids or ()), *((agent_id,) if agent_id else ())],
        conversation_id=conversation_id,
        statuses=UNFINISHED if active else statuses or (),
        stop_reason=stop_reason,
        background=background,
        start=None if start_date is None else clock.from_datetime(start_date),
        end=None if end_date is None else clock.from_datetime(end_date),
    )
    if ascending is not None:
        page = Page(page.limit, page.after, page.before, "asc" if ascending else "desc")
    return await scan(
        lambda transaction: list_runs(transaction, wanted, page),
        lambda found: json_response([RunReply.of(run) for run in found]),
    )


@router.get("/active", response_model=list[RunReply])
async def list_active(
    page: NewestFirst,
    scan: Scan,
    agent_id: str | None = None,
    agent_ids: Annotated[list[str] | None, Query()] = None,
    background: bool | None = None,
) -> Response:
    """List the runs that wait for their turn or are under way."""
    return await list_all(page, scan, agent_id, agent_ids, background=background, active=True)


@router.get("/{run_id}", response_model=RunReply)
async def retrieve(run_id: RunId, state: State) -> Response:
    """Return a run; a failed one says why, and what was said in vain."""
    return json_response(RunReply.of(await _find(run_id, state), whole=True))


@router.delete("/{run_id}")
async def delete(run_id: RunId, state: State) -> Deleted:
    """Delete what is kept of a run that is over; its messages stay. One that is under way is cancelled first."""
    await _find(run_id, state)
    if not (await state.runs.cancel(run_id)).is_over:
        raise Conflict("The run is under way in another process and is being cancelled; delete it when it is over.")
    await state.store.write(lambda transaction: delete_run(transaction, run_id))
    return Deleted(message=f"Run id={run_id} successfully deleted")


@router.post("/{run_id}/revert", response_model=UndoneRun)
async def revert(run_id: RunId, state: State) -> UndoneRun:
    """Take back what a run wrote into memory blocks, all at once; what others have changed since is left as it is."""

    async def write(transaction: Transaction) -> list[UndoneBlock]:
        if not (await find_run(transaction, run_id)).is_over:
            raise Conflict("The run is under way and may write more. Cancel it first, or wait for its end.")
        return await undo_run(transaction, run_id, state.author)

    return UndoneRun.of(run_id, await state.store.write(write))


@router.get("/{run_id}/messages", response_model=list[AnyMessage])
async def list_messages(run_id: RunId, page: OldestFirst, state: State, scan: Scan) -> Response:
    """List the messages that the run added to its conversation, the oldest first unless the request says otherwise.

    Of a background run only those of the types that its request named, in the form that it asked for.
    """
    shape = StreamShape.of_run(await _find(run_id, state))

    def shown(found: list[Message]) -> Response:
        messages = show_messages(found, shape.messages, shape.types)
        return json_response(page_of_list(messages, page, lambda message: message.id))

    return await scan(lambda transaction: messages_of_run(transaction, run_id), shown)


@router.get("/{run_id}/usage", response_model=RunUsage)
async def usage(run_id: RunId, scan: Scan) -> Response:
    """Return the tokens that the run took."""

    async def read(transaction: Transaction) -> Usage:
        return (await usage_of_run(transaction, await find_run(transaction, run_id)))[0]

    return await scan(read, lambda used: json_response(RunUsage.of(used)))


@router.get("/{run_id}/metrics", response_model=RunMetrics)
async def metrics(run_id: RunId, scan: Scan) -> Response:
    """Return how long the run took, and with what."""

    async def read(transaction: Transaction) -> RunMetrics:
        run = await find_run(transaction, run_id)
        _, steps = await usage_of_run(transaction, run)
        return RunMetrics.of(run, await messages_of_run(transaction, run_id), steps)

    return await scan(read, json_response)


@router.get("/{run_id}/steps", response_model=list[StepReply])
async def steps(run_id: RunId, page: NewestFirst, state: State, scan: Scan) -> Response:
    """List the run's steps, the newest first unless the request says otherwise."""
    await _find(run_id, state)
    wanted = StepFilter(run_id=run_id)
    describe = state.services.catalogue.describe
    return await scan(
        lambda transaction: list_steps(transaction, wanted, page),
        lambda found: json_response([StepReply.of(step, describe(step.model)) for step in found]),
    )


@router.get("/{run_id}/trace")
async def trace(run_id: RunId, state: State, scan: Scan, limit: Number = 1000) -> list[dict[str, Any]]:
    """Return what each step's model was sent and answered; nothing unless the server runs with FOLKMOOT_TRACE."""
    await _find(run_id, state)
    return await scan(
        lambda transaction: traces_of_run(transaction, run_id, limit),
        lambda found: [{"step_id": each.step_id, "request": each.request, "response": each.response} for each in found],
    )


@router.get("/{run_id}/stream", response_class=EventStream)
async def follow(run_id: RunId, state: State, starting_after: Number = 0) -> Response:
    """Stream the run's events, those that were and those that come, to its end."""
    return await _follow(run_id, starting_after, state)


@router.post("/{run_id}/stream", response_class=EventStream)
async def follow_from(run_id: RunId, state: State, body: FollowRun | None = None) -> Response:
    """Stream the run's events behind the one that was seen last."""
    return await _follow(run_id, body.starting_after if body is not None else 0, state)


async def _follow(run_id: str, after: int, state: ServerState) -> Response:
    run = await _find(run_id, state)
    return EventStream(as_server_sent(state.runs.follow(run_id, after), StreamShape.of_run(run)))


async def _find(run_id: str, state: ServerState) -> Run:
    return await state.store.read(lambda transaction: find_run(transaction, run_id))
