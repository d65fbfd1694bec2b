"""The group that a template plans, formed of the agents of one deployment."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, select

from folkmoot.agents.agents import find_agent
from folkmoot.agents.services import Services
from folkmoot.groups.groups import GroupPlan, create_group, update_group
from folkmoot.groups.sleeptime import ensure_partner, tends_by_itself
from folkmoot.memory.authors import Author
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import groups
from folkmoot.templates.plan import TemplatePlan

_of_deployment = select(groups.c.id).where(groups.c.deployment_id == bindparam("of"))


async def form_group(
    transaction: Transaction,
    plan: TemplatePlan,
    deployment_id: str,
    agent_ids: Mapping[str, str],
    block_ids: Mapping[str, str],
    services: Services,
    author: Author,
) -> str | None:
    """Let agents be the group that is planned, and let each have a sleep-time agent whose plan asks for one.

    Args:
        transaction: where to write.
        plan: what is planned.
        deployment_id: whose agents they are; its group is changed if it has one.
        agent_ids: the deployment's agents, by their names in the template.
        block_ids: its blocks, in the same way.
        services: what an agent is made with.
        author: who asks for it.

    Returns:
        The group; None where none is planned, or nobody is there to be in it.

    Raises:
        BadRequest: the deployment has a group of another kind.
        Conflict: an agent has another block with the label of one that the group shares.
    """
    group_id: str | None = None
    there = {agent.entity_id: agent_ids[agent.entity_id] for agent in plan.agents if agent.entity_id in agent_ids}
    if plan.group is not None and (plan.group.manager is None or plan.group.manager in there):
        group_id = await _form(transaction, plan, deployment_id, there, block_ids, author)
    for agent in plan.agents:
        if agent.entity_id in there and agent.configuration.get("enable_sleeptime"):
            await ensure_partner(transaction, there[agent.entity_id], services, author)
    return group_id


async def _form(
    transaction: Transaction,
    plan: TemplatePlan,
    deployment_id: str,
    agent_ids: Mapping[str, str],
    block_ids: Mapping[str, str],
    author: Author,
) -> str | None:
    wanted = plan.group
    assert wanted is not None
    members = [agent_id for name, agent_id in agent_ids.items() if name != wanted.manager]
    if not members:
        return None
    manager, owns = dict(wanted.settings), False
    if wanted.manager is not None:
        leader = await find_agent(transaction, agent_ids[wanted.manager])
        manager["manager_agent_id"] = leader.id
        owns = tends_by_itself(wanted.manager_type, leader.configuration)
    there = await transaction.first(_of_deployment, of=deployment_id)
    if there is not None:
        kind = {"manager_type": wanted.manager_type, **manager}
        changes = {"description": wanted.description, "manager": kind, "agent_ids": members}
        return (await update_group(transaction, there["id"], changes, author)).id
    first = await find_agent(transaction, members[0])
    made = GroupPlan(
        agent_ids=members,
        description=wanted.description,
        manager_type=wanted.manager_type,
        manager=manager,
        shared_block_ids=[block_ids[name] for name in plan.shared_blocks() if name in block_ids],
        owns_members=owns,
        project_id=first.project_id,
        template_id=first.template_id,
        base_template_id=first.base_template_id,
        deployment_id=deployment_id,
    )
    return (await create_group(transaction, made)).id
