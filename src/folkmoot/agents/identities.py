"""Identities: the people and organisations for whom a program keeps agents and blocks.

A program names an identity by a key of its own, so that it finds what belongs to somebody without keeping identifiers.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import ColumnElement, Select, Table, bindparam, delete, select, update

from folkmoot.agents.agents import existing_blocks, find_agent
from folkmoot.errors import Conflict, NotFound
from folkmoot.identifiers import new_id
from folkmoot.memory.attachments import BLOCK_COLUMNS
from folkmoot.memory.blocks import Block, find_block
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page, leave_places, leaving
from folkmoot.store.projects import is_in_project
from folkmoot.store.several import Several
from folkmoot.store.tables import agents, blocks, identities, identity_agents, identity_blocks

IdentityType: TypeAlias = Literal["org", "user", "other"]


@dataclass(frozen=True, slots=True)
class Identity:
    """For whom something is kept. Times are in microseconds."""

    id: str
    organization_id: str
    identifier_key: str
    name: str
    identity_type: IdentityType
    project_id: str | None
    properties: Sequence[Mapping[str, Any]]
    """Each with `key`, `value` and `type`; a key stands once."""

    @classmethod
    def from_row(cls, row: Row) -> Identity:
        """Read a row of the table."""
        return cls(
            id=row["id"],
            organization_id=row["organization_id"],
            identifier_key=row["identifier_key"],
            name=row["name"],
            identity_type=row["identity_type"],
            project_id=row["project_id"] or None,
            properties=json.loads(row["properties"]),
        )


@dataclass(frozen=True, slots=True)
class IdentityFilter:
    """Which identities are wanted; what is None does not matter."""

    name: str | None = None
    """A part of the name."""

    identifier_key: str | None = None
    identity_type: str | None = None
    project_id: str | None = None


@dataclass(frozen=True, slots=True)
class Holdings:
    """What shall belong to an identity; what is None stays as it is."""

    agent_ids: Sequence[str] | None = None
    block_ids: Sequence[str] | None = None


_by_id = select(identities).where(identities.c.id == bindparam("identity_id"))
_by_id_locked = _by_id.with_for_update()
_leaving = leaving(identities, identities.c.id == bindparam("identity_id"))
_same_key = select(identities.c.id).where(
    identities.c.identifier_key == bindparam("key"), identities.c.project_id == bindparam("project")
)


async def create_identity(
    transaction: Transaction, fields: Mapping[str, Any], properties: Sequence[Mapping[str, Any]], holdings: Holdings
) -> Identity:
    """Make an identity.

    Args:
        transaction: where to write.
        fields: `identifier_key`, `name`, `identity_type` and `project_id`.
        properties: what is known of it, each with `key`, `value` and `type`.
        holdings: what belongs to it.

    Raises:
        Conflict: there is one of this key in the project.
        NotFound: an agent or a block does not exist.
    """
    await _refuse_same_key(transaction, {**fields, "project_id": fields["project_id"] or "", "id": ""})
    return await _make(transaction, fields, properties, holdings)


async def _make(
    transaction: Transaction, fields: Mapping[str, Any], properties: Sequence[Mapping[str, Any]], holdings: Holdings
) -> Identity:
    now = clock.now()
    row = {**fields, "project_id": fields["project_id"] or "", "id": new_id("identity")}
    row |= {"created_at": now, "updated_at": now, "properties": json.dumps(_by_key([], properties))}
    await transaction.insert(identities, [row])
    await _hold(transaction, row["id"], holdings)
    return await find_identity(transaction, row["id"])


async def upsert_identity(
    transaction: Transaction, fields: Mapping[str, Any], properties: Sequence[Mapping[str, Any]] | None, holds: Holdings
) -> Identity:
    """Change the identity of a key and project, or make it; raises what `create_identity` and `update_identity` do."""
    key, project = fields["identifier_key"], fields.get("project_id") or ""
    row = await transaction.first(_same_key, key=key, project=project)
    if row is None:
        return await _make(transaction, fields, properties or (), holds)
    changes = {name: fields[name] for name in ("name", "identity_type")}
    return await update_identity(transaction, row["id"], changes, properties, holds)


async def find_identity(transaction: Transaction, identity_id: str, *, lock: bool = False) -> Identity:
    """Return an identity; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such identity.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, identity_id=identity_id)
    if row is None:
        raise NotFound(f"Identity with id '{identity_id}' not found")
    return Identity.from_row(row)


async def update_identity(
    transaction: Transaction,
    identity_id: str,
    changes: Mapping[str, Any],
    properties: Sequence[Mapping[str, Any]] | None,
    holdings: Holdings,
) -> Identity:
    """Change an identity; properties of other keys than those named stay.

    Raises:
        NotFound: there is no such identity, or an agent or a block does not exist.
        Conflict: another one of its project has the new key.
    """
    before = await find_identity(transaction, identity_id, lock=True)
    after = {"identifier_key": before.identifier_key, "project_id": before.project_id, **changes, "id": identity_id}
    await _refuse_same_key(transaction, after)
    values = {**changes, "updated_at": clock.now()}
    if properties is not None:
        values["properties"] = json.dumps(_by_key(before.properties, properties))
    await transaction.run(update(identities).where(identities.c.id == identity_id).values(**values))
    await _hold(transaction, identity_id, holdings)
    return await find_identity(transaction, identity_id)


async def replace_properties(
    transaction: Transaction, identity_id: str, properties: Sequence[Mapping[str, Any]]
) -> Identity:
    """Make these all that is known of an identity.

    Raises:
        NotFound: there is no such identity.
    """
    await find_identity(transaction, identity_id, lock=True)
    values = {"properties": json.dumps(_by_key([], properties)), "updated_at": clock.now()}
    await transaction.run(update(identities).where(identities.c.id == identity_id).values(**values))
    return await find_identity(transaction, identity_id)


async def delete_identity(transaction: Transaction, identity_id: str) -> None:
    """Delete an identity; its agents and blocks stay.

    Raises:
        NotFound: there is no such identity.
    """
    await find_identity(transaction, identity_id, lock=True)
    await leave_places(transaction, _leaving, identity_id=identity_id)
    await transaction.run(delete(identities).where(identities.c.id == identity_id))


async def list_identities(transaction: Transaction, wanted: IdentityFilter, page: Page) -> list[Identity]:
    """Return a page of the identities, by time of creation."""
    statement = select(identities).where(*_conditions(wanted))
    return [Identity.from_row(row) for row in await fetch_page(transaction, statement, identities, page)]


async def count_identities(transaction: Transaction) -> int:
    """Return how many identities there are."""
    return await count_rows(transaction, count_of(identities))


async def attach_agent(transaction: Transaction, identity_id: str, agent_id: str) -> None:
    """Note that an agent belongs to an identity; once more changes nothing.

    Raises:
        NotFound: there is no such agent or identity.
    """
    await find_agent(transaction, agent_id)
    await find_identity(transaction, identity_id, lock=True)
    await _add(transaction, identity_agents, "agent_id", identity_id, [agent_id])


async def detach_agent(transaction: Transaction, identity_id: str, agent_id: str) -> None:
    """Note that an agent does not belong to an identity; once more changes nothing.

    Raises:
        NotFound: there is no such agent or identity.
    """
    await find_agent(transaction, agent_id)
    await find_identity(transaction, identity_id, lock=True)
    held = identity_agents.c
    await transaction.run(delete(identity_agents).where(held.identity_id == identity_id, held.agent_id == agent_id))


async def attach_block(transaction: Transaction, identity_id: str, block_id: str) -> Block:
    """Note that a block belongs to an identity, and return the block; once more changes nothing.

    Raises:
        NotFound: there is no such block or identity.
    """
    block = await find_block(transaction, block_id)
    await find_identity(transaction, identity_id, lock=True)
    await _add(transaction, identity_blocks, "block_id", identity_id, [block_id])
    return block


async def detach_block(transaction: Transaction, identity_id: str, block_id: str) -> Block:
    """Note that a block does not belong to an identity, and return the block; once more changes nothing.

    Raises:
        NotFound: there is no such block or identity.
    """
    block = await find_block(transaction, block_id)
    await find_identity(transaction, identity_id, lock=True)
    held = identity_blocks.c
    await transaction.run(delete(identity_blocks).where(held.identity_id == identity_id, held.block_id == block_id))
    return block


async def set_identities(transaction: Transaction, agent_id: str, identity_ids: Sequence[str]) -> None:
    """Make these the identities that an agent belongs to.

    Raises:
        NotFound: one of them does not exist.
    """
    for identity_id in dict.fromkeys(identity_ids):
        await find_identity(transaction, identity_id, lock=True)
    await transaction.run(delete(identity_agents).where(identity_agents.c.agent_id == agent_id))
    rows = [{"identity_id": identity_id, "agent_id": agent_id} for identity_id in dict.fromkeys(identity_ids)]
    await transaction.insert(identity_agents, rows)


_of_agents = Several(
    lambda ids: (
        select(identities, identity_agents.c.agent_id)
        .join(identity_agents, identity_agents.c.identity_id == identities.c.id)
        .where(identity_agents.c.agent_id.in_(ids))
        .order_by(identities.c.created_at, identities.c.id)
    )
)


async def identities_of_agents(transaction: Transaction, agent_ids: Sequence[str]) -> Mapping[str, list[Identity]]:
    """Return the identities that each of these agents belongs to, the oldest first."""
    statement, ids = _of_agents(agent_ids)
    found: defaultdict[str, list[Identity]] = defaultdict(list)
    for row in await transaction.all(statement, **ids):
        found[row["agent_id"]].append(Identity.from_row(row))
    return found


async def agents_of_identity(transaction: Transaction, identity_id: str, page: Page) -> list[str]:
    """Return a page of the identifiers of an identity's agents, by the agents' time of creation.

    Raises:
        NotFound: there is no such identity.
    """
    await find_identity(transaction, identity_id)
    statement = _held(select(agents.c.id, agents.c.created_at), agents, identity_agents, "agent_id", identity_id)
    return [row["id"] for row in await fetch_page(transaction, statement, agents, page)]


async def blocks_of_identity(transaction: Transaction, identity_id: str, page: Page) -> list[Block]:
    """Return a page of an identity's blocks, by the blocks' time of creation.

    Raises:
        NotFound: there is no such identity.
    """
    await find_identity(transaction, identity_id)
    statement = _held(select(*BLOCK_COLUMNS), blocks, identity_blocks, "block_id", identity_id)
    return [Block.from_row(row) for row in await fetch_page(transaction, statement, blocks, page)]


def _held(statement: Select[Any], table: Table, holders: Table, column: str, identity_id: str) -> Select[Any]:
    of_identity = select(holders.c[column]).where(holders.c.identity_id == identity_id)
    return statement.where(table.c.id.in_(of_identity), is_kept(table.c.id))


def _conditions(wanted: IdentityFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.project_id is not None:
        conditions.append(is_in_project(identities.c.project_id, wanted.project_id))
    for name in ("identifier_key", "identity_type"):
        if getattr(wanted, name) is not None:
            conditions.append(identities.c[name] == getattr(wanted, name))
    if wanted.name:
        conditions.append(identities.c.name.icontains(wanted.name, autoescape=True))
    return conditions


async def _refuse_same_key(transaction: Transaction, fields: Mapping[str, Any]) -> None:
    key, project = fields["identifier_key"], fields.get("project_id")
    row = await transaction.first(_same_key, key=key, project=project or "")
    if row is not None and row["id"] != fields["id"]:
        where = f" in project {project!r}" if project else ""
        raise Conflict(
            f"identifier_key: {key!r} is the key of {row['id']}{where} already. "
            "Choose another one, or change that one with PUT /v1/identities."
        )


async def _hold(transaction: Transaction, identity_id: str, holdings: Holdings) -> None:
    """Make the agents and blocks that are named those of the identity."""
    if holdings.agent_ids is not None:
        for agent_id in dict.fromkeys(holdings.agent_ids):
            await find_agent(transaction, agent_id)
        await transaction.run(delete(identity_agents).where(identity_agents.c.identity_id == identity_id))
        await _add(transaction, identity_agents, "agent_id", identity_id, holdings.agent_ids)
    if holdings.block_ids is not None:
        await existing_blocks(transaction, holdings.block_ids)
        await transaction.run(delete(identity_blocks).where(identity_blocks.c.identity_id == identity_id))
        await _add(transaction, identity_blocks, "block_id", identity_id, holdings.block_ids)


async def _add(transaction: Transaction, holders: Table, column: str, identity_id: str, ids: Sequence[str]) -> None:
    held = await transaction.all(
        select(holders.c[column]).where(holders.c.identity_id == identity_id, holders.c[column].in_(list(ids)))
    )
    there = {row[column] for row in held}
    rows = [{"identity_id": identity_id, column: each} for each in dict.fromkeys(ids) if each not in there]
    await transaction.insert(holders, rows)


def _by_key(before: Sequence[Mapping[str, Any]], properties: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return properties of before with new ones, which take the place of those of the same key."""
    return list({each["key"]: each for each in (*before, *properties)}.values())
