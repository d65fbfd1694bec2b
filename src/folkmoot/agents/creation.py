"""Agents are made here, whoever asks: the API, the page, an import, a template, a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from folkmoot.agents.agents import Agent, check_names, columns_of, existing_blocks, write_tags, write_tools
from folkmoot.agents.folders import attach_folder
from folkmoot.agents.identities import set_identities
from folkmoot.agents.instructions import BLOCK_DESCRIPTIONS, SYSTEM, random_name, system_content
from folkmoot.agents.services import Services
from folkmoot.agents.tool_rules import with_default_approvals
from folkmoot.conversations.conversations import start_conversation
from folkmoot.conversations.messages import Message
from folkmoot.errors import Conflict
from folkmoot.identifiers import new_id
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import create_block
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agent_blocks, agents
from folkmoot.tools.builtin import BASE_TOOLS, DEFAULT_TOOLS, MULTI_AGENT_TOOLS
from folkmoot.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """What an agent shall be. What is None or left out gets its default when the agent is made."""

    name: str | None = None
    description: str | None = None
    agent_type: str = "letta_v1_agent"
    system: str | None = None
    model: str | None = None
    embedding: str | None = None
    timezone: str | None = None
    hidden: bool | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Settings that are kept as they are."""

    variables: Mapping[str, str] | None = None
    """Variables for its tools, which are kept encrypted."""

    tags: Sequence[str] = ()
    tools: Sequence[str] = ()
    """Names of tools."""

    tool_ids: Sequence[str] = ()
    base_tools: bool = True
    """Whether it has the tools of its type beside those."""

    multi_agent_tools: bool = False
    block_ids: Sequence[str] = ()
    new_blocks: Sequence[Mapping[str, Any]] = ()
    folder_ids: Sequence[str] = ()
    first_messages: Sequence[Message] = ()
    """What is in its conversation behind the system message."""

    identity_ids: Sequence[str] = ()
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    entity_id: str | None = None


async def choose_model(plan: AgentPlan, services: Services) -> str:
    """Return the handle of the plan's model, or of the server's default; a provider may have to be asked for that.

    Raises:
        NotFound: the model's provider is unknown or not configured.
    """
    return await services.catalogue.find_handle(plan.model or await services.catalogue.default_model())


async def create_agent(
    transaction: Transaction, plan: AgentPlan, model: str, services: Services, author: Author
) -> Agent:
    """Make the agent with its blocks, tools, tags and first messages.

    Args:
        transaction: where to write.
        plan: what it shall be.
        model: what `choose_model` returned, which may not be asked for in a transaction.
        services: the tools, and what variables are sealed with.
        author: of its new blocks.

    Raises:
        NotFound: a tool, a block, a folder or an identity of the plan does not exist.
        BadRequest: the name of a tool is unknown.
        Conflict: two of its blocks would have the same label, or two of its tools the same name.
        EditRefused: a new block's value is longer than its limit.
    """
    now = clock.now()
    tools = await _tools(transaction, plan, services)
    rules = with_default_approvals(plan.configuration.get("tool_rules") or (), tools)
    sealed = {} if plan.variables is None else {"sealed_variables": services.sealer.seal(plan.variables)}
    agent = Agent(
        id=new_id("agent"),
        organization_id=transaction.organization_id or "",
        name=plan.name or random_name(),
        description=plan.description,
        agent_type=plan.agent_type,
        system=plan.system if plan.system is not None else SYSTEM,
        model=model,
        embedding=plan.embedding,
        timezone=plan.timezone or "UTC",
        hidden=plan.hidden,
        project_id=plan.project_id,
        template_id=plan.template_id,
        base_template_id=plan.base_template_id,
        configuration={**plan.configuration, **({"tool_rules": rules} if rules else {}), **sealed},
        created_at=now,
        updated_at=now,
        deployment_id=plan.deployment_id,
        entity_id=plan.entity_id,
    )
    await transaction.insert(agents, [columns_of(agent) | {"id": agent.id, "created_at": now}])
    await write_tags(transaction, agent.id, plan.tags)
    await write_tools(transaction, agent.id, tools)
    await set_identities(transaction, agent.id, plan.identity_ids)
    existing = await existing_blocks(transaction, plan.block_ids)
    created = [await create_block(transaction, _described(fields), author) for fields in plan.new_blocks]
    await _attach_all(transaction, agent.id, existing + [(block.id, block.label) for block in created])
    for folder_id in dict.fromkeys(plan.folder_ids):
        await attach_folder(transaction, agent.id, folder_id)
    system = Message("system_message", system_content(agent.system, agent.id, agent.id))
    await start_conversation(transaction, agent.id, agent.id, [system, *plan.first_messages])
    return agent


async def _tools(transaction: Transaction, plan: AgentPlan, services: Services) -> list[Tool]:
    """Return the tools that the agent is to have, each once."""
    base = BASE_TOOLS.get(plan.agent_type, DEFAULT_TOOLS) if plan.base_tools else ()
    shared = MULTI_AGENT_TOOLS if plan.multi_agent_tools else ()
    tools = await services.tools.named(transaction, [*base, *shared, *plan.tools])
    tools += await services.tools.find(transaction, plan.tool_ids)
    check_names(tools)
    return list({tool.id: tool for tool in tools}.values())


def _described(block: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**block, "description": block.get("description") or BLOCK_DESCRIPTIONS.get(block["label"])}


async def _attach_all(transaction: Transaction, agent_id: str, wanted: Sequence[tuple[str, str]]) -> None:
    """Attach blocks to an agent that has none yet."""
    holders: dict[str, str] = {}
    now = clock.now()
    for block_id, label in wanted:
        if label in holders:
            raise Conflict(
                f"Two blocks of one agent have the label {label!r}: {holders[label]} and {block_id}. "
                "Leave one out or give it another label."
            )
        holders[label] = block_id
    await transaction.insert(
        agent_blocks,
        [
            {
                "agent_id": agent_id,
                "block_id": block_id,
                "label": label,
                "access": "write",
                "attached_at": now + position,
            }
            for position, (block_id, label) in enumerate(wanted)
        ],
    )
