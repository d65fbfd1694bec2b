"""What is said to an agent at times to come: once, or again and again."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Response

from folkmoot.agents.agents import find_agent
from folkmoot.conversations.conversations import find_conversation
from folkmoot.conversations.messages import message_to_json
from folkmoot.errors import NotFound
from folkmoot.schedules import schedules
from folkmoot.schedules.schedules import Schedule
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.routes.conversations import named
from folkmoot.server.sending import read_request
from folkmoot.server.state import State
from folkmoot.server.wire.common import AgentId, json_response
from folkmoot.server.wire.schedules import (
    CreateSchedule,
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleId,
    ScheduleList,
    ScheduleReply,
    shown_time,
)
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/agents/{agent_id}/schedule", tags=["schedules"], route_class=BodyRoute)

LARGEST_PAGE = 100


@router.post("", status_code=201, response_model=ScheduleCreated)
async def create(agent_id: AgentId, body: CreateSchedule, state: State) -> Response:
    """Schedule what is said to an agent; each time it is due a run in the background begins."""
    where = named(body.conversation_id or agent_id, agent_id)
    turn = read_request(agent_id, where, body.to_turn(), state, "scheduled")
    creator = {"id": state.principal.id, "name": state.principal.name}

    async def write(transaction: Transaction) -> Schedule:
        agent = await find_agent(transaction, agent_id)
        if (await find_conversation(transaction, where)).agent_id != agent_id:
            raise NotFound(f"conversation_id: {where} is none of agent {agent_id}.")
        timetable = body.schedule.timetable(agent.timezone)
        timetable.check(clock.now())
        said = [message_to_json(message) for message in turn.messages]
        request = schedules.NewSchedule(
            agent_id, timetable, body.to_json(), said, turn.details, turn.max_steps, creator
        )
        return await schedules.create_schedule(transaction, request)

    made = await state.store.write(write)
    shown = ScheduleCreated(id=made.id, next_scheduled_at=shown_time(made.due_at))
    response = json_response(shown)
    response.status_code = 201
    return response


@router.get("", response_model=ScheduleList)
async def list_all(
    agent_id: AgentId,
    state: State,
    limit: Annotated[int | None, Query(ge=1, le=LARGEST_PAGE)] = None,
    after: Annotated[str | None, Query(description="Return what comes after this one.")] = None,
) -> Response:
    """List an agent's schedules, the oldest first; what was to be said once is gone when it has been."""
    page = Page(limit or LARGEST_PAGE, after, None, "asc")
    wanted = replace(page, limit=page.limit + 1)
    found = await state.store.read(lambda transaction: schedules.list_schedules(transaction, agent_id, wanted))
    shown = [ScheduleReply.of(schedule) for schedule in found[: page.limit]]
    return json_response(ScheduleList(scheduled_messages=shown, has_next_page=len(found) > page.limit))


@router.get("/{scheduled_message_id}", response_model=ScheduleReply)
async def retrieve(agent_id: AgentId, scheduled_message_id: ScheduleId, state: State) -> Response:
    """Return one of an agent's schedules."""
    found = await state.store.read(lambda each: schedules.find_schedule(each, agent_id, scheduled_message_id))
    return json_response(ScheduleReply.of(found))


@router.delete("/{scheduled_message_id}", response_model=ScheduleDeleted)
async def delete(agent_id: AgentId, scheduled_message_id: ScheduleId, state: State) -> Response:
    """Delete a schedule; a run that it has started goes on."""
    await state.store.write(lambda each: schedules.delete_schedule(each, agent_id, scheduled_message_id))
    return json_response(ScheduleDeleted())
