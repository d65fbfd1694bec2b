"""Groups: create, retrieve, list, count, change, delete, and the blocks that they share."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from folkmoot.agents.agents import find_agent
from folkmoot.groups import groups
from folkmoot.groups.groups import Group, GroupFilter, ManagerType
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.common import AgentId, BlockId, Deleted, json_response, page_of
from folkmoot.server.wire.groups import CreateGroup, GroupId, GroupReply, UpdateGroup
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/groups", tags=["groups"], route_class=BodyRoute)
agent_router = APIRouter(prefix="/v1/agents/{agent_id}/groups", tags=["groups"])

OldestFirst = Annotated[Page, Depends(page_of("asc"))]
NewestFirst = Annotated[Page, Depends(page_of("desc", 100))]


@router.post("", response_model=GroupReply)
async def create(body: CreateGroup, state: State) -> GroupReply:
    """Make a group of agents."""
    plan = body.to_plan()
    return GroupReply.of(await state.store.write(lambda transaction: groups.create_group(transaction, plan)))


@router.get("", response_model=list[GroupReply])
async def list_all(
    page: OldestFirst, scan: Scan, manager_type: ManagerType | None = None, project_id: str | None = None
) -> Response:
    """List groups, the oldest first unless the request says otherwise."""
    wanted = GroupFilter(manager_type, project_id)
    return await scan(lambda transaction: groups.list_groups(transaction, wanted, page), _shown)


@router.get("/count")
async def count(scan: Scan) -> int:
    """Count groups."""
    return await scan(groups.count_groups, int)


@router.get("/{group_id}", response_model=GroupReply)
async def retrieve(group_id: GroupId, state: State) -> GroupReply:
    """Return a group."""
    return GroupReply.of(await state.store.read(lambda transaction: groups.find_group(transaction, group_id)))


@router.patch("/{group_id}", response_model=GroupReply)
async def update(group_id: GroupId, body: UpdateGroup, state: State) -> GroupReply:
    """Change a group; its kind stays."""
    changes = body.to_changes()
    return GroupReply.of(
        await state.store.write(lambda each: groups.update_group(each, group_id, changes, state.author))
    )


@router.delete("/{group_id}")
async def delete(group_id: GroupId, state: State) -> Deleted:
    """Delete a group; its agents stay, with their blocks."""
    await state.store.write(lambda transaction: groups.delete_group(transaction, group_id))
    return Deleted(message=f"Group id={group_id} successfully deleted")


@router.patch("/{group_id}/blocks/attach/{block_id}")
async def attach_block(group_id: GroupId, block_id: BlockId, state: State) -> None:
    """Share a block among everybody in the group, and those who join it later."""
    await state.store.write(lambda transaction: groups.attach_block(transaction, group_id, block_id))


@router.patch("/{group_id}/blocks/detach/{block_id}")
async def detach_block(group_id: GroupId, block_id: BlockId, state: State) -> None:
    """Take a shared block from everybody in the group; the block itself stays."""
    await state.store.write(lambda transaction: groups.detach_block(transaction, group_id, block_id, state.author))


@agent_router.get("", response_model=list[GroupReply])
async def list_of_agent(
    agent_id: AgentId, page: NewestFirst, scan: Scan, manager_type: ManagerType | None = None
) -> Response:
    """List the groups that an agent is a member of, the newest first unless the request says otherwise."""

    async def read(transaction: Transaction) -> list[Group]:
        await find_agent(transaction, agent_id)
        return await groups.list_groups(transaction, GroupFilter(manager_type, agent_id=agent_id), page)

    return await scan(read, _shown)


def _shown(found: list[Group]) -> Response:
    return json_response([GroupReply.of(group) for group in found])
