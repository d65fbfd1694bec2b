"""Blocks: create, retrieve, list, count, update, delete, and whose they are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.agents.deletion import remove_block
from folkmoot.memory.blocks import Block, create_block, edit_text, find_block, update_block
from folkmoot.memory.listing import BlockFilter, agents_of_block, count_blocks, list_blocks
from folkmoot.server.agent_views import Include, view_agents
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.errands import overwrite
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.agent_replies import AgentReply, show_agent
from folkmoot.server.wire.blocks import (
    AnyEdit,
    BlockReply,
    ChangedBlockReply,
    CreateBlock,
    ExpectedVersion,
    UpdateBlock,
    show_change,
    version_header,
)
from folkmoot.server.wire.common import BlockId, Number, json_response, page_of
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/blocks", tags=["blocks"], route_class=BodyRoute)
internal_router = APIRouter(prefix="/v1", include_in_schema=False)
"""Paths that only some clients ask for."""


async def read_filter(
    label: str | None = None,
    name: str | None = None,
    project_id: str | None = None,
    identity_id: str | None = None,
    label_search: str | None = None,
    description_search: str | None = None,
    value_search: str | None = None,
    connected_to_agents_count_gt: Number | None = None,
    connected_to_agents_count_lt: Number | None = None,
    tags: Annotated[list[str] | None, Query()] = None,
    identifier_keys: Annotated[list[str] | None, Query()] = None,
    connected_to_agents_count_eq: Annotated[list[Number] | None, Query()] = None,
    templates_only: bool = False,
    match_all_tags: bool = False,
) -> BlockFilter:
    """Read from the query which blocks are wanted."""
    return BlockFilter(
        label=label,
        template_name=name,
        templates_only=templates_only,
        project_id=project_id,
        tags=tags or (),
        match_all_tags=match_all_tags,
        label_search=label_search,
        description_search=description_search,
        value_search=value_search,
        agents_more_than=connected_to_agents_count_gt,
        agents_fewer_than=connected_to_agents_count_lt,
        agents_exactly=connected_to_agents_count_eq or (),
        identity_id=identity_id,
        identifier_keys=identifier_keys or (),
    )


Wanted = Annotated[BlockFilter, Depends(read_filter)]
OldestFirst = Annotated[Page, Depends(page_of("asc"))]
NewestFirst = Annotated[Page, Depends(page_of("desc"))]


@router.post("", response_model=BlockReply)
async def create(body: CreateBlock, state: State) -> Response:
    """Create a block; it belongs to no agent until it is attached."""
    fields = body.model_dump()
    block = await state.store.write(lambda transaction: create_block(transaction, fields, state.author))
    return json_response(BlockReply.of(block))


@internal_router.get("/_internal_blocks")
@router.get("", response_model=list[BlockReply])
async def list_all(wanted: Wanted, page: OldestFirst, scan: Scan) -> Response:
    """List blocks."""
    return await scan(
        lambda transaction: list_blocks(transaction, wanted, page),
        lambda found: json_response([BlockReply.of(block) for block in found]),
    )


@router.get("/count")
async def count(wanted: Wanted, scan: Scan) -> int:
    """Count blocks."""
    return await scan(lambda transaction: count_blocks(transaction, wanted), int)


@router.get("/{block_id}", response_model=BlockReply)
async def retrieve(block_id: BlockId, state: State) -> Response:
    """Return a block as it is now."""
    block = await state.store.read(lambda transaction: find_block(transaction, block_id))
    return json_response(BlockReply.of(block), version_header(block.version))


@router.patch("/{block_id}", response_model=ChangedBlockReply)
async def update(block_id: BlockId, body: UpdateBlock, expected: ExpectedVersion, state: State) -> Response:
    """Change a block; a new value becomes a new version. With If-Match, only when it is at that version."""
    changes = body.changes()

    async def write(transaction: Transaction) -> tuple[Block, Block]:
        if state.errand is not None:
            access = state.access_to(block_id) or "read"
            return await overwrite(transaction, block_id, body, state.author, expected, access)
        return await update_block(transaction, block_id, changes, state.author, expected)

    before, after = await state.store.write(write, together=block_id)
    reply = show_change(before, after, expected, whole=body.value is not None)
    return json_response(reply, version_header(after.version))


@router.post("/{block_id}/edits", response_model=ChangedBlockReply)
async def edit(block_id: BlockId, body: AnyEdit, expected: ExpectedVersion, state: State) -> Response:
    """Edit a block's text as it is now, as agents' tools do; what does not apply is 422 and tells the text."""
    before, after = await state.store.write(
        lambda transaction: edit_text(
            transaction, block_id, body.edit(), state.author, expected, state.access_to(block_id)
        ),
        together=block_id,
    )
    reply = show_change(before, after, expected, whole=body.kind == "rethink")
    return json_response(reply, version_header(after.version))


@router.delete("/{block_id}")
async def delete(block_id: BlockId, state: State) -> None:
    """Delete a block with its history; agents lose it."""
    await remove_block(state.store, block_id, state.author)


@router.get("/{block_id}/agents", response_model=list[AgentReply])
async def list_agents(block_id: BlockId, page: NewestFirst, include: Include, state: State, scan: Scan) -> Response:
    """List the agents that have the block."""

    async def read(transaction: Transaction) -> Any:
        await find_block(transaction, block_id)
        agent_ids = await agents_of_block(transaction, block_id, page)
        return await view_agents(transaction, agent_ids, include.of_listed, state)

    return await scan(read, lambda views: json_response([show_agent(view) for view in views]))
