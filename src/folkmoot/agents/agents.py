"""Agents as they are stored: create, find, list, update, delete."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from folkmoot.agents.instructions import system_content
from folkmoot.agents.tool_rules import with_default_approvals
from folkmoot.conversations.conversations import forget_runs, last_run_at
from folkmoot.conversations.listing import CONVERSATIONS_LEAVING
from folkmoot.conversations.messages import set_system_message
from folkmoot.errors import Conflict, NotFound
from folkmoot.memory import attachments
from folkmoot.memory.attachments import attach
from folkmoot.memory.blocks import delete_block
from folkmoot.models.embeddings import handle_in
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import leave_places, leaving
from folkmoot.store.tables import (
    agent_blocks,
    agent_tags,
    agent_tools,
    agents,
    blocks,
    conversation_blocks,
    conversations,
    groups,
    runs,
)
from folkmoot.tools.registry import ToolRegistry
from folkmoot.tools.stored import RowTool, hold_tools
from folkmoot.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent. `configuration` holds what no statement filters by; times are in microseconds."""

    id: str
    organization_id: str
    name: str
    description: str | None
    agent_type: str
    system: str
    model: str
    embedding: str | None
    timezone: str
    hidden: bool | None
    project_id: str | None
    template_id: str | None
    base_template_id: str | None
    configuration: Mapping[str, Any]
    created_at: int
    updated_at: int
    deployment_id: str | None = None
    """With which others it was made from its template."""

    entity_id: str | None = None
    """Which of the template's agents it is."""

    @classmethod
    def from_row(cls, row: Row) -> Agent:
        """Read a row of the agents table."""
        hidden = row["hidden"]
        return cls(
            id=row["id"],
            organization_id=row["organization_id"],
            name=row["name"],
            description=row["description"],
            agent_type=row["agent_type"],
            system=row["system"],
            model=row["model"],
            embedding=row["embedding"],
            timezone=row["timezone"],
            hidden=None if hidden is None else bool(hidden),
            project_id=row["project_id"],
            template_id=row["template_id"],
            base_template_id=row["base_template_id"],
            configuration=json.loads(row["configuration"]),
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            deployment_id=row["deployment_id"],
            entity_id=row["entity_id"],
        )

    @property
    def named_embedding(self) -> str | None:
        """The handle of the embedding model that its creator named, in either form."""
        return self.embedding or handle_in(self.configuration.get("embedding_config") or {})

    @property
    def parallel_tool_calls(self) -> bool:
        """Whether its model may call several tools in one reply."""
        settings = self.configuration.get("model_settings") or {}
        chosen = settings.get("parallel_tool_calls", self.configuration.get("parallel_tool_calls"))
        return chosen is not False


_by_id = select(agents).where(agents.c.id == bindparam("agent_id"), is_kept(agents.c.id))
_by_id_locked = _by_id.with_for_update(key_share=True)
_tool_ids = (
    select(agent_tools.c.tool_id)
    .where(agent_tools.c.agent_id == bindparam("agent_id"))
    .order_by(agent_tools.c.attached_at, agent_tools.c.tool_id)
)
_lock_conversations = (
    select(conversations.c.id)
    .where(conversations.c.agent_id == bindparam("agent_id"))
    .order_by(conversations.c.id)
    .with_for_update()
)
_copies_of_conversations = (
    select(conversation_blocks.c.block_id)
    .join(
        conversations,
        conversations.c.id == conversation_blocks.c.conversation_id,
    )
    .where(conversations.c.agent_id == bindparam("agent_id"))
)


LAST_RUN = last_run_at(runs.c.agent_id == agents.c.id)
_leaving = leaving(agents, agents.c.id == bindparam("agent_id"), last_run_at=LAST_RUN)
_groups_leaving = leaving(groups, groups.c.manager_agent_id == bindparam("agent_id"))
_delete_groups = delete(groups).where(groups.c.manager_agent_id == bindparam("agent_id"))


async def find_agent(transaction: Transaction, agent_id: str, *, lock: bool = False) -> Agent:
    """Return the agent; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such agent.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, agent_id=agent_id)
    if row is None:
        raise NotFound(f"Agent with ID {agent_id} not found")
    return Agent.from_row(row)


async def update_agent(
    transaction: Transaction, agent_id: str, changes: Mapping[str, Any], configuration: Mapping[str, Any]
) -> Agent:
    """Change an agent's fields; `configuration` is merged into its own.

    Args:
        transaction: where to write.
        agent_id: which agent.
        changes: columns to change, and `tags`, `tools` or `block_ids` to replace as a whole.
        configuration: keys of the configuration to change.

    Raises:
        NotFound: there is no such agent, or a block of `block_ids` does not exist.
        Conflict: two of its blocks would have the same label, or two of its tools the same name.
    """
    before = await find_agent(transaction, agent_id, lock=True)
    columns = {name: value for name, value in changes.items() if name in agents.c}
    merged = {**before.configuration, **configuration}
    if "tools" in changes:
        check_names(changes["tools"])
        has = {row["tool_id"] for row in await transaction.all(_tool_ids, agent_id=agent_id)}
        new = [tool for tool in changes["tools"] if tool.id not in has]
        merged["tool_rules"] = with_default_approvals(merged.get("tool_rules") or (), new)
    await transaction.run(
        update(agents)
        .where(agents.c.id == agent_id)
        .values(**columns, configuration=json.dumps(merged), updated_at=clock.now())
    )
    for name, table, write in (("tags", agent_tags, write_tags), ("tools", agent_tools, write_tools)):
        if name in changes:
            await transaction.run(delete(table).where(table.c.agent_id == agent_id))
            await write(transaction, agent_id, changes[name])
    if "system" in changes:
        await set_system_message(transaction, agent_id, system_content(changes["system"], agent_id, agent_id))
    if "block_ids" in changes:
        await _replace_blocks(transaction, agent_id, changes["block_ids"])
    if "name" in changes:
        transaction.signal(attachments.topic(agent_id))  # who shows the agent shows its name
    return await find_agent(transaction, agent_id)


async def delete_agent(transaction: Transaction, agent_id: str) -> None:
    """Delete the agent with what is left of its conversations and runs; what stays is said in `docs/data.md`."""
    await transaction.all(_lock_conversations, agent_id=agent_id)  # as a step does first; then none can begin a run
    await leave_places(transaction, _leaving, agent_id=agent_id)
    await leave_places(transaction, CONVERSATIONS_LEAVING, agent_id=agent_id)
    await delete_groups_of(transaction, agent_id)
    for row in await transaction.all(_copies_of_conversations, agent_id=agent_id):
        await delete_block(transaction, row["block_id"])
    await transaction.run(delete(agents).where(agents.c.id == agent_id))
    await forget_runs(transaction, runs.c.agent_id == agent_id)  # now, when none can be stored any more
    transaction.signal(attachments.topic(agent_id))


async def delete_groups_of(transaction: Transaction, agent_id: str) -> None:
    """Delete the groups that an agent leads, or whose members tend its memory."""
    await leave_places(transaction, _groups_leaving, agent_id=agent_id)
    await transaction.run(_delete_groups, agent_id=agent_id)


async def tool_ids_of(transaction: Transaction, agent_id: str) -> list[str]:
    """Return the identifiers of the agent's tools in the order they were attached."""
    return [row["tool_id"] for row in await transaction.all(_tool_ids, agent_id=agent_id)]


async def tools_of(transaction: Transaction, agent_id: str, registry: ToolRegistry) -> list[Tool]:
    """Return the agent's tools in the order they were attached.

    Raises:
        Conflict: it has one that this server does not know.
    """
    tool_ids = await tool_ids_of(transaction, agent_id)
    known = await registry.known(transaction, tool_ids)
    if len(known) < len(tool_ids):  # what was deleted between the two looks is the agent's no more
        for tool_id in await tool_ids_of(transaction, agent_id):
            if tool_id in tool_ids and tool_id not in known:
                raise unknown_tool(agent_id, tool_id)
    return [known[tool_id] for tool_id in tool_ids if tool_id in known]


def unknown_tool(agent_id: str, tool_id: str) -> Conflict:
    """Return the error of an agent that has a tool which is not there."""
    return Conflict(
        f"Agent {agent_id} has the tool {tool_id}, which this server does not know. "
        f"Detach it: PATCH /v1/agents/{agent_id}/tools/detach/{tool_id}"
    )


async def attach_tool(transaction: Transaction, agent_id: str, tool: Tool, registry: ToolRegistry) -> None:
    """Give the agent a tool, and a rule where that wants approval by itself; one that it has stays as it is.

    Raises:
        NotFound: there is no such agent.
        Conflict: it has another tool of this name.
    """
    agent = await find_agent(transaction, agent_id, lock=True)
    tools = await tools_of(transaction, agent_id, registry)
    if tool.id in {each.id for each in tools}:
        return
    check_names([*tools, tool])
    await write_tools(transaction, agent_id, [tool])
    rules = agent.configuration.get("tool_rules") or []
    asking = with_default_approvals(rules, [tool])
    if len(asking) > len(rules):
        await update_agent(transaction, agent_id, {}, {"tool_rules": asking})


def check_names(tools: Sequence[Tool]) -> None:
    """Let pass tools that one agent can have together.

    Raises:
        Conflict: two have the same name, by which a model calls them.
    """
    by_name: dict[str, str] = {}
    for tool in tools:
        if by_name.setdefault(tool.name, tool.id) != tool.id:
            raise Conflict(
                f"Two tools of one agent have the name {tool.name!r}: {by_name[tool.name]} and {tool.id}. "
                "Leave one out, or give it another name."
            )


async def detach_tool(transaction: Transaction, agent_id: str, tool_id: str) -> None:
    """Take a tool from the agent; one that it does not have is no error.

    Raises:
        NotFound: there is no such agent.
    """
    await find_agent(transaction, agent_id, lock=True)
    await transaction.run(
        delete(agent_tools).where(
            agent_tools.c.agent_id == agent_id,
            agent_tools.c.tool_id == tool_id,
        )
    )


async def existing_blocks(transaction: Transaction, block_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return the id and label of each block, in the order asked for.

    Raises:
        NotFound: there is no such block.
    """
    wanted = list(dict.fromkeys(block_ids))
    if not wanted:
        return []
    rows = await transaction.all(select(blocks.c.id, blocks.c.label).where(blocks.c.id.in_(wanted)))
    labels = {row["id"]: row["label"] for row in rows}
    for block_id in wanted:
        if block_id not in labels:
            raise NotFound(f"block_ids: block with id '{block_id}' not found")
    return [(block_id, labels[block_id]) for block_id in wanted]


async def _replace_blocks(transaction: Transaction, agent_id: str, block_ids: Sequence[str]) -> None:
    """Make these the agent's blocks: detach the others, keep the access of those that stay."""
    await existing_blocks(transaction, block_ids)
    await transaction.run(
        delete(agent_blocks).where(
            agent_blocks.c.agent_id == agent_id,
            agent_blocks.c.block_id.not_in(list(block_ids)),
        )
    )
    for block_id in dict.fromkeys(block_ids):
        await attach(transaction, agent_id, block_id)


async def write_tags(transaction: Transaction, agent_id: str, tags: Sequence[str]) -> None:
    """Give an agent without tags these."""
    await transaction.insert(
        agent_tags,
        [{"agent_id": agent_id, "tag": tag} for tag in dict.fromkeys(tags)],
    )


async def write_tools(transaction: Transaction, agent_id: str, tools: Sequence[Tool]) -> None:
    """Give an agent these tools behind those that it has.

    Raises:
        NotFound: one of them was deleted since it was looked up.
    """
    await hold_tools(transaction, [tool.id for tool in tools if isinstance(tool, RowTool)])
    now = clock.now()
    await transaction.insert(
        agent_tools,
        [
            {
                "agent_id": agent_id,
                "tool_id": tool.id,
                "attached_at": now + place,
            }
            for place, tool in enumerate(tools)
        ],
    )


def columns_of(agent: Agent) -> dict[str, Any]:
    """Return the agent as its row has it, but for its identifier and age."""
    return {
        "name": agent.name,
        "description": agent.description,
        "agent_type": agent.agent_type,
        "system": agent.system,
        "model": agent.model,
        "embedding": agent.embedding,
        "timezone": agent.timezone,
        "hidden": agent.hidden,
        "project_id": agent.project_id,
        "template_id": agent.template_id,
        "base_template_id": agent.base_template_id,
        "deployment_id": agent.deployment_id,
        "entity_id": agent.entity_id,
        "configuration": json.dumps(agent.configuration),
        "updated_at": agent.updated_at,
    }
