"""Agents that are made from a template, and led to another version of it later.

What is made at once is a deployment; its agents and their blocks know by which names the template has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, select, update

from folkmoot.agents.agents import Agent, find_agent, update_agent
from folkmoot.agents.creation import AgentPlan, choose_model, create_agent
from folkmoot.agents.folders import folders_of_agent, set_folders
from folkmoot.agents.instructions import random_name
from folkmoot.agents.services import Services
from folkmoot.conversations.messages import Message
from folkmoot.errors import NotFound
from folkmoot.identifiers import new_id
from folkmoot.memory.attachments import attach, attached_rows
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import Block, create_block, delete_block, edit_text, update_block
from folkmoot.memory.edits import Rethink
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.tables import agent_blocks, agents, deployments
from folkmoot.templates.forming import form_group
from folkmoot.templates.gathering import ITS_OWN
from folkmoot.templates.plan import Filling, PlannedAgent, PlannedBlock, TemplatePlan
from folkmoot.templates.templates import Template, plan_of
from folkmoot.tools.builtin import BUILTIN_TOOLS, FILE_TOOLS


@dataclass(frozen=True, slots=True)
class Wish:
    """How agents are to be made from a template."""

    agent_name: str | None = None
    tags: Sequence[str] | None = None
    first_messages: Sequence[Message] = ()
    memory_variables: Mapping[str, str] = field(default_factory=dict)
    tool_variables: Mapping[str, str] = field(default_factory=dict)
    identity_ids: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """Agents that were made at once. `error` says why they could not be led to a version. Times in microseconds."""

    id: str
    template_id: str
    version: int
    memory_variables: Mapping[str, str]
    error: str | None
    created_at: int

    @classmethod
    def from_row(cls, row: Row) -> Deployment:
        """Read a row of the deployments table."""
        return cls(
            id=row["id"],
            template_id=row["template_id"],
            version=row["version"],
            memory_variables=json.loads(row["memory_variables"]),
            error=row["error"],
            created_at=row["created_at"],
        )


@dataclass(frozen=True, slots=True)
class Migration:
    """What agents keep that are led to another version."""

    preserve_tool_variables: bool = True
    preserve_core_memories: bool = True
    """Whether blocks keep what was written in them; else they get the template's text."""

    preserve_folders: bool = True
    """Whether agents keep folders that the template does not give them."""

    delete_blocks: bool = False
    """Whether blocks go that the template gave and gives no more."""

    memory_variables: Mapping[str, str] = field(default_factory=dict)
    """Values in the place of those that were given when the agents were made."""


_by_id = select(deployments).where(deployments.c.id == bindparam("wanted"))
_by_id_locked = _by_id.with_for_update()
_of_template = select(deployments).where(deployments.c.template_id == bindparam("of"))
_agents = (
    select(agents.c.id, agents.c.deployment_id, agents.c.entity_id)
    .where(agents.c.deployment_id == bindparam("of"), is_kept(agents.c.id))
    .order_by(agents.c.created_at, agents.c.id)
)
_agents_locked = _agents.with_for_update(key_share=True)
_other_holder = (
    select(agent_blocks.c.agent_id)
    .join(agents, agents.c.id == agent_blocks.c.agent_id)
    .where(
        agent_blocks.c.block_id == bindparam("block"),
        agents.c.deployment_id.is_distinct_from(bindparam("deployment")),
    )
    .limit(1)
)
_set_version = (
    update(deployments)
    .where(deployments.c.id == bindparam("of"))
    .values(
        version=bindparam("number"),
        attempted_version=bindparam("number"),
        memory_variables=bindparam("variables"),
        error=None,
    )
)


async def choose_models(plan: TemplatePlan, services: Services) -> dict[str, str]:
    """Return the handle of each agent's model, by the agent's name in the template.

    Raises:
        NotFound: a model's provider is unknown or not configured.
    """
    return {
        agent.entity_id: await choose_model(AgentPlan(model=agent.model or None), services) for agent in plan.agents
    }


async def deploy(
    transaction: Transaction,
    template: Template,
    plan: TemplatePlan,
    version: int,
    models: Mapping[str, str],
    wish: Wish,
    services: Services,
    author: Author,
) -> tuple[str, list[str], str | None]:
    """Make a template's agents with their blocks; return the deployment, the agents, and the group that they are.

    Args:
        transaction: where to write.
        template: the template.
        plan: what one of its versions plans.
        version: which one.
        models: what `choose_models` returned, which may not be asked for in a transaction.
        wish: how the agents are to be made.
        services: the tools, and what variables are sealed with.
        author: of the blocks.

    Raises:
        InvalidInput: a value is given of a variable that the template has not.
        NotFound: a tool, a folder or an identity of the plan is not there any more.
        EditRefused: a block's text is longer than its limit, with its variables filled in.
    """
    plan.check_variables(wish.memory_variables)
    deployment = Deployment(new_id("deployment"), template.id, version, wish.memory_variables, None, clock.now())
    row = {
        "id": deployment.id,
        "template_id": template.id,
        "version": version,
        "attempted_version": version,
        "memory_variables": json.dumps(dict(wish.memory_variables)),
        "created_at": deployment.created_at,
    }
    await transaction.insert(deployments, [row])
    making = _Making(transaction, plan, deployment, Filling(plan, wish.memory_variables), services, author)
    made: dict[str, str] = {}
    for place, agent in enumerate(plan.agents):
        name = wish.agent_name or random_name()
        name = name if place == 0 else f"{name}-{agent.name}"
        model = models[agent.entity_id]
        made[agent.entity_id] = await making.make_agent(agent, model, wish, name, template.project_id)
    group_id = await form_group(transaction, plan, deployment.id, made, making.blocks, services, author)
    return deployment.id, list(made.values()), group_id


async def find_deployment(transaction: Transaction, template: Template, deployment_id: str) -> Deployment:
    """Return a deployment of a template, which nobody else can change before the transaction ends.

    Raises:
        NotFound: there is none.
    """
    row = await transaction.first(_by_id_locked, wanted=deployment_id)
    if row is None or row["template_id"] != template.id:
        raise NotFound(f"Template {template.name!r} has no deployment {deployment_id[:100]!r}.")
    return Deployment.from_row(row)


async def list_deployments(
    transaction: Transaction, template: Template, offset: int, limit: int
) -> list[tuple[Deployment, list[str]]]:
    """Return some of a template's deployments, the newest first, with their agents."""
    newest = (deployments.c.created_at.desc(), deployments.c.id.desc())
    rows = await transaction.all(_of_template.order_by(*newest).offset(offset).limit(limit), of=template.id)
    found = []
    for row in rows:
        held = await transaction.all(_agents, of=row["id"])
        found.append((Deployment.from_row(row), [each["id"] for each in held]))
    return found


async def migrate(
    transaction: Transaction,
    template: Template,
    deployment: Deployment,
    version: str,
    migration: Migration,
    services: Services,
    author: Author,
) -> int:
    """Lead a deployment's agents to a version of their template, and return its number.

    Each gets the version's instructions, model, settings, tools, folders and blocks. Blocks that it has beside those of
    the template are left alone, and so is an agent that the version has no more; one that it has anew is not made.
    Their group gets the version's settings, and as members those that are there.

    Raises:
        NotFound: there is no such version, or a tool or a folder of it is not there any more.
        InvalidInput: a value is given of a variable that the version has not.
        Conflict: an agent has another block, or another tool, of a name that the version brings.
        EditRefused: a text is longer than its block's limit.
        BadRequest: the version has a group of another kind.
    """
    plan, number = await plan_of(transaction, template, version)
    plan.check_variables(migration.memory_variables)
    values = {**deployment.memory_variables, **migration.memory_variables}
    making = _Making(transaction, plan, deployment, Filling(plan, values), services, author)
    await transaction.all(_agents_locked, of=deployment.id)
    held = await transaction.all(_agents, of=deployment.id)  # without those that were deleted before they were locked
    if migration.delete_blocks:
        await making.drop_blocks([row["id"] for row in held])
    agents_planned = {agent.entity_id: agent for agent in plan.agents}
    wanted = {row["id"]: agents_planned[row["entity_id"]] for row in held if row["entity_id"] in agents_planned}
    await making.free_labels(wanted)
    for agent_id, planned in wanted.items():
        await making.lead(agent_id, planned, migration)
    there = {row["entity_id"]: row["id"] for row in held}
    await form_group(transaction, plan, deployment.id, there, making.blocks, services, author)
    await transaction.run(_set_version, of=deployment.id, number=number, variables=json.dumps(values))
    return number


@dataclass(slots=True)
class _Making:
    """Agents of one deployment that are being made or changed."""

    transaction: Transaction
    plan: TemplatePlan
    deployment: Deployment
    filling: Filling
    services: Services
    author: Author
    blocks: dict[str, str] = field(default_factory=dict)
    """The deployment's blocks that are known to be there, by their names in the template."""

    async def make_agent(self, planned: PlannedAgent, model: str, wish: Wish, name: str, project_id: str) -> str:
        """Make an agent as it is planned."""
        for block in self.plan.blocks_of(planned):
            await self._block(block)
        variables = {**self._tool_variables(planned), **wish.tool_variables}
        plan = AgentPlan(
            name=name,
            description=planned.description,
            agent_type=planned.agent_type,
            system=self.filling.fill(planned.system),
            embedding=planned.embedding,
            timezone=planned.timezone,
            configuration=planned.configuration,
            variables=variables or None,
            tags=planned.tags if wish.tags is None else [*planned.tags, *wish.tags],
            tool_ids=planned.tool_ids,
            base_tools=False,
            block_ids=[self.blocks[entity_id] for entity_id in planned.blocks],
            folder_ids=planned.folder_ids,
            first_messages=wish.first_messages,
            identity_ids=planned.identity_ids if wish.identity_ids is None else wish.identity_ids,
            project_id=project_id,
            template_id=self.deployment.template_id,
            base_template_id=self.deployment.template_id,
            deployment_id=self.deployment.id,
            entity_id=planned.entity_id,
        )
        agent = await create_agent(self.transaction, plan, model, self.services, self.author)
        await self._narrow(agent.id, planned)
        return agent.id

    async def lead(self, agent_id: str, planned: PlannedAgent, migration: Migration) -> None:
        """Change an agent into what is planned."""
        agent = await find_agent(self.transaction, agent_id, lock=True)
        has = {block.template.get("entity_id"): block for block in await self._blocks_from_template(agent_id)}
        for block in self.plan.blocks_of(planned):
            there = has.get(block.entity_id)
            if there is not None and block.entity_id not in self.blocks:
                await self._lead_block(there, block, migration)
                self.blocks[block.entity_id] = there.id
            elif there is None:
                await attach(self.transaction, agent_id, await self._block(block))
        await self._narrow(agent_id, planned)
        has_folders = [folder.id for folder in await folders_of_agent(self.transaction, agent_id)]
        folder_ids = [*(has_folders if migration.preserve_folders else ()), *planned.folder_ids]
        tool_ids = [*planned.tool_ids, *(BUILTIN_TOOLS[name].id for name in FILE_TOOLS if folder_ids)]
        tools = await self.services.tools.find(self.transaction, tool_ids)
        changes = {
            "system": self.filling.fill(planned.system),
            "model": self.services.catalogue.handle_of(planned.model),
            "description": planned.description,
            "embedding": planned.embedding,
            "timezone": planned.timezone or agent.timezone,
            "tools": tools,
        }
        no_more = dict.fromkeys(agent.configuration.keys() - {*ITS_OWN, "metadata", "enable_sleeptime"})
        configuration = {**no_more, **planned.configuration, **self._sealed(agent, planned, migration)}
        await update_agent(self.transaction, agent_id, changes, configuration)
        await set_folders(self.transaction, agent_id, folder_ids)

    async def free_labels(self, wanted: Mapping[str, PlannedAgent]) -> None:
        """Take their labels from blocks that are to get others, where another block is to have what they have now.

        Args:
            wanted: what each agent is to be led to, by the agent's identifier.
        """
        labels = {block.entity_id: block.label for block in self.plan.blocks}
        for agent_id, planned in wanted.items():
            for block in await self._blocks_from_template(agent_id):
                entity_id = str(block.template.get("entity_id"))
                is_led = entity_id in planned.blocks and labels[entity_id] != block.label
                if is_led and block.label in labels.values():
                    await update_block(self.transaction, block.id, {"label": new_id("label")}, self.author)

    async def drop_blocks(self, agent_ids: Sequence[str]) -> None:
        """Delete the deployment's blocks that the plan has no more, but for those that other agents share."""
        planned = {block.entity_id for block in self.plan.blocks}
        for agent_id in agent_ids:
            for block in await self._blocks_from_template(agent_id):
                if block.template.get("entity_id") in planned:
                    continue
                other = await self.transaction.first(_other_holder, block=block.id, deployment=self.deployment.id)
                if other is None:
                    await delete_block(self.transaction, block.id)

    async def _blocks_from_template(self, agent_id: str) -> list[Block]:
        rows = await attached_rows(self.transaction, agent_id)
        found = [Block.from_row(row) for row in rows]
        return [block for block in found if block.template.get("deployment_id") == self.deployment.id]

    async def _block(self, planned: PlannedBlock) -> str:
        """Return the deployment's block of this plan, made if it is not there yet."""
        if planned.entity_id not in self.blocks:
            fields = {
                "label": planned.label,
                "value": self.filling.fill(planned.value),
                "limit": planned.limit,
                "description": planned.description,
                "read_only": planned.read_only,
                "metadata": dict(planned.metadata),
                "tags": planned.tags,
                "base_template_id": self.deployment.template_id,
                "template_id": self.deployment.template_id,
                "deployment_id": self.deployment.id,
                "entity_id": planned.entity_id,
                "preserve_on_migration": planned.preserve_on_migration,
            }
            self.blocks[planned.entity_id] = (await create_block(self.transaction, fields, self.author)).id
        return self.blocks[planned.entity_id]

    async def _lead_block(self, block: Block, planned: PlannedBlock, migration: Migration) -> None:
        fields = {
            "label": planned.label,
            "limit": max(planned.limit, len(block.value)),
            "description": planned.description,
            "read_only": planned.read_only,
            "preserve_on_migration": planned.preserve_on_migration,
        }
        await update_block(self.transaction, block.id, fields, self.author)
        if migration.preserve_core_memories or planned.preserve_on_migration:
            return
        text = self.filling.fill(planned.value)
        if text != block.value:
            await edit_text(self.transaction, block.id, Rethink(text), self.author, block.version)

    async def _narrow(self, agent_id: str, planned: PlannedAgent) -> None:
        """Let the agent do with its blocks what the plan allows."""
        for entity_id, access in planned.blocks.items():
            await attach(self.transaction, agent_id, self.blocks[entity_id], access)  # type: ignore[arg-type]

    def _sealed(self, agent: Agent, planned: PlannedAgent, migration: Migration) -> dict[str, Any]:
        """Return the agent's secrets as they are kept: its own, or those that the template tells."""
        sealer = self.services.sealer
        own = sealer.unseal(agent.configuration.get("sealed_variables")) if migration.preserve_tool_variables else {}
        variables = {**self._tool_variables(planned), **own}
        return {"sealed_variables": sealer.seal(variables)}

    @staticmethod
    def _tool_variables(planned: PlannedAgent) -> dict[str, str]:
        return {each.key: each.default for each in planned.tool_variables if each.default is not None}
