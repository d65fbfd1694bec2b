"""OpenAI's Responses API: an agent in the place of a model, its runs as responses.

What an agent said before it remembers: a response goes on in one of its conversations (`server/continuing.py`). Calls
of its own tools are shown as those of an MCP server, calls of the caller's functions as function calls.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from folkmoot.agents.agents import find_agent
from folkmoot.agents.events import STOPPED, Event, ReadingCut, RunBegun, TurnEnd, TurnFailed
from folkmoot.agents.preparation import compact_now, count_tokens
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.messages import Message
from folkmoot.errors import BadRequest, Conflict
from folkmoot.identifiers import check_id
from folkmoot.runs.reading import delete_run, last_event, messages_of_run
from folkmoot.runs.runs import Run
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.continuing import Session, continue_conversation, find_response, instructions_of, standing_at
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.sending import DONE, check_in, read_request
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import Number, Order, json_response
from folkmoot.server.wire.response_input import show_input
from folkmoot.server.wire.response_output import ResponseOutput, StreamEvent
from folkmoot.server.wire.responses import (
    CompactedResponse,
    DeletedResponse,
    InputTokens,
    ItemList,
    RequestToMeasure,
    ResponseReply,
    ResponseRequest,
    output_of,
)
from folkmoot.server.wire.streams import CUT
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page, page_of_list

router = APIRouter(tags=["responses"], route_class=BodyRoute)

PATHS = ("/v1/responses", "/openai/v1/responses")
"""Where OpenAI's clients look for it, with this server's own base URL and with that of its chat protocol."""


async def create(body: ResponseRequest, state: State, session: Session) -> Response:
    """Say something to an agent and return its response, a stream of it, or with `background` that it has begun."""
    request = await _read(body, session, state)
    if body.stream:
        run = await state.runs.start(request)
        return EventStream(_events(state.runs.follow(run.id), run, -1))
    if body.background:
        run = await state.runs.start(request)
        return json_response(ResponseReply.of(run, (), status="queued"))
    answer = await state.runs.answer(request)
    return json_response(_whole(answer.run, answer.messages, answer.end))


async def retrieve(
    response_id: str,
    state: State,
    stream: bool = False,
    starting_after: Annotated[Number | None, Query(description="Number of the last event that was seen.")] = None,
) -> Response:
    """Return a response as it stands, or a stream of its events, those that were and those that come."""
    run = await state.store.read(lambda transaction: find_response(transaction, response_id))
    if stream:
        after = -1 if starting_after is None else starting_after
        return EventStream(_events(state.runs.follow(run.id), run, after))
    return json_response(await _shown(run, state))


async def cancel(response_id: str, state: State) -> Response:
    """Stop a response that is under way, and return it as it is then; one that is over stays as it is."""
    run = await state.store.read(lambda transaction: find_response(transaction, response_id))
    return json_response(await _shown(await state.runs.cancel(run.id), state))


async def delete(response_id: str, state: State) -> Response:
    """Forget a response; what was said in it stays in its conversation. One that is under way is cancelled first."""
    run = await state.store.read(lambda transaction: find_response(transaction, response_id))
    if not (await state.runs.cancel(run.id)).is_over:
        raise Conflict(
            "The response is under way in another process and is being cancelled; delete it when it is over."
        )
    await state.store.write(lambda transaction: delete_run(transaction, run.id))
    return json_response(DeletedResponse(id=response_id))


async def list_input(
    response_id: str,
    state: State,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: str | None = None,
    order: Order = "desc",
) -> Response:
    """List what was said to the agent in a response, the newest first unless the request says otherwise."""

    async def read(transaction: Transaction) -> list[Message]:
        return await messages_of_run(transaction, (await find_response(transaction, response_id)).id)

    items = [item for message in await state.store.read(read) if (item := show_input(message)) is not None]
    rest = page_of_list(items, Page(LARGEST_PAGE, after, None, order), lambda item: str(item["id"]))
    return json_response(ItemList.of(rest, limit))


async def count_input(body: RequestToMeasure, state: State) -> Response:
    """Return about how many tokens a response would read; no model is asked, and nothing is stored."""
    agent_id = check_id("agent", body.model, "model")

    async def read(transaction: Transaction) -> int:
        place = await standing_at(transaction, agent_id, body)
        conversation_id = agent_id if place is None else place[0]
        sent = body.to_measure(begins=place is None)
        agent = await find_agent(transaction, agent_id)
        request = TurnRequest(
            agent_id,
            conversation_id,
            messages=sent.to_messages(),
            client_tools=[tool.to_schema() for tool in sent.client_tools or ()],
            instructions=instructions_of(agent, body.instructions),
        )
        return await count_tokens(transaction, request, state.services, begins=place is None)

    try:
        return json_response(InputTokens(input_tokens=await state.store.read(read)))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


async def compact(body: RequestToMeasure, state: State) -> Response:
    """Let the oldest messages leave the context of the conversation that a request goes on in, and return what stands
    in their place: an item that the next request may have in its input.
    """
    agent_id = check_id("agent", body.model, "model")
    place = await state.store.read(lambda transaction: standing_at(transaction, agent_id, body))
    if place is None:
        raise BadRequest(
            "previous_response_id: name the response behind which is to be compacted, or send the agent's own items "
            "with their ids; what an agent was never told has no place in its context."
        )
    conversation_id, newest = place
    done = await compact_now(state.services, conversation_id, None)
    return json_response(CompactedResponse.of(newest, done.summary, done.usage, clock.now()))


def _add_routes() -> None:
    for path in PATHS:
        shown = path == PATHS[0]
        one = f"{path}/{{response_id}}"
        for name, answer, model in (
            ("input_tokens", count_input, InputTokens),
            ("compact", compact, CompactedResponse),
        ):
            router.add_api_route(
                f"{path}/{name}", answer, methods=["POST"], response_model=model, include_in_schema=shown
            )
        router.add_api_route(path, create, methods=["POST"], response_model=ResponseReply, include_in_schema=shown)
        router.add_api_route(one, retrieve, methods=["GET"], response_model=ResponseReply, include_in_schema=shown)
        router.add_api_route(one, delete, methods=["DELETE"], response_model=DeletedResponse, include_in_schema=shown)
        router.add_api_route(
            f"{one}/cancel", cancel, methods=["POST"], response_model=ResponseReply, include_in_schema=shown
        )
        router.add_api_route(
            f"{one}/input_items", list_input, methods=["GET"], response_model=ItemList, include_in_schema=shown
        )


_add_routes()


async def _read(body: ResponseRequest, session: str | None, state: ServerState) -> TurnRequest:
    """Return the turn that is asked for, in its conversation; for one that is refused none is begun."""
    agent_id = check_id("agent", body.model, "model")

    async def write(transaction: Transaction) -> TurnRequest:
        agent = await find_agent(transaction, agent_id)
        place = await continue_conversation(transaction, agent_id, body, session, state.author)
        sent = body.to_send(place.items, place.approvals)
        request = read_request(agent_id, place.conversation_id, sent, state)
        await check_in(transaction, request)
        return replace(
            request,
            instructions=instructions_of(agent, body.instructions),
            response_format=body.form,
            tool_choice=body.choice,
            background=bool(body.background),
            details={**request.details, "response": {**body.told(), "approved": place.approved}},
        )

    try:
        return await state.store.write(write)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


async def _shown(run: Run, state: ServerState) -> ResponseReply:
    said = await state.store.read(lambda transaction: messages_of_run(transaction, run.id))
    return _whole(run, said, last_event(run) if run.is_over else None)


def _whole(run: Run, said: Sequence[Message], end: TurnEnd | TurnFailed | None) -> ResponseReply:
    output = output_of(run)
    for message in said:
        deque(output.add(message), maxlen=0)  # only what it comes to counts
    if end is None:
        return ResponseReply.of(run, output.items)
    deque(output.finish(_status_of(end)), maxlen=0)
    return _ended(run, output.items, end)


async def _events(
    events: AsyncGenerator[tuple[int, Event], None], run: Run, after: int
) -> AsyncIterator[ServerSentEvent]:
    """Show a run's events as the standard's, those behind number `after`.

    The numbers are counted from the run's first event on, so that they are the same whenever and wherever it is read.
    """
    number = -1
    async with aclosing(events):
        output = output_of(run)
        async for _, event in events:
            for shown in _tell(run, output, event):
                number += shown["type"] != "error"  # who reads on elsewhere has seen what came before
                if number > after:
                    data = json.dumps({**shown, "sequence_number": number}).encode()
                    yield ServerSentEvent(data, shown["type"])
    yield DONE


def _tell(run: Run, output: ResponseOutput, event: Event) -> Iterator[StreamEvent]:
    if isinstance(event, RunBegun):
        shown = ResponseReply.of(run, (), status="in_progress").model_dump()
        yield {"type": "response.created", "response": shown}
        yield {"type": "response.in_progress", "response": shown}
    elif isinstance(event, ReadingCut):
        yield {"type": "error", "code": STOPPED, "message": CUT, "param": None}
    elif isinstance(event, TurnEnd | TurnFailed):
        yield from output.finish(_status_of(event))
        response = _ended(run, output.items, event)
        kind = response.status if response.status in ("completed", "failed") else "incomplete"
        yield {"type": f"response.{kind}", "response": response.model_dump()}
    else:
        yield from output.add(event)


def _ended(run: Run, items: Sequence[dict[str, Any]], end: TurnEnd | TurnFailed) -> ResponseReply:
    over = replace(run, completed_at=run.completed_at or clock.now())
    if isinstance(end, TurnEnd):
        status = "cancelled" if end.stop_reason == "cancelled" else "completed"
        return ResponseReply.of(over, items, end=end, status=status)
    error = {"type": end.error_type, "message": end.message}
    return ResponseReply.of(
        over, items, error=error, status="cancelled" if end.stop_reason == "cancelled" else "failed"
    )


def _status_of(end: TurnEnd | TurnFailed) -> str:
    """Return what becomes of an item that is under way at the end."""
    return "completed" if isinstance(end, TurnEnd) else "incomplete"
