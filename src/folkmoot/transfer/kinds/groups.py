"""Groups whose agents are all in a file: those that a sleep-time agent's manager leads come along with it."""

from __future__ import annotations

from typing import Any

from folkmoot.agents.agents import Agent
from folkmoot.groups.groups import Group, GroupPlan, create_group, groups_with
from folkmoot.groups.sleeptime import ensure_partner, tends_by_itself
from folkmoot.store.engine import Transaction
from folkmoot.transfer.exporting import Exporting
from folkmoot.transfer.importing import Loading


class Groups:
    """The section `groups`."""

    async def export(self, exporting: Exporting) -> None:
        """Add the groups that an agent of the file leads, and whose members are in it too; tell of the others."""
        agents = {agent.id: agent for agent in exporting.agents}
        for group in await groups_with(exporting.transaction, list(agents)):
            manager = agents.get(group.manager_agent_id or "")
            if manager is not None and set(group.agent_ids) <= agents.keys():
                self._add(exporting, group, manager)
                continue
            missing = "who manages it" if manager is None else "one of its agents"
            exporting.leave_out(f"group {group.id} ({group.manager_type}): {missing} is not in the file.")

    def _add(self, exporting: Exporting, group: Group, manager: Agent) -> None:
        identifier = exporting.ids.of("group", group.id)
        exporting.entry(manager)["group_ids"].append(identifier)
        config: dict[str, Any] = {"manager_type": group.manager_type, **group.settings}
        config["manager_agent_id"] = exporting.ids.of("agent", manager.id)
        exporting.content["groups"].append(
            {
                "id": identifier,
                "agent_ids": [exporting.ids.of("agent", each) for each in group.agent_ids],
                "description": group.description,
                "manager_config": config,
                "project_id": group.project_id,
                "shared_block_ids": [exporting.ids.of("block", each) for each in group.shared_block_ids],
                "hidden": group.hidden,
            }
        )

    def prepare(self, loading: Loading) -> None:
        """Refuse a group of whom the file does not have; it can be left out."""
        agents = {entry["id"] for entry in loading.file.section("agents")}
        for identifier, plan in loading.plans.groups.items():
            manager = plan.manager.get("manager_agent_id")
            named = [*plan.agent_ids, *([manager] if manager is not None else ())]
            unknown = [f"the agent {each!r}" for each in named if not isinstance(each, str) or each not in agents]
            unknown += [f"the block {each!r}" for each in plan.shared_block_ids if each not in loading.plans.blocks]
            if unknown:
                loading.refused.append(f"Group {identifier!r}: names {unknown[0]}, which is not in the file.")
            else:
                loading.prepared[identifier] = plan

    async def load(self, loading: Loading, transaction: Transaction) -> None:
        """Make the groups, and who tends the memory of agents that are to have somebody for that and have nobody."""
        for identifier in loading.plans.groups:
            plan: GroupPlan | None = loading.prepared.get(identifier)
            if plan is None:
                continue
            manager, owns = dict(plan.manager), False
            if (leader := manager.get("manager_agent_id")) is not None:
                manager["manager_agent_id"] = loading.made[leader]
                owns = tends_by_itself(plan.manager_type, loading.plans.agents[leader].configuration)
            made = GroupPlan(
                agent_ids=[loading.made[each] for each in plan.agent_ids],
                description=plan.description,
                manager_type=plan.manager_type,
                manager=manager,
                shared_block_ids=[loading.made[each] for each in plan.shared_block_ids],
                hidden=plan.hidden,
                project_id=plan.project_id,
                owns_members=owns,
            )
            loading.made[identifier] = (await create_group(transaction, made)).id
        for name, agent in loading.plans.agents.items():
            if agent.configuration.get("enable_sleeptime"):
                await ensure_partner(transaction, loading.made[name], loading.services, loading.author)
