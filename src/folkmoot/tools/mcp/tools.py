"""The tools of servers as agents have them: rows that follow what a server lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import bindparam, select

from folkmoot.errors import NotFound
from folkmoot.identifiers import new_id
from folkmoot.memory.authors import Author
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agent_tools, agents, tools
from folkmoot.tools.mcp.listing import ListedTool
from folkmoot.tools.stored import StoredTool, find_stored_tool, replace_tool

MOST_NAMED = 100
"""Agents that are named when they lose a tool."""

OF_SERVER = Author("system", None, "mcp")

_of_server = select(tools).where(tools.c.server_id == bindparam("of_server")).order_by(tools.c.name)


@dataclass(slots=True)
class Changes:
    """What a look at a server's tools changed."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    gone_ids: list[str] = field(default_factory=list)
    """The tools that are no more, to be deleted."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    """Tools that were not taken, each with `name` and `reasons`."""
    lost: list[dict[str, Any]] = field(default_factory=list)
    """The agents that lose a tool, each with `agent_id`, `agent_name` and `tool`."""


def remote_name(stored: StoredTool) -> str:
    """Return what its server calls a tool."""
    return str(((stored.metadata or {}).get("mcp") or {}).get("tool", stored.name))


async def tools_of_server(transaction: Transaction, server_id: str) -> list[StoredTool]:
    """Return the stored tools of a server, by name."""
    return [StoredTool.from_row(row) for row in await transaction.all(_of_server, of_server=server_id)]


async def follow_listing(
    transaction: Transaction, server_id: str, server_name: str, listed: Sequence[ListedTool]
) -> Changes:
    """Make the stored tools of a server, which the transaction has locked, those that it lists.

    What its owner changed of a tool stays: limit, approval, further tags. Those that are gone stay too, for their
    agents; `Changes.gone_ids` names them.
    """
    changes = Changes(
        refused=[{"name": each.remote_name, "reasons": list(each.reasons)} for each in listed if not each.is_sound]
    )
    stored = {remote_name(tool): tool for tool in await tools_of_server(transaction, server_id)}
    sound = [each for each in listed if each.is_sound]
    new: list[StoredTool] = []
    for tool in sound:
        known = stored.pop(tool.remote_name, None)
        if known is None:
            new.append(_stored(tool, server_id, server_name))
            changes.added.append(tool.name)
        elif (current := _as_listed(known, tool)) != known:
            await replace_tool(transaction, replace(current, updated_at=clock.now()))
            changes.updated.append(tool.name)
    if new:
        await transaction.insert(tools, [tool.to_row() for tool in new])
    changes.deleted = sorted(tool.name for tool in stored.values())
    changes.gone_ids = [tool.id for tool in stored.values()]
    if changes.gone_ids:
        changes.lost = await _agents_with(transaction, {tool.id: tool.name for tool in stored.values()})
    return changes


async def rename_server(transaction: Transaction, server_id: str, before: str, name: str) -> None:
    """Let a server's tools say its new name."""
    for tool in await tools_of_server(transaction, server_id):
        tags = [_tag(name) if tag == _tag(before) else tag for tag in tool.tags]
        metadata = {**(tool.metadata or {}), "mcp": _origin(server_id, name, remote_name(tool))}
        row = replace(tool, tags=tags, metadata=metadata)
        await replace_tool(transaction, row)


async def find_tool_of_server(transaction: Transaction, server_id: str, tool_id: str) -> StoredTool:
    """Return a tool of a server.

    Raises:
        NotFound: the server has no such tool.
    """
    tool = await find_stored_tool(transaction, tool_id)
    if tool.server_id != server_id:
        raise NotFound(f"MCP server {server_id} has no tool with id {tool_id}")
    return tool


def _stored(tool: ListedTool, server_id: str, server_name: str) -> StoredTool:
    now = clock.now()
    return StoredTool(
        id=new_id("tool"),
        name=tool.name,
        tool_type="external_mcp",
        json_schema=tool.json_schema,
        created_at=now,
        created_by=OF_SERVER,
        updated_at=now,
        updated_by=OF_SERVER,
        server_id=server_id,
        description=tool.description,
        enable_parallel_execution=tool.only_reads,
        tags=[_tag(server_name)],
        metadata={"mcp": _origin(server_id, server_name, tool.remote_name)},
        schema_given=True,
    )


def _as_listed(known: StoredTool, tool: ListedTool) -> StoredTool:
    """Return a stored tool as its server lists it now."""
    described = known.description == known.json_schema.get("description")
    return replace(
        known,
        json_schema=tool.json_schema | {"name": known.name},
        description=tool.description if described else known.description,
    )


def _tag(server_name: str) -> str:
    return f"mcp:{server_name}"


def _origin(server_id: str, server_name: str, tool: str) -> dict[str, str]:
    return {"server_name": server_name, "server_id": server_id, "tool": tool}


async def _agents_with(transaction: Transaction, names: Mapping[str, str]) -> list[dict[str, Any]]:
    statement = (
        select(agents.c.id, agents.c.name, agent_tools.c.tool_id)
        .select_from(agents.join(agent_tools, agents.c.id == agent_tools.c.agent_id))
        .where(agent_tools.c.tool_id.in_(list(names)))
        .order_by(agents.c.name, agents.c.id)
        .limit(MOST_NAMED)
    )
    return [
        {"agent_id": row["id"], "agent_name": row["name"], "tool": names[row["tool_id"]]}
        for row in await transaction.all(statement)
    ]
