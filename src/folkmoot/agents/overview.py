"""What an overview of everything reads: counts, times and who holds what, for many agents and blocks at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import and_, case, false, func, select

from folkmoot.agents.agents import Agent
from folkmoot.memory.attachments import Access, Attachment
from folkmoot.memory.history import DESCRIBED, Version
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import (
    agent_archives,
    agent_blocks,
    agent_tools,
    agents,
    archives,
    block_readers,
    block_versions,
    blocks,
    departures,
)

MOST_ATTACHMENTS = 20_000
MOST_EDITS = 5_000
MOST_READINGS = 5_000
"""Steps, the newest, among which the runs that were shown a block are counted: a shared block is read in every step."""

HOLDERS_SHOWN = 100
"""Agents that are named as those that have a tool."""

_agents_by_age = select(agents.c.id).order_by(agents.c.created_at, agents.c.id)


@dataclass(frozen=True, slots=True)
class ReadingRun:
    """A run that was shown a block: the newest version it saw, and when."""

    run_id: str
    agent_id: str
    version: int
    at: int


@dataclass(frozen=True, slots=True)
class ReadingRuns:
    """How many runs were shown a block, the newest of them, and whether all that ever were have been counted."""

    count: int
    is_whole: bool
    newest: Sequence[ReadingRun]


@dataclass(frozen=True, slots=True)
class Newest:
    """A block's newest version, with what a row of the map shows of the block."""

    block_id: str
    label: str
    limit: int
    version: Version


async def all_attachments(transaction: Transaction) -> list[Attachment]:
    """Return who holds which block, in the order in which they were attached."""
    statement = (
        select(agent_blocks).order_by(agent_blocks.c.attached_at, agent_blocks.c.block_id).limit(MOST_ATTACHMENTS)
    )
    return [Attachment.from_row(row) for row in await transaction.all(statement)]


async def count_holders(transaction: Transaction, block_ids: Sequence[str]) -> Mapping[str, int]:
    """Return how many agents have each of these blocks; one that nobody has is not there."""
    if not block_ids:
        return {}
    statement = (
        select(agent_blocks.c.block_id, func.count().label("count"))
        .where(agent_blocks.c.block_id.in_(list(block_ids)))
        .group_by(agent_blocks.c.block_id)
    )
    return {row["block_id"]: row["count"] for row in await transaction.all(statement)}


async def holders_of_any(transaction: Transaction, block_ids: Collection[str]) -> list[str]:
    """Return the agents that have one of these blocks at least."""
    if not block_ids:
        return []
    statement = select(agent_blocks.c.agent_id).where(agent_blocks.c.block_id.in_(list(block_ids))).distinct()
    return [row["agent_id"] for row in await transaction.all(statement.limit(MOST_ATTACHMENTS))]


async def holders_of(transaction: Transaction, block_id: str) -> list[tuple[Agent, Access]]:
    """Return the agents that have a block, each with its access."""
    statement = (
        select(agents, agent_blocks.c.access)
        .join(
            agent_blocks,
            agent_blocks.c.agent_id == agents.c.id,
        )
        .where(agent_blocks.c.block_id == block_id)
        .order_by(agent_blocks.c.attached_at, agents.c.id)
    )
    return [(Agent.from_row(row), row["access"]) for row in await transaction.all(statement)]


async def holder_names(transaction: Transaction, block_ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return the names of the agents that have each of these blocks, in the order in which they got it."""
    if not block_ids:
        return {}
    statement = (
        select(agent_blocks.c.block_id, agents.c.name)
        .join(agents, agents.c.id == agent_blocks.c.agent_id)
        .where(agent_blocks.c.block_id.in_(list(block_ids)))
        .order_by(agent_blocks.c.attached_at, agents.c.id)
        .limit(MOST_ATTACHMENTS)
    )
    names: dict[str, list[str]] = {}
    for row in await transaction.all(statement):
        names.setdefault(row["block_id"], []).append(row["name"])
    return names


async def newest_versions(transaction: Transaction, block_ids: Sequence[str]) -> Mapping[str, Newest]:
    """Return the newest version of each of these blocks; one that is gone is left out."""
    if not block_ids:
        return {}
    statement = (
        select(*DESCRIBED, blocks.c.label, blocks.c.character_limit)
        .join(
            blocks,
            and_(blocks.c.id == block_versions.c.block_id, blocks.c.version == block_versions.c.version),
        )
        .where(blocks.c.id.in_(list(block_ids)))  # said of the versions, all that these blocks ever had would be read
    )
    rows = await transaction.all(statement)
    return {
        row["block_id"]: Newest(row["block_id"], row["label"], row["character_limit"], Version.from_row(row))
        for row in rows
    }


@dataclass(frozen=True, slots=True)
class Joined:
    """That an agent was given a block or an archive: what of the two, its name, the access, and when."""

    kind: Literal["block", "archive"]
    agent_id: str
    id: str
    name: str
    access: Access
    at: int


async def recent_attachments(
    transaction: Transaction, before: int, limit: int, agent_id: str | None = None
) -> list[Joined]:
    """Return what agents were given last and still have, up to a moment in microseconds, the newest first."""
    found: list[Joined] = []
    for kind, table, held, column, name, read_only in (
        ("block", agent_blocks, blocks, agent_blocks.c.block_id, blocks.c.label, blocks.c.read_only),
        ("archive", agent_archives, archives, agent_archives.c.archive_id, archives.c.name, false()),
    ):
        access = case((read_only, "read"), else_=table.c.access)
        statement = (
            select(table.c.agent_id, column.label("id"), name.label("name"), table.c.attached_at)
            .add_columns(access.label("access"))
            .join(held, held.c.id == column)
            .where(table.c.attached_at <= before, is_kept(held.c.id), is_kept(table.c.agent_id))
        )
        if agent_id is not None:
            statement = statement.where(table.c.agent_id == agent_id)
        for row in await transaction.all(statement.order_by(table.c.attached_at.desc(), column).limit(limit)):
            at = row["attached_at"]
            found.append(Joined(kind, row["agent_id"], row["id"], row["name"], row["access"], at))  # type: ignore[arg-type]
    return sorted(found, key=lambda each: each.at, reverse=True)[:limit]


async def edit_times(transaction: Transaction, block_id: str, since: int) -> list[int]:
    """Return when a block was edited after `since`, in microseconds, its newest edits only if there are many."""
    newest = (
        select(block_versions.c.created_at)
        .where(block_versions.c.block_id == block_id)
        .order_by(block_versions.c.version.desc())
        .limit(MOST_EDITS)
        .subquery()
    )
    statement = select(newest.c.created_at).where(newest.c.created_at > since)
    return [row["created_at"] for row in await transaction.all(statement)]


async def reading_runs(transaction: Transaction, block_id: str, version: int | None, limit: int) -> ReadingRuns:
    """Return how many runs were shown a block, or one version of it, and the newest of them."""
    conditions = [block_readers.c.block_id == block_id]
    if version is not None:
        conditions.append(block_readers.c.version == version)
    steps = (
        select(block_readers)
        .where(*conditions)
        .order_by(block_readers.c.version.desc(), block_readers.c.created_at.desc(), block_readers.c.step_id.desc())
        .limit(MOST_READINGS)
        .subquery()
    )
    counted = select(func.count(steps.c.run_id.distinct()).label("runs"), func.count().label("steps")).select_from(
        steps
    )
    newest = (
        select(steps.c.run_id, steps.c.agent_id, func.max(steps.c.version).label("version"))
        .add_columns(func.max(steps.c.created_at).label("at"))
        .group_by(steps.c.run_id, steps.c.agent_id)
        .order_by(func.max(steps.c.created_at).desc())
        .limit(limit)
    )
    row = await transaction.first(counted)
    assert row is not None
    found = [
        ReadingRun(each["run_id"], each["agent_id"], each["version"], each["at"])
        for each in await transaction.all(newest)
    ]
    return ReadingRuns(row["runs"], row["steps"] < MOST_READINGS, found)


async def agent_names(transaction: Transaction, agent_ids: Sequence[str]) -> Mapping[str, str]:
    """Return the names of these agents; one that is gone is left out."""
    if not agent_ids:
        return {}
    statement = select(agents.c.id, agents.c.name).where(agents.c.id.in_(list(dict.fromkeys(agent_ids))))
    return {row["id"]: row["name"] for row in await transaction.all(statement)}


async def agents_by_age(transaction: Transaction) -> list[str]:
    """Return the identifiers of all agents, in the order in which they were created."""
    return [row["id"] for row in await transaction.all(_agents_by_age)]


async def moot_shape(transaction: Transaction) -> str:
    """Return something that changes when an agent or a block comes or goes."""
    parts = []
    for table in (agents, blocks):
        statement = select(func.count().label("count"), func.max(table.c.created_at).label("newest")).select_from(table)
        row = await transaction.first(statement)
        parts.append(f"{row['count']}-{row['newest']}" if row is not None else "")
    return "/".join(parts)


async def has_reshaped(transaction: Transaction, at: int) -> bool:
    """Tell whether agents or blocks came or went since a moment in microseconds."""
    for table in (agents, blocks, departures):
        if await transaction.first(select(table.c.id).where(table.c.created_at >= at).limit(1)) is not None:
            return True
    return False


async def agents_with_tool(transaction: Transaction, tool_id: str) -> list[tuple[str, str]]:
    """Return identifier and name of the agents that have a tool, by name; no more than can be shown."""
    statement = (
        select(agents.c.id, agents.c.name)
        .join(agent_tools, agent_tools.c.agent_id == agents.c.id)
        .where(agent_tools.c.tool_id == tool_id, is_kept(agents.c.id))
        .order_by(agents.c.name, agents.c.id)
        .limit(HOLDERS_SHOWN)
    )
    return [(row["id"], row["name"]) for row in await transaction.all(statement)]


async def holders_of_tools(transaction: Transaction) -> Mapping[str, int]:
    """Return how many agents have each tool that any has."""
    statement = select(agent_tools.c.tool_id, func.count().label("count")).group_by(agent_tools.c.tool_id)
    return {row["tool_id"]: row["count"] for row in await transaction.all(statement)}
