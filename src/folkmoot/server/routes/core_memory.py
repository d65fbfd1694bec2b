"""An agent's core memory: its blocks, by label, attached and detached."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from folkmoot.agents.agents import find_agent
from folkmoot.errors import NotFound
from folkmoot.files.shown import files_at_hand
from folkmoot.memory.attachments import attach, attached_rows, detach
from folkmoot.memory.blocks import Block, edit_text, update_block
from folkmoot.memory.listing import attached_blocks
from folkmoot.server.agent_views import changed_agent
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.errands import overwrite
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.agent_replies import AgentReply, MemoryReply
from folkmoot.server.wire.blocks import (
    AnyEdit,
    AttachBlock,
    BlockReply,
    ChangedBlockReply,
    ExpectedVersion,
    UpdateBlock,
    show_change,
    version_header,
)
from folkmoot.server.wire.common import AgentId, BlockId, json_response, page_of
from folkmoot.server.wire.folders import FileBlockReply
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/agents/{agent_id}/core-memory", tags=["agents"], route_class=BodyRoute)

OldestFirst = Annotated[Page, Depends(page_of("asc", 100))]


@router.get("", response_model=MemoryReply)
async def retrieve(agent_id: AgentId, scan: Scan) -> Response:
    """Return the agent's memory."""

    async def read(transaction: Transaction) -> MemoryReply:
        agent = await find_agent(transaction, agent_id)
        blocks = [_shown(row) for row in await attached_rows(transaction, agent_id)]
        files = FileBlockReply.all_of(await files_at_hand(transaction, agent_id))
        return MemoryReply.model_construct(agent_type=agent.agent_type, blocks=blocks, file_blocks=files)

    return await scan(read, json_response)


@router.get("/variables")
async def list_variables(agent_id: AgentId, state: State) -> dict[str, dict[str, str]]:
    """Return the values that were filled into the agent's memory when it was made from a template."""
    agent = await state.store.read(lambda transaction: find_agent(transaction, agent_id))
    return {"variables": dict(agent.configuration.get("memory_variables") or {})}


@router.get("/blocks", response_model=list[BlockReply])
async def list_blocks(agent_id: AgentId, page: OldestFirst, scan: Scan) -> Response:
    """List the agent's blocks."""

    async def read(transaction: Transaction) -> list[BlockReply]:
        await find_agent(transaction, agent_id)
        found = await attached_blocks(transaction, agent_id, page)
        return [BlockReply.of(block, access) for block, access in found]

    return await scan(read, json_response)


@router.patch("/blocks/attach/{block_id}", response_model=AgentReply)
async def attach_block(agent_id: AgentId, block_id: BlockId, state: State, body: AttachBlock | None = None) -> Response:
    """Attach a block to the agent, which sees it from its next step on; again, to change its access."""
    access = body.access if body is not None else None

    return await changed_agent(agent_id, state, lambda transaction: attach(transaction, agent_id, block_id, access))


@router.patch("/blocks/detach/{block_id}", response_model=AgentReply)
async def detach_block(agent_id: AgentId, block_id: BlockId, state: State) -> Response:
    """Detach a block from the agent; the block itself stays."""

    async def change(transaction: Transaction) -> None:
        await find_agent(transaction, agent_id, lock=True)
        await detach(transaction, agent_id, block_id, state.author)

    return await changed_agent(agent_id, state, change)


@router.get("/blocks/{block_label:path}", response_model=BlockReply)
async def retrieve_block(agent_id: AgentId, block_label: str, state: State) -> Response:
    """Return the agent's block of that label."""
    row = await state.store.read(lambda transaction: _labelled(transaction, agent_id, block_label))
    reply = _shown(row)
    return json_response(reply, version_header(reply.version))


@router.patch("/blocks/{block_label:path}", response_model=ChangedBlockReply)
async def update_block_of_label(
    agent_id: AgentId, block_label: str, body: UpdateBlock, expected: ExpectedVersion, state: State
) -> Response:
    """Change the agent's block of that label."""
    changes = body.changes()

    async def write(transaction: Transaction) -> BlockReply:
        row = await _labelled(transaction, agent_id, block_label)
        if state.errand is not None:
            before, after = await overwrite(transaction, row["id"], body, state.author, expected, row["access"])
        else:
            before, after = await update_block(transaction, row["id"], changes, state.author, expected)
        whole = body.value is not None
        return show_change(before, after, expected, whole=whole, access=row["access"])

    reply = await state.store.write(write)
    return json_response(reply, version_header(reply.version))


@router.post("/blocks/{block_label:path}/edits", response_model=ChangedBlockReply)
async def edit_block_of_label(
    agent_id: AgentId, block_label: str, body: AnyEdit, expected: ExpectedVersion, state: State
) -> Response:
    """Edit the agent's block of that label, as `POST /v1/blocks/{block_id}/edits` does."""

    async def write(transaction: Transaction) -> BlockReply:
        row = await _labelled(transaction, agent_id, block_label)
        access = row["access"] if state.errand is not None else None
        before, after = await edit_text(transaction, row["id"], body.edit(), state.author, expected, access)
        whole = body.kind == "rethink"
        return show_change(before, after, expected, whole=whole, access=row["access"])

    reply = await state.store.write(write)
    return json_response(reply, version_header(reply.version))


async def _labelled(transaction: Transaction, agent_id: str, label: str) -> Any:
    for row in await attached_rows(transaction, agent_id):
        if row["label"] == label:
            return row
    await find_agent(transaction, agent_id)
    raise NotFound(f"No block with label '{label}' found for agent '{agent_id}'")


def _shown(row: Any) -> BlockReply:
    return BlockReply.of(Block.from_row(row), row["access"])
