"""Steps: the model calls that runs are made of."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field

from folkmoot.agents.steps import StepFilter, find_step, list_steps, set_feedback, trace_of_step
from folkmoot.conversations.messages import Message, messages_of_step
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.common import MOST_ITEMS, Request, StepId, Text, json_response, page_of
from folkmoot.server.wire.messages import AnyMessage, MessageShape, show_messages
from folkmoot.server.wire.runs import StepMetrics, StepReply, TraceReply
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, page_of_list

router = APIRouter(prefix="/v1/steps", tags=["runs"], route_class=BodyRoute)
telemetry_router = APIRouter(prefix="/v1/telemetry", tags=["runs"])

NewestFirst = Annotated[Page, Depends(page_of("desc"))]
OldestFirst = Annotated[Page, Depends(page_of("asc", 100))]


class Feedback(Request):
    """What somebody thinks of a step."""

    feedback: Literal["positive", "negative"] | None = None
    tags: Annotated[list[Text], Field(max_length=MOST_ITEMS)] | None = None


@router.get("", response_model=list[StepReply])
async def list_all(
    page: NewestFirst,
    state: State,
    scan: Scan,
    agent_id: str | None = None,
    run_id: str | None = None,
    model: str | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    feedback: Literal["positive", "negative"] | None = None,
    has_feedback: bool | None = None,
    tags: Annotated[list[str] | None, Query()] = None,
    trace_ids: Annotated[list[str] | None, Query(description="No step has one; finds nothing.")] = None,
    project_id: Annotated[str | None, Query(description="The project of the steps' agents.")] = None,
) -> Response:
    """List steps, the newest first."""
    wanted = StepFilter(
        run_id=run_id,
        agent_id=agent_id,
        model=model,
        start=None if start_date is None else clock.from_datetime(start_date),
        end=None if end_date is None else clock.from_datetime(end_date),
        feedback=feedback,
        has_feedback=has_feedback,
        tags=tags or (),
        project_id=project_id,
        nothing=bool(trace_ids),
    )
    describe = state.services.catalogue.describe
    return await scan(
        lambda transaction: list_steps(transaction, wanted, page),
        lambda found: json_response([StepReply.of(step, describe(step.model)) for step in found]),
    )


@router.get("/{step_id}", response_model=StepReply)
async def retrieve(step_id: StepId, state: State) -> Response:
    """Return a step."""
    step = await state.store.read(lambda transaction: find_step(transaction, step_id))
    return json_response(StepReply.of(step, state.services.catalogue.describe(step.model)))


@router.get("/{step_id}/metrics", response_model=StepMetrics)
async def metrics(step_id: StepId, state: State) -> Response:
    """Return how long a step's parts took."""
    return json_response(StepMetrics.of(await state.store.read(lambda transaction: find_step(transaction, step_id))))


@router.get("/{step_id}/trace")
async def trace(step_id: StepId, state: State) -> TraceReply | None:
    """Return what the model was sent and what it answered; null where that is not kept, or not any more."""

    async def read(transaction: Transaction) -> TraceReply | None:
        step = await find_step(transaction, step_id)
        found = await trace_of_step(transaction, step_id)
        return None if found is None else TraceReply.of(step, found)

    return await state.store.read(read)


@telemetry_router.get("/{step_id}")
async def telemetry(step_id: StepId, state: State) -> TraceReply | None:
    """Return what a step's trace says, under its older path."""
    return await trace(step_id, state)


@router.patch("/{step_id}/feedback", response_model=StepReply)
async def give_feedback(step_id: StepId, body: Feedback, state: State) -> Response:
    """Say what you think of a step."""
    step = await state.store.write(
        lambda transaction: set_feedback(transaction, step_id, body.feedback, body.tags or ())
    )
    return json_response(StepReply.of(step, state.services.catalogue.describe(step.model)))


@router.get("/{step_id}/messages", response_model=list[AnyMessage])
async def list_messages(step_id: StepId, page: OldestFirst, state: State) -> Response:
    """List the step's messages, the oldest first unless the request says otherwise."""

    async def read(transaction: Transaction) -> list[Message]:
        await find_step(transaction, step_id)
        return await messages_of_step(transaction, step_id)

    messages = page_of_list(await state.store.read(read), page, lambda message: message.id)
    return json_response(show_messages(messages, MessageShape()))
