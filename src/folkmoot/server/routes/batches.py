"""Batches: many messages to agents in one request, worked through behind."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator

from folkmoot.agents.agents import find_agent
from folkmoot.errors import BadRequest
from folkmoot.identifiers import check_id
from folkmoot.jobs.kinds import cancel_job
from folkmoot.runs.batches import Batch, create_batch, find_batch, list_batches, messages_of_batch
from folkmoot.runs.callbacks import check_callback_url
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.sending import read_request
from folkmoot.server.state import State
from folkmoot.server.wire.batches import BatchMessages, BatchReply, CreateBatch, show_batch_message
from folkmoot.server.wire.common import json_response, page_of
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/messages/batches", tags=["messages"], route_class=BodyRoute)

BatchId = Annotated[str, AfterValidator(lambda value: check_id("job", value, "batch_id"))]
NewestFirst = Annotated[Page, Depends(page_of("desc", 100))]


@router.post("", response_model=BatchReply)
async def create(body: CreateBatch, state: State) -> Response:
    """Have many messages said to agents, each in its agent's main conversation, and answer at once.

    Messages to one agent are said in their order.
    """
    if body.callback_url is not None:
        check_callback_url(body.callback_url, allow_private=state.services.settings.private_callbacks)
    if any(each.callback_url is not None for each in body.requests):
        raise BadRequest("requests: name the callback_url of the batch; its messages have none.")
    requests = [read_request(each.agent_id, each.agent_id, each, state, "batch") for each in body.requests]

    async def write(transaction: Transaction) -> Batch:
        for agent_id in dict.fromkeys(request.agent_id for request in requests):
            await find_agent(transaction, agent_id)
        return await create_batch(transaction, requests, state.principal, body.callback_url)

    return json_response(BatchReply.of(await state.store.write(write)))


@router.get("", response_model=list[BatchReply])
async def list_all(page: NewestFirst, scan: Scan) -> Response:
    """List batches, the newest first unless the request says otherwise."""
    return await scan(
        lambda transaction: list_batches(transaction, page),
        lambda found: json_response([BatchReply.of(batch) for batch in found]),
    )


@router.get("/{batch_id}", response_model=BatchReply)
async def retrieve(batch_id: BatchId, state: State) -> Response:
    """Return a batch: how far it is, or what became of it."""
    return json_response(BatchReply.of(await state.store.read(lambda transaction: find_batch(transaction, batch_id))))


@router.get("/{batch_id}/messages", response_model=BatchMessages)
async def messages(batch_id: BatchId, page: NewestFirst, scan: Scan, agent_id: str | None = None) -> Response:
    """List what was said in the turns of a batch, the newest first unless the request says otherwise."""
    return await scan(
        lambda transaction: messages_of_batch(transaction, batch_id, page, agent_id),
        lambda found: json_response(BatchMessages(messages=[dict(show_batch_message(*each)) for each in found])),
    )


@router.patch("/{batch_id}/cancel", response_model=BatchReply)
async def cancel(batch_id: BatchId, state: State) -> Response:
    """Cancel a batch: turns that were not begun are not taken, those under way are stopped. What was said stays."""

    async def write(transaction: Transaction) -> Batch:
        await find_batch(transaction, batch_id)
        await cancel_job(transaction, state.services.job_kinds, batch_id)
        return await find_batch(transaction, batch_id)

    return json_response(BatchReply.of(await state.store.write(write)))
