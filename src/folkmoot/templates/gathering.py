"""Plans from what is there: an agent, a group, or what an agent file asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from folkmoot.agents import standing_approvals
from folkmoot.agents.agents import find_agent, tool_ids_of
from folkmoot.agents.creation import AgentPlan
from folkmoot.agents.folders import folders_of_agent
from folkmoot.agents.instructions import SYSTEM
from folkmoot.agents.listing import tags_of_agents
from folkmoot.agents.services import Services
from folkmoot.errors import InvalidInput
from folkmoot.groups.groups import Group, find_group, managed_groups
from folkmoot.identifiers import new_id
from folkmoot.memory.attachments import attached_rows
from folkmoot.memory.blocks import DEFAULT_LIMIT, Block
from folkmoot.store.engine import Transaction
from folkmoot.templates.plan import PlannedAgent, PlannedBlock, PlannedGroup, TemplatePlan, Variable, keys_in
from folkmoot.transfer.importing import Loading
from folkmoot.transfer.kinds.tools import Tools

_SECRETS = "sealed_variables"

ITS_OWN = (_SECRETS, standing_approvals.KEY)
"""Of an agent's configuration what no template keeps: its variables, and what it need not ask for."""


async def plan_of_agent(transaction: Transaction, agent_id: str, services: Services) -> TemplatePlan:
    """Return a plan of an agent as it is, and of the group that it leads, the oldest of several.

    Of agents their instructions, tools, folders, settings and blocks are planned; not what was said.

    Args:
        transaction: where to read.
        agent_id: which agent.
        services: what agents' variables are sealed with.

    Raises:
        NotFound: there is no such agent.
        InvalidInput: there are more agents or blocks than a template has.
    """
    leads = [group for group in (await managed_groups(transaction, [agent_id])).get(agent_id, ()) if group.agent_ids]
    return await _plan_of(transaction, [agent_id], leads[0] if leads else None, services)


async def plan_of_group(transaction: Transaction, group_id: str, services: Services) -> TemplatePlan:
    """Return a plan of a group and its agents as they are.

    Args:
        transaction: where to read.
        group_id: which group.
        services: what agents' variables are sealed with.

    Raises:
        NotFound: there is no such group.
        InvalidInput: nobody is in it, or there are more agents or blocks than a template has.
    """
    group = await find_group(transaction, group_id)
    first = [] if group.manager_agent_id is None else [group.manager_agent_id]
    return await _plan_of(transaction, first, group, services)


async def _plan_of(
    transaction: Transaction, agent_ids: Sequence[str], group: Group | None, services: Services
) -> TemplatePlan:
    """Return a plan of agents, and of a group with its members behind them."""
    agent_ids = [*agent_ids, *(group.agent_ids if group is not None else ())]
    blocks: dict[str, PlannedBlock] = {}
    agents = {agent_id: await _plan_agent(transaction, agent_id, blocks, services) for agent_id in agent_ids}
    planned = None
    if group is not None:
        manager = None if group.manager_agent_id is None else agents[group.manager_agent_id].entity_id
        planned = PlannedGroup(group.manager_type, manager, group.description, group.settings)
    return with_variables(TemplatePlan(list(agents.values()), list(blocks.values()), planned)).checked()


async def _plan_agent(
    transaction: Transaction, agent_id: str, blocks: dict[str, PlannedBlock], services: Services
) -> PlannedAgent:
    """Return a plan of an agent, and add its blocks to those that are planned, by their identifiers."""
    agent = await find_agent(transaction, agent_id)
    rows = await attached_rows(transaction, agent_id)
    for block in map(Block.from_row, rows):
        if block.id not in blocks:
            blocks[block.id] = _planned(block)
    variables = services.sealer.unseal(agent.configuration.get(_SECRETS))
    return PlannedAgent(
        entity_id=new_id("agent_entity"),
        name=agent.name,
        model=agent.model,
        system=agent.system,
        agent_type=agent.agent_type,
        description=agent.description,
        embedding=agent.embedding,
        timezone=agent.timezone,
        tool_ids=await tool_ids_of(transaction, agent_id),
        folder_ids=[folder.id for folder in await folders_of_agent(transaction, agent_id)],
        tags=list((await tags_of_agents(transaction, [agent_id])).get(agent_id, ())),
        configuration={name: value for name, value in agent.configuration.items() if name not in ITS_OWN},
        tool_variables=[Variable(key) for key in variables],
        blocks={blocks[row["id"]].entity_id: row["access"] for row in rows},
    )


async def plan_of_file(transaction: Transaction, loading: Loading) -> TemplatePlan:
    """Return a plan of the agents that a file asks for; its tools are made, what was said in it is not taken.

    Raises:
        InvalidInput: it asks for no agent, for too many, or for groups of some of them.
    """
    loading.made.clear()
    await Tools().load(loading, transaction)
    blocks = {identifier: _planned_of(fields) for identifier, fields in loading.plans.blocks.items()}
    agents = {
        entry["id"]: _planned_agent(
            loading.plans.agents[entry["id"]],
            loading.of_agent(entry, "tool_ids"),
            [blocks[each].entity_id for each in entry.get("block_ids") or ()],
        )
        for entry in loading.file.section("agents")
    }
    group = None
    for wanted in loading.plans.groups.values():
        leader = wanted.manager.get("manager_agent_id")
        in_order = [*([leader] if leader is not None else ()), *wanted.agent_ids]
        if group is not None or sorted(in_order) != sorted(agents):
            raise InvalidInput("agent_file: groups: a template has one group at the most, of all of its agents.")
        agents = {name: agents[name] for name in in_order}
        settings = {name: value for name, value in wanted.manager.items() if name != "manager_agent_id"}
        manager = None if leader is None else agents[leader].entity_id
        group = PlannedGroup(wanted.manager_type, manager, wanted.description, settings)
    return with_variables(TemplatePlan(list(agents.values()), list(blocks.values()), group)).checked()


def named_as(plan: TemplatePlan, known: TemplatePlan) -> TemplatePlan:
    """Return a plan in which agents and blocks that an earlier one had have their names from there.

    Agents are the same by their place, blocks by their label, where only one block has it.
    """
    before = _of_one_label(known)
    names = {entity_id: before[label] for label, entity_id in _of_one_label(plan).items() if label in before}
    agents = []
    for place, agent in enumerate(plan.agents):
        name = known.agents[place].entity_id if place < len(known.agents) else agent.entity_id
        blocks = {names.get(each, each): access for each, access in agent.blocks.items()}
        agents.append(replace(agent, entity_id=name, blocks=blocks))
    renamed = [replace(block, entity_id=names.get(block.entity_id, block.entity_id)) for block in plan.blocks]
    group = plan.group
    if group is not None and group.manager is not None:
        place = next(place for place, agent in enumerate(plan.agents) if agent.entity_id == group.manager)
        group = replace(group, manager=agents[place].entity_id)
    return TemplatePlan(agents, renamed, group)


def with_variables(plan: TemplatePlan) -> TemplatePlan:
    """Return the plan with the variables told that stand in its texts; defaults that are there stay."""
    agents = []
    for agent in plan.agents:
        told = {variable.key: variable for variable in agent.memory_variables}
        for key in keys_in([agent.system, *(block.value for block in plan.blocks_of(agent))]):
            told.setdefault(key, Variable(key))
        agents.append(replace(agent, memory_variables=list(told.values())))
    return TemplatePlan(agents, plan.blocks, plan.group)


def _of_one_label(plan: TemplatePlan) -> Mapping[str, str]:
    """Return the blocks whose label no other block has, by it."""
    counts = Counter(block.label for block in plan.blocks)
    return {block.label: block.entity_id for block in plan.blocks if counts[block.label] == 1}


def _planned(block: Block) -> PlannedBlock:
    return PlannedBlock(
        entity_id=new_id("block_entity"),
        label=block.label,
        value=block.value,
        limit=block.limit,
        description=block.description,
        read_only=block.read_only,
        preserve_on_migration=bool(block.template.get("preserve_on_migration")),
        metadata=dict(block.metadata),
        tags=list(block.tags),
    )


def _planned_of(fields: Mapping[str, Any]) -> PlannedBlock:
    return PlannedBlock(
        entity_id=new_id("block_entity"),
        label=fields["label"],
        value=fields["value"],
        limit=fields.get("limit") or DEFAULT_LIMIT,
        description=fields.get("description"),
        read_only=bool(fields.get("read_only")),
        preserve_on_migration=bool(fields.get("preserve_on_migration")),
        metadata=fields.get("metadata") or {},
        tags=fields.get("tags") or [],
    )


def _planned_agent(plan: AgentPlan, tool_ids: Sequence[str], block_ids: Sequence[str]) -> PlannedAgent:
    return PlannedAgent(
        entity_id=new_id("agent_entity"),
        name=plan.name or "agent",
        model=plan.model or "",
        system=plan.system if plan.system is not None else SYSTEM,
        agent_type=plan.agent_type,
        description=plan.description,
        embedding=plan.embedding,
        timezone=plan.timezone,
        tool_ids=list(tool_ids),
        tags=list(plan.tags),
        configuration=dict(plan.configuration),
        tool_variables=[Variable(key) for key in plan.variables or ()],
        blocks=dict.fromkeys(block_ids, "write"),
    )
