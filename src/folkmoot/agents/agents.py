"""Agents as they are stored: create, find, list, update, delete."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from folkmoot.conversations.conversations import start_conversation
from folkmoot.conversations.messages import Message
from folkmoot.errors import BadRequest, Conflict, NotFound
from folkmoot.identifiers import new_id
from folkmoot.memory import attachments
from folkmoot.memory.attachments import attach
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import create_block, delete_block
from folkmoot.store import clock
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.tables import (
    agent_blocks,
    agent_tags,
    agent_tools,
    agents,
    blocks,
    conversation_blocks,
    conversations,
)
from folkmoot.tools.builtin import BUILTIN_TOOLS, BUILTIN_TOOLS_BY_ID
from folkmoot.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent. `configuration` holds what no statement filters by; times are in microseconds."""

    id: str
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

    @classmethod
    def from_row(cls, row: Row) -> Agent:
        """Read a row of the agents table."""
        hidden = row["hidden"]
        return cls(
            id=row["id"],
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
        )

    @property
    def parallel_tool_calls(self) -> bool:
        """Whether its model may call several tools in one reply."""
        settings = self.configuration.get("model_settings") or {}
        chosen = settings.get("parallel_tool_calls", self.configuration.get("parallel_tool_calls"))
        return chosen is not False


@dataclass(frozen=True, slots=True)
class NewAgent:
    """What an agent is made from; `first_messages` begin with its system message."""

    name: str
    description: str | None
    agent_type: str
    system: str
    model: str
    embedding: str | None
    timezone: str
    hidden: bool | None
    configuration: Mapping[str, Any]
    tags: Sequence[str]
    tools: Sequence[Tool]
    block_ids: Sequence[str]
    new_blocks: Sequence[Mapping[str, Any]]
    first_messages: Sequence[Message]
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None


_by_id = select(agents).where(agents.c.id == bindparam("agent_id"))
_by_id_locked = _by_id.with_for_update(key_share=True)
_tool_ids = (
    select(agent_tools.c.tool_id)
    .where(agent_tools.c.agent_id == bindparam("agent_id"))
    .order_by(agent_tools.c.attached_at, agent_tools.c.tool_id)
)
_copies_of_conversations = (
    select(conversation_blocks.c.block_id)
    .join(
        conversations,
        conversations.c.id == conversation_blocks.c.conversation_id,
    )
    .where(conversations.c.agent_id == bindparam("agent_id"))
)


async def find_agent(transaction: Transaction, agent_id: str, *, lock: bool = False) -> Agent:
    """Return the agent; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such agent.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, agent_id=agent_id)
    if row is None:
        raise NotFound(f"Agent with ID {agent_id} not found")
    return Agent.from_row(row)


async def create_agent(transaction: Transaction, new: NewAgent, author: Author) -> Agent:
    """Create the agent with its blocks, tools, tags and first messages.

    Raises:
        NotFound: a block of `block_ids` does not exist.
        Conflict: two of its blocks would have the same label.
        EditRefused: a new block's value is longer than its limit.
    """
    now = clock.now()
    agent = Agent(
        id=new_id("agent"),
        name=new.name,
        description=new.description,
        agent_type=new.agent_type,
        system=new.system,
        model=new.model,
        embedding=new.embedding,
        timezone=new.timezone,
        hidden=new.hidden,
        project_id=new.project_id,
        template_id=new.template_id,
        base_template_id=new.base_template_id,
        configuration=new.configuration,
        created_at=now,
        updated_at=now,
    )
    await transaction.insert(agents, [_columns(agent) | {"id": agent.id, "created_at": now}])
    await _write_tags(transaction, agent.id, new.tags)
    await _write_tools(transaction, agent.id, new.tools)
    existing = await _existing_blocks(transaction, new.block_ids)
    created = [await create_block(transaction, fields, author) for fields in new.new_blocks]
    await _attach_all(transaction, agent.id, existing + [(block.id, block.label) for block in created])
    await start_conversation(transaction, agent.id, agent.id, new.first_messages)
    return agent


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
        Conflict: two of its blocks would have the same label.
    """
    before = await find_agent(transaction, agent_id, lock=True)
    columns = {name: value for name, value in changes.items() if name in agents.c}
    merged = {**before.configuration, **configuration}
    await transaction.run(
        update(agents)
        .where(agents.c.id == agent_id)
        .values(**columns, configuration=json.dumps(merged), updated_at=clock.now())
    )
    for name, table, write in (("tags", agent_tags, _write_tags), ("tools", agent_tools, _write_tools)):
        if name in changes:
            await transaction.run(delete(table).where(table.c.agent_id == agent_id))
            await write(transaction, agent_id, changes[name])
    if "block_ids" in changes:
        await _replace_blocks(transaction, agent_id, changes["block_ids"])
    return await find_agent(transaction, agent_id)


async def delete_agent(transaction: Transaction, agent_id: str) -> None:
    """Delete the agent and its conversations; its blocks stay, except for copies that its conversations had.

    Raises:
        NotFound: there is no such agent.
    """
    for row in await transaction.all(_copies_of_conversations, agent_id=agent_id):
        await delete_block(transaction, row["block_id"])
    gone = await transaction.run(delete(agents).where(agents.c.id == agent_id))
    if not gone:
        raise NotFound(f"Agent with ID {agent_id} not found")
    transaction.signal(attachments.topic(agent_id))


async def tools_of(transaction: Transaction, agent_id: str) -> list[Tool]:
    """Return the agent's tools in the order they were attached."""
    rows = await transaction.all(_tool_ids, agent_id=agent_id)
    return [BUILTIN_TOOLS_BY_ID[row["tool_id"]] for row in rows if row["tool_id"] in BUILTIN_TOOLS_BY_ID]


async def attach_tool(transaction: Transaction, agent_id: str, tool: Tool) -> None:
    """Give the agent a tool; one that it has already stays as it is.

    Raises:
        NotFound: there is no such agent.
    """
    await find_agent(transaction, agent_id, lock=True)
    if tool.id not in {mine.id for mine in await tools_of(transaction, agent_id)}:
        await _write_tools(transaction, agent_id, [tool])


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


def tools_named(names: Sequence[str]) -> list[Tool]:
    """Return the built-in tools of these names, in their order, each once.

    Raises:
        BadRequest: a name is not that of a tool.
    """
    unknown = {name for name in names if name not in BUILTIN_TOOLS}
    if unknown:
        raise BadRequest(
            f"Tools not found by name: {unknown}. Tools of this server: {', '.join(sorted(BUILTIN_TOOLS))}."
        )
    return [BUILTIN_TOOLS[name] for name in dict.fromkeys(names)]


def tool_of_id(tool_id: str) -> Tool:
    """Return the built-in tool of this identifier.

    Raises:
        NotFound: there is none.
    """
    tool = BUILTIN_TOOLS_BY_ID.get(tool_id)
    if tool is None:
        raise NotFound(f"Tool with id {tool_id} not found")
    return tool


async def _existing_blocks(transaction: Transaction, block_ids: Sequence[str]) -> list[tuple[str, str]]:
    """Return the id and label of each block, in the order asked for."""
    wanted = list(dict.fromkeys(block_ids))
    if not wanted:
        return []
    rows = await transaction.all(select(blocks.c.id, blocks.c.label).where(blocks.c.id.in_(wanted)))
    labels = {row["id"]: row["label"] for row in rows}
    for block_id in wanted:
        if block_id not in labels:
            raise NotFound(f"block_ids: block with id '{block_id}' not found")
    return [(block_id, labels[block_id]) for block_id in wanted]


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


async def _replace_blocks(transaction: Transaction, agent_id: str, block_ids: Sequence[str]) -> None:
    """Make these the agent's blocks: detach the others, keep the access of those that stay."""
    await _existing_blocks(transaction, block_ids)
    await transaction.run(
        delete(agent_blocks).where(
            agent_blocks.c.agent_id == agent_id,
            agent_blocks.c.block_id.not_in(list(block_ids)),
        )
    )
    for block_id in dict.fromkeys(block_ids):
        await attach(transaction, agent_id, block_id)


async def _write_tags(transaction: Transaction, agent_id: str, tags: Sequence[str]) -> None:
    await transaction.insert(
        agent_tags,
        [{"agent_id": agent_id, "tag": tag} for tag in dict.fromkeys(tags)],
    )


async def _write_tools(transaction: Transaction, agent_id: str, tools: Sequence[Tool]) -> None:
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


def _columns(agent: Agent) -> dict[str, Any]:
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
        "configuration": json.dumps(agent.configuration),
        "updated_at": agent.updated_at,
    }
