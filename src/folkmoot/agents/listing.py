"""Lists of agents, by everything the wire format can ask for, and what belongs to many agents at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Column, ScalarSelect, Select, exists, or_, select

from folkmoot.agents.agents import LAST_RUN, Agent, unknown_tool
from folkmoot.memory.attachments import BLOCK_COLUMNS, Access
from folkmoot.memory.blocks import Block
from folkmoot.memory.listing import held_by
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.projects import is_in_project
from folkmoot.store.several import Several
from folkmoot.store.tables import (
    agent_blocks,
    agent_tags,
    agent_tools,
    agents,
    block_tags,
    blocks,
    identity_agents,
    jobs,
    runs,
)
from folkmoot.store.tags import tagged
from folkmoot.tools.registry import ToolRegistry
from folkmoot.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class AgentFilter:
    """Which agents are wanted; what is None or empty does not matter."""

    agent_id: str | None = None
    name: str | None = None
    query_text: str | None = None
    tags: Sequence[str] = ()
    match_all_tags: bool = False
    last_stop_reason: str | None = None
    created_by_id: str | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    identity_id: str | None = None
    identifier_keys: Sequence[str] = ()
    order_by: Literal["created_at", "updated_at", "last_run_at"] = "created_at"


@dataclass(frozen=True, slots=True)
class EndedRun:
    """How a run ended, and when, in microseconds since the epoch."""

    completed_at: int
    started_at: int | None
    stop_reason: str | None

    @property
    def duration(self) -> int | None:
        """The microseconds that it took; None for a run that ended before it began."""
        return None if self.started_at is None else self.completed_at - self.started_at


DELETE_EPHEMERAL = "delete_ephemeral"
"""The name of the jobs that delete ephemeral conversations with their agents; each works on an agent."""

_IS_EPHEMERAL = exists().where(
    jobs.c.kind == DELETE_EPHEMERAL, jobs.c.subject_id == agents.c.id, jobs.c.due_at.is_not(None)
)
"""Whether a hidden agent is an ephemeral conversation's; programs that hide agents of their own find them in lists."""


async def list_agents(transaction: Transaction, wanted: AgentFilter, page: Page) -> list[Agent]:
    """Return a page of the agents."""
    statement = _filtered(select(agents), wanted)
    key, computed = tuple(dict.fromkeys((wanted.order_by, "created_at", "id"))), {"last_run_at": LAST_RUN}
    rows = await fetch_page(transaction, statement, agents, page, key=key, computed=computed)
    return [Agent.from_row(row) for row in rows]


async def count_agents(transaction: Transaction, wanted: AgentFilter) -> int:
    """Return how many agents there are."""
    return await count_rows(transaction, _filtered(count_of(agents), wanted))


async def agents_named(transaction: Transaction, name: str) -> list[str]:
    """Return the identifiers of the agents that a name may mean: an identifier, or a name; the oldest first."""
    statement = select(agents.c.id).where(is_kept(agents.c.id), (agents.c.id == name) | (agents.c.name == name))
    return [row["id"] for row in await transaction.all(statement.order_by(agents.c.created_at).limit(10))]


async def agents_tagged(transaction: Transaction, match_all: Sequence[str], match_some: Sequence[str]) -> list[str]:
    """Return the identifiers of the agents that have all of some tags, and at least one of others if there are any."""
    statement = select(agents.c.id).where(is_kept(agents.c.id))
    for tags, every in ((match_all, True), (match_some, False)):
        if tags:
            statement = statement.where(agents.c.id.in_(tagged(agent_tags.c.agent_id, tags, every=every)))
    return [row["id"] for row in await transaction.all(statement.order_by(agents.c.id))]


async def agents_of_ids(transaction: Transaction, agent_ids: Sequence[str]) -> list[Agent]:
    """Return the agents of these identifiers, in their order; one that is gone is left out."""
    if not agent_ids:
        return []
    rows = await transaction.all(select(agents).where(agents.c.id.in_(list(agent_ids))))
    found = {row["id"]: Agent.from_row(row) for row in rows}
    return [found[agent_id] for agent_id in agent_ids if agent_id in found]


def _of_newest_run(column: Column[Any]) -> ScalarSelect[Any]:
    """Return a column of the newest run that has ended, of the agent at hand."""
    return (
        select(column)
        .where(runs.c.agent_id == agents.c.id, runs.c.completed_at.is_not(None))
        .order_by(runs.c.created_at.desc(), runs.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )


_tags = Several(lambda ids: select(agent_tags).where(agent_tags.c.agent_id.in_(ids)).order_by(agent_tags.c.tag))
_tools = Several(
    lambda ids: (
        select(agent_tools)
        .where(agent_tools.c.agent_id.in_(ids))
        .order_by(agent_tools.c.attached_at, agent_tools.c.tool_id)
    )
)
_blocks = Several(
    lambda ids: (
        select(*BLOCK_COLUMNS, agent_blocks.c.access, agent_blocks.c.agent_id)
        .join(agent_blocks, agent_blocks.c.block_id == blocks.c.id)
        .where(agent_blocks.c.agent_id.in_(ids))
        .order_by(agent_blocks.c.attached_at, agent_blocks.c.block_id)
    )
)
_ended = runs.alias("ended")
_last_runs = Several(
    lambda ids: (
        select(_ended.c.agent_id, _ended.c.completed_at, _ended.c.started_at, _ended.c.stop_reason)
        .select_from(agents)
        .join(_ended, _ended.c.id == _of_newest_run(runs.c.id))
        .where(agents.c.id.in_(ids))
    )
)


async def tags_of_agents(transaction: Transaction, agent_ids: Sequence[str]) -> Mapping[str, list[str]]:
    """Return each agent's tags, sorted."""
    statement, ids = _tags(agent_ids)
    rows = await transaction.all(statement, **ids)
    return _grouped(rows, lambda row: str(row["tag"]))


async def tools_of_agents(
    transaction: Transaction, agent_ids: Sequence[str], registry: ToolRegistry
) -> Mapping[str, list[Tool]]:
    """Return each agent's tools in the order they were attached.

    Raises:
        Conflict: one has a tool that this server does not know.
    """
    statement, ids = _tools(agent_ids)
    rows = await transaction.all(statement, **ids)
    tool_ids = list(dict.fromkeys(row["tool_id"] for row in rows))
    known = await registry.known(transaction, tool_ids)
    if len(known) < len(tool_ids):  # what was deleted between the two looks is nobody's any more
        for row in await transaction.all(statement, **ids):
            if row["tool_id"] in tool_ids and row["tool_id"] not in known:
                raise unknown_tool(row["agent_id"], row["tool_id"])
    return _grouped([row for row in rows if row["tool_id"] in known], lambda row: known[row["tool_id"]])


async def blocks_of_agents(
    transaction: Transaction, agent_ids: Sequence[str]
) -> Mapping[str, list[tuple[Block, Access]]]:
    """Return each agent's blocks with its access to them, in the order they were attached."""
    statement, ids = _blocks(agent_ids)
    return _grouped(await transaction.all(statement, **ids), lambda row: (Block.from_row(row), row["access"]))


async def last_runs(transaction: Transaction, agent_ids: Sequence[str]) -> Mapping[str, EndedRun]:
    """Return the newest run of each agent that has ended."""
    statement, ids = _last_runs(agent_ids)
    rows = await transaction.all(statement, **ids)
    return {row["agent_id"]: EndedRun(row["completed_at"], row["started_at"], row["stop_reason"]) for row in rows}


async def list_tags(transaction: Transaction, page: Page, search: str | None) -> list[str]:
    """Return a page of all tags of agents and blocks, by name; a cursor is a tag."""
    every = select(agent_tags.c.tag)
    every_block = select(block_tags.c.tag)
    tags = every.union(every_block).subquery()
    statement = select(tags.c.tag)
    if search:
        statement = statement.where(tags.c.tag.icontains(search, autoescape=True))
    ascending = page.order == "asc"
    for cursor, forwards in ((page.after, True), (page.before, False)):
        if cursor is not None:
            statement = statement.where(tags.c.tag > cursor if ascending == forwards else tags.c.tag < cursor)
    statement = statement.order_by(tags.c.tag.asc() if ascending else tags.c.tag.desc()).limit(page.limit)
    return [row["tag"] for row in await transaction.all(statement)]


def _filtered(statement: Select[Any], wanted: AgentFilter) -> Select[Any]:
    conditions = [is_kept(agents.c.id), or_(agents.c.hidden.is_not(True), ~_IS_EPHEMERAL)]
    if wanted.agent_id is not None:
        conditions.append(agents.c.id == wanted.agent_id)
    if wanted.name is not None:
        conditions.append(agents.c.name == wanted.name)
    if wanted.query_text:
        conditions.append(agents.c.name.icontains(wanted.query_text, autoescape=True))
    if wanted.tags:
        conditions.append(agents.c.id.in_(tagged(agent_tags.c.agent_id, wanted.tags, every=wanted.match_all_tags)))
    if wanted.last_stop_reason is not None:
        conditions.append(_of_newest_run(runs.c.stop_reason) == wanted.last_stop_reason)
    if wanted.project_id is not None:
        conditions.append(is_in_project(agents.c.project_id, wanted.project_id))
    for name in ("template_id", "base_template_id"):
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(agents.c[name] == value)
    if wanted.created_by_id is not None:  # each organisation has one user (`identifiers.user_of`)
        conditions.append(agents.c.organization_id == f"org-{wanted.created_by_id.removeprefix('user-')}")
    if wanted.identity_id is not None or wanted.identifier_keys:
        held = held_by(identity_agents.c.agent_id, wanted.identity_id, wanted.identifier_keys)
        conditions.append(agents.c.id.in_(held))
    return statement.where(*conditions)


def _grouped(rows: Sequence[Row], value_of: Any) -> Mapping[str, list[Any]]:
    grouped: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows:
        grouped[row["agent_id"]].append(value_of(row))
    return grouped
