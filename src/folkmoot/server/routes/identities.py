"""Identities: for whom agents and blocks are kept."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from folkmoot.agents import identities
from folkmoot.agents.identities import IdentityFilter, IdentityType
from folkmoot.server.agent_views import Include, view_agents
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.agent_replies import AgentReply, show_agent
from folkmoot.server.wire.blocks import BlockReply
from folkmoot.server.wire.common import AgentId, BlockId, json_response, page_of
from folkmoot.server.wire.identities import CreateIdentity, IdentityId, IdentityReply, Properties, UpdateIdentity
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/identities", tags=["identities"], route_class=BodyRoute)
attachments_router = APIRouter(prefix="/v1", tags=["identities"])

NewestFirst = Annotated[Page, Depends(page_of("desc"))]


async def read_filter(
    name: str | None = None,
    identifier_key: str | None = None,
    identity_type: IdentityType | None = None,
    project_id: str | None = None,
) -> IdentityFilter:
    """Read from the query which identities are wanted."""
    return IdentityFilter(name, identifier_key, identity_type, project_id)


@router.post("", response_model=IdentityReply)
async def create(body: CreateIdentity, state: State) -> IdentityReply:
    """Create an identity."""
    found = await state.store.write(
        lambda transaction: identities.create_identity(transaction, body.fields(), body.known() or (), body.holdings())
    )
    return IdentityReply.of(found)


@router.put("", response_model=IdentityReply)
async def upsert(body: CreateIdentity, state: State) -> IdentityReply:
    """Change the identity of a key, or create it."""
    found = await state.store.write(
        lambda transaction: identities.upsert_identity(transaction, body.fields(), body.known(), body.holdings())
    )
    return IdentityReply.of(found)


@router.get("", response_model=list[IdentityReply])
async def list_all(wanted: Annotated[IdentityFilter, Depends(read_filter)], page: NewestFirst, scan: Scan) -> Response:
    """List identities, the newest first unless the request says otherwise."""
    return await scan(
        lambda transaction: identities.list_identities(transaction, wanted, page),
        lambda found: json_response([IdentityReply.of(each) for each in found]),
    )


@router.get("/count")
async def count(scan: Scan) -> int:
    """Count identities."""
    return await scan(identities.count_identities, int)


@router.get("/{identity_id}", response_model=IdentityReply)
async def retrieve(identity_id: IdentityId, state: State) -> IdentityReply:
    """Return an identity."""
    return IdentityReply.of(await state.store.read(lambda each: identities.find_identity(each, identity_id)))


@router.patch("/{identity_id}", response_model=IdentityReply)
async def update(identity_id: IdentityId, body: UpdateIdentity, state: State) -> IdentityReply:
    """Change an identity; properties of other keys stay."""
    fields, known, holdings = body.fields(), body.known(), body.holdings()
    found = await state.store.write(
        lambda transaction: identities.update_identity(transaction, identity_id, fields, known, holdings)
    )
    return IdentityReply.of(found)


@router.put("/{identity_id}/properties", response_model=IdentityReply)
async def replace_properties(identity_id: IdentityId, body: Properties, state: State) -> IdentityReply:
    """Replace everything that is known of an identity."""
    known = [each.model_dump() for each in body]
    found = await state.store.write(lambda each: identities.replace_properties(each, identity_id, known))
    return IdentityReply.of(found)


@router.delete("/{identity_id}")
async def delete(identity_id: IdentityId, state: State) -> None:
    """Delete an identity; its agents and blocks stay."""
    await state.store.write(lambda transaction: identities.delete_identity(transaction, identity_id))


@router.get("/{identity_id}/agents", response_model=list[AgentReply])
async def list_agents(
    identity_id: IdentityId, page: NewestFirst, include: Include, state: State, scan: Scan
) -> Response:
    """List an identity's agents."""

    async def read(transaction: Transaction) -> Any:
        agent_ids = await identities.agents_of_identity(transaction, identity_id, page)
        return await view_agents(transaction, agent_ids, include.of_listed, state)

    return await scan(read, lambda views: json_response([show_agent(view) for view in views]))


@router.get("/{identity_id}/blocks", response_model=list[BlockReply])
async def list_blocks(identity_id: IdentityId, page: NewestFirst, scan: Scan) -> Response:
    """List an identity's blocks."""
    return await scan(
        lambda transaction: identities.blocks_of_identity(transaction, identity_id, page),
        lambda found: json_response([BlockReply.of(block) for block in found]),
    )


@attachments_router.patch("/agents/{agent_id}/identities/attach/{identity_id}")
async def attach_agent(agent_id: AgentId, identity_id: IdentityId, state: State) -> None:
    """Note that an agent belongs to an identity."""
    await state.store.write(lambda transaction: identities.attach_agent(transaction, identity_id, agent_id))


@attachments_router.patch("/agents/{agent_id}/identities/detach/{identity_id}")
async def detach_agent(agent_id: AgentId, identity_id: IdentityId, state: State) -> None:
    """Note that an agent does not belong to an identity any more."""
    await state.store.write(lambda transaction: identities.detach_agent(transaction, identity_id, agent_id))


@attachments_router.patch("/blocks/{block_id}/identities/attach/{identity_id}", response_model=BlockReply)
async def attach_block(block_id: BlockId, identity_id: IdentityId, state: State) -> Response:
    """Note that a block belongs to an identity."""
    block = await state.store.write(lambda each: identities.attach_block(each, identity_id, block_id))
    return json_response(BlockReply.of(block))


@attachments_router.patch("/blocks/{block_id}/identities/detach/{identity_id}", response_model=BlockReply)
async def detach_block(block_id: BlockId, identity_id: IdentityId, state: State) -> Response:
    """Note that a block does not belong to an identity any more."""
    block = await state.store.write(lambda each: identities.detach_block(each, identity_id, block_id))
    return json_response(BlockReply.of(block))
