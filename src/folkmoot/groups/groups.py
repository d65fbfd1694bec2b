"""Groups as they are stored: who is in them, who leads them, which blocks all of them have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sqlalchemy import Select, bindparam, delete, or_, select, update

from folkmoot.agents.agents import existing_blocks, find_agent
from folkmoot.errors import BadRequest, InvalidInput, NotFound
from folkmoot.identifiers import new_id
from folkmoot.memory.attachments import attach, attachments_of, detach
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import find_block
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page, leave_places, leaving
from folkmoot.store.projects import is_in_project
from folkmoot.store.several import Several
from folkmoot.store.tables import agents, group_blocks, group_members, groups

ManagerType: TypeAlias = Literal["round_robin", "supervisor", "dynamic", "sleeptime", "voice_sleeptime"]

SLEEPTIME: frozenset[str] = frozenset({"sleeptime", "voice_sleeptime"})
"""Kinds of groups whose members tend their manager's memory, and answer nobody."""

FREQUENCY = 5
"""Turns of an agent from one consolidation of its memory to the next, unless somebody says otherwise."""

LAST_WORD = "DONE!"
"""What the manager of a dynamic group ends a turn of the group with, unless somebody says otherwise."""

MANAGER_FIELDS = (
    "manager_agent_id",
    "max_turns",
    "termination_token",
    "sleeptime_agent_frequency",
    "max_message_buffer_length",
    "min_message_buffer_length",
)
"""What the settings of a kind of group may have, beside the kind itself."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some agents, and how they answer. Times are in microseconds."""

    id: str
    organization_id: str
    manager_type: ManagerType
    manager_agent_id: str | None
    description: str
    agent_ids: Sequence[str]
    """Its members, in the order in which they speak."""

    shared_block_ids: Sequence[str]
    max_turns: int | None
    termination_token: str | None
    sleeptime_agent_frequency: int | None
    max_message_buffer_length: int | None
    min_message_buffer_length: int | None
    turns_counter: int | None
    last_processed_message_id: str | None
    next_run_id: str | None
    """The run that is to consolidate next, once it is due."""

    owns_members: bool
    """Whether its members were made for the manager by itself, and go with it."""

    next_sequence: int
    hidden: bool | None
    project_id: str | None
    template_id: str | None
    base_template_id: str | None
    deployment_id: str | None
    created_at: int

    @property
    def everybody(self) -> list[str]:
        """The members, and the manager where there is one."""
        return [*self.agent_ids, *([self.manager_agent_id] if self.manager_agent_id else ())]

    @property
    def settings(self) -> dict[str, Any]:
        """What is set of `MANAGER_FIELDS`, but for who manages it."""
        told = {name: getattr(self, name) for name in MANAGER_FIELDS if name != "manager_agent_id"}
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """What a group shall be."""

    agent_ids: Sequence[str]
    description: str
    manager_type: ManagerType = "round_robin"
    manager: Mapping[str, Any] = field(default_factory=dict)
    """Those of `MANAGER_FIELDS` that this kind of group has."""

    shared_block_ids: Sequence[str] = ()
    owns_members: bool = False
    hidden: bool | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None


@dataclass(frozen=True, slots=True)
class GroupFilter:
    """Which groups are wanted; what is None does not matter."""

    manager_type: str | None = None
    project_id: str | None = None
    agent_id: str | None = None
    """A member."""


_by_id = select(groups).where(groups.c.id == bindparam("group_id"))
_by_id_locked = _by_id.with_for_update(key_share=True)
_leaving = leaving(groups, groups.c.id == bindparam("group_id"))
_members = (
    select(group_members.c.group_id, group_members.c.agent_id)
    .join(agents, agents.c.id == group_members.c.agent_id)
    .where(is_kept(agents.c.id))
    .order_by(group_members.c.place)
)
_shared = select(group_blocks.c.group_id, group_blocks.c.block_id).order_by(
    group_blocks.c.attached_at, group_blocks.c.block_id
)


async def create_group(transaction: Transaction, plan: GroupPlan) -> Group:
    """Make a group; its shared blocks are attached to everybody in it.

    Raises:
        NotFound: an agent or a block of the plan does not exist.
        InvalidInput: its manager is a member too.
        Conflict: an agent has another block with the label of a shared one.
    """
    manager = {name: plan.manager.get(name) for name in MANAGER_FIELDS}
    if plan.manager_type in SLEEPTIME:
        manager["sleeptime_agent_frequency"] = manager["sleeptime_agent_frequency"] or FREQUENCY
    elif plan.manager_type == "dynamic":
        manager["termination_token"] = manager["termination_token"] or LAST_WORD
    await _check_members(transaction, plan.agent_ids, manager["manager_agent_id"])
    now = clock.now()
    row: dict[str, Any] = {
        "id": new_id("group"),
        "manager_type": plan.manager_type,
        **manager,
        "description": plan.description,
        "turns_counter": -1 if plan.manager_type in SLEEPTIME else None,
        "owns_members": plan.owns_members,
        "next_sequence": 1,
        "hidden": plan.hidden,
        "project_id": plan.project_id,
        "template_id": plan.template_id,
        "base_template_id": plan.base_template_id,
        "deployment_id": plan.deployment_id,
        "created_at": now,
        "updated_at": now,
    }
    await transaction.insert(groups, [row])
    await _write_members(transaction, row["id"], plan.agent_ids)
    for block_id in dict.fromkeys(plan.shared_block_ids):
        await attach_block(transaction, row["id"], block_id)
    return await find_group(transaction, row["id"])


async def find_group(transaction: Transaction, group_id: str, *, lock: bool = False) -> Group:
    """Return a group; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such group.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, group_id=group_id)
    if row is None:
        raise NotFound(f"Group with id '{group_id}' not found")
    return (await _with_members(transaction, [row]))[0]


async def update_group(transaction: Transaction, group_id: str, changes: Mapping[str, Any], author: Author) -> Group:
    """Change a group.

    Args:
        transaction: where to write.
        group_id: which one.
        changes: columns, and `agent_ids`, `shared_block_ids` and `manager`, which has `manager_type` and settings of
            that kind; what is left out stays as it is.
        author: who changes it.

    Raises:
        NotFound: there is no such group, or an agent or a block does not exist.
        BadRequest: it is of another kind than `manager` is for.
        InvalidInput: its manager would be a member too.
        Conflict: an agent has another block with the label of a shared one.
    """
    before = await find_group(transaction, group_id, lock=True)
    columns = {name: value for name, value in changes.items() if name in ("description", "project_id", "hidden")}
    if (manager := changes.get("manager")) is not None:
        if manager["manager_type"] != before.manager_type:
            raise BadRequest(
                f"manager_config: the group is of the kind {before.manager_type}, which cannot be changed to "
                f"{manager['manager_type']}. Make another group."
            )
        columns |= {name: value for name, value in manager.items() if name in MANAGER_FIELDS}
    agent_ids = before.agent_ids if changes.get("agent_ids") is None else changes["agent_ids"]
    await _check_members(transaction, agent_ids, columns.get("manager_agent_id", before.manager_agent_id))
    values = {**columns, "updated_at": clock.now()}
    await transaction.run(update(groups).where(groups.c.id == group_id).values(**values))
    if changes.get("agent_ids") is not None:
        await transaction.run(delete(group_members).where(group_members.c.group_id == group_id))
        await _write_members(transaction, group_id, agent_ids)
    if (wanted := changes.get("shared_block_ids")) is not None:
        for block_id in before.shared_block_ids:
            if block_id not in wanted:
                await detach_block(transaction, group_id, block_id, author)
    else:
        wanted = before.shared_block_ids
    for block_id in dict.fromkeys(wanted):  # those who joined get them too
        await attach_block(transaction, group_id, block_id)
    return await find_group(transaction, group_id)


async def delete_group(transaction: Transaction, group_id: str) -> None:
    """Delete a group; its agents stay, with their blocks and with what was said in their conversations.

    Raises:
        NotFound: there is no such group.
    """
    await find_group(transaction, group_id, lock=True)
    await leave_places(transaction, _leaving, group_id=group_id)
    await transaction.run(delete(groups).where(groups.c.id == group_id))


async def list_groups(transaction: Transaction, wanted: GroupFilter, page: Page) -> list[Group]:
    """Return a page of the groups, by time of creation."""
    rows = await fetch_page(transaction, _filtered(select(groups), wanted), groups, page)
    return await _with_members(transaction, rows)


async def count_groups(transaction: Transaction) -> int:
    """Return how many groups there are."""
    return await count_rows(transaction, count_of(groups))


_managed = Several(
    lambda ids: select(groups).where(groups.c.manager_agent_id.in_(ids)).order_by(groups.c.created_at, groups.c.id)
)


async def managed_groups(transaction: Transaction, agent_ids: Sequence[str]) -> Mapping[str, list[Group]]:
    """Return the groups that each of these agents manages, the oldest first."""
    if not agent_ids:
        return {}
    statement, ids = _managed(agent_ids)
    rows = await transaction.all(statement, **ids)
    managed: defaultdict[str, list[Group]] = defaultdict(list)
    for group in await _with_members(transaction, rows):
        managed[group.manager_agent_id or ""].append(group)
    return managed


async def groups_with(transaction: Transaction, agent_ids: Sequence[str]) -> list[Group]:
    """Return the groups that one of these agents manages or is a member of, the oldest first."""
    theirs = select(group_members.c.group_id).where(group_members.c.agent_id.in_(list(agent_ids)))
    statement = select(groups).where(or_(groups.c.manager_agent_id.in_(list(agent_ids)), groups.c.id.in_(theirs)))
    return await _with_members(transaction, await transaction.all(statement.order_by(groups.c.created_at, groups.c.id)))


async def attach_block(transaction: Transaction, group_id: str, block_id: str) -> None:
    """Share a block among everybody in the group, and who joins it later; once more changes nothing.

    Raises:
        NotFound: there is no such group or block.
        Conflict: an agent has another block of its label.
    """
    group = await find_group(transaction, group_id, lock=True)
    await existing_blocks(transaction, [block_id])
    for agent_id in sorted(group.everybody):
        await attach(transaction, agent_id, block_id)
    row = {"group_id": group_id, "block_id": block_id, "attached_at": clock.now()}
    await transaction.insert(group_blocks, [row], or_keep=True)


async def detach_block(transaction: Transaction, group_id: str, block_id: str, author: Author) -> None:
    """Take a shared block from everybody in the group; the block itself stays.

    Raises:
        NotFound: there is no such group or block.
    """
    group = await find_group(transaction, group_id, lock=True)
    await find_block(transaction, block_id)
    held = group_blocks.c
    await transaction.run(delete(group_blocks).where(held.group_id == group_id, held.block_id == block_id))
    for agent_id in sorted(group.everybody):
        if block_id in {each.block_id for each in await attachments_of(transaction, agent_id)}:
            await detach(transaction, agent_id, block_id, author)


def _filtered(statement: Select[Any], wanted: GroupFilter) -> Select[Any]:
    if wanted.manager_type is not None:
        statement = statement.where(groups.c.manager_type == wanted.manager_type)
    if wanted.project_id is not None:
        statement = statement.where(is_in_project(groups.c.project_id, wanted.project_id))
    if wanted.agent_id is not None:
        held = select(group_members.c.group_id).where(group_members.c.agent_id == wanted.agent_id)
        statement = statement.where(groups.c.id.in_(held))
    return statement


async def _check_members(transaction: Transaction, agent_ids: Sequence[str], manager_agent_id: str | None) -> None:
    # Locked, in one order: shared blocks are attached to them, and to lock them only then would end in deadlocks.
    for agent_id in sorted({*agent_ids, *([manager_agent_id] if manager_agent_id else ())}):
        await find_agent(transaction, agent_id, lock=True)
    if manager_agent_id in agent_ids:
        raise InvalidInput(f"agent_ids: {manager_agent_id} manages the group, and is not one of its members too.")


async def _write_members(transaction: Transaction, group_id: str, agent_ids: Sequence[str]) -> None:
    rows = [
        {"group_id": group_id, "agent_id": agent_id, "place": place}
        for place, agent_id in enumerate(dict.fromkeys(agent_ids))
    ]
    await transaction.insert(group_members, rows)


async def _with_members(transaction: Transaction, rows: Sequence[Row]) -> list[Group]:
    if not rows:
        return []
    ids = [row["id"] for row in rows]
    members: defaultdict[str, list[str]] = defaultdict(list)
    for row in await transaction.all(_members.where(group_members.c.group_id.in_(ids))):
        members[row["group_id"]].append(row["agent_id"])
    shared: defaultdict[str, list[str]] = defaultdict(list)
    for row in await transaction.all(_shared.where(group_blocks.c.group_id.in_(ids))):
        shared[row["group_id"]].append(row["block_id"])
    return [_group(row, members[row["id"]], shared[row["id"]]) for row in rows]


def _group(row: Row, agent_ids: Sequence[str], shared_block_ids: Sequence[str]) -> Group:
    left_out = ("updated_at", "hidden", "owns_members")
    fields = {name: row[name] for name in groups.c.keys() if name not in left_out}  # noqa: SIM118
    return Group(
        **fields,
        agent_ids=agent_ids,
        shared_block_ids=shared_block_ids,
        hidden=None if row["hidden"] is None else bool(row["hidden"]),
        owns_members=bool(row["owns_members"]),
    )
