"""Lists of blocks, by everything the wire format can ask for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, bindparam, func, select, tuple_

from folkmoot.memory.attachments import BLOCK_COLUMNS, TAGS, Access
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import Block
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.projects import is_in_project
from folkmoot.store.tables import (
    agent_blocks,
    agents,
    block_tags,
    blocks,
    conversation_blocks,
    identities,
    identity_blocks,
)
from folkmoot.store.tags import tagged, tags_in_order


@dataclass(frozen=True, slots=True)
class BlockFilter:
    """Which blocks are wanted; what is None or empty does not matter."""

    label: str | None = None
    template_name: str | None = None
    templates_only: bool = False
    project_id: str | None = None
    tags: Sequence[str] = ()
    match_all_tags: bool = False
    label_search: str | None = None
    description_search: str | None = None
    value_search: str | None = None
    agents_more_than: int | None = None
    agents_fewer_than: int | None = None
    agents_exactly: Sequence[int] = ()
    identity_id: str | None = None
    identifier_keys: Sequence[str] = ()
    """Keys of identities, one of which a block belongs to."""


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """A block as a list shows it: without its text, of which it knows the length."""

    id: str
    label: str
    description: str | None
    length: int
    limit: int
    read_only: bool
    tags: Sequence[str]
    version: int
    created_at: int
    updated_at: int
    updated_by: Author

    @classmethod
    def from_row(cls, row: Row) -> BlockEntry:
        """Read a row of the blocks table as `_ENTRY_COLUMNS` select it."""
        return cls(
            id=row["id"],
            label=row["label"],
            description=row["description"],
            length=row["length"],
            limit=row["character_limit"],
            read_only=bool(row["read_only"]),
            tags=tags_in_order(row["tags"]),
            version=row["version"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            updated_by=Author.from_json(row["updated_by"]),
        )


_ENTRY_COLUMNS = (
    blocks.c.id,
    blocks.c.label,
    blocks.c.description,
    func.length(blocks.c.value).label("length"),
    blocks.c.character_limit,
    blocks.c.read_only,
    blocks.c.version,
    blocks.c.created_at,
    blocks.c.updated_at,
    blocks.c.updated_by,
    TAGS,
)


async def list_entries(transaction: Transaction, wanted: BlockFilter, page: Page) -> list[BlockEntry]:
    """Return a page of the blocks as `list_blocks` does, without their texts, which may be megabytes."""
    rows = await fetch_page(transaction, _filtered(select(*_ENTRY_COLUMNS), wanted), blocks, page)
    return [BlockEntry.from_row(row) for row in rows]


async def list_blocks(transaction: Transaction, wanted: BlockFilter, page: Page) -> list[Block]:
    """Return a page of the blocks, by time of creation."""
    rows = await fetch_page(transaction, _filtered(select(*BLOCK_COLUMNS), wanted), blocks, page)
    return [Block.from_row(row) for row in rows]


async def count_blocks(transaction: Transaction, wanted: BlockFilter) -> int:
    """Return how many blocks there are."""
    return await count_rows(transaction, _filtered(count_of(blocks), wanted))


async def blocks_labelled(transaction: Transaction, name: str) -> list[str]:
    """Return the identifiers of the blocks that a name may mean: an identifier, or a label; the oldest first.

    Copies that conversations have of blocks are never meant by their label.
    """
    found = await transaction.all(_of_id, name=name) if name.startswith("block-") else ()
    return [row["id"] for row in found or await transaction.all(_of_label, name=name)]


_copies = select(conversation_blocks.c.block_id)
_of_id = select(blocks.c.id).where(blocks.c.id == bindparam("name"), is_kept(blocks.c.id))
_of_label = (
    select(blocks.c.id)
    .where(blocks.c.label == bindparam("name"), is_kept(blocks.c.id), blocks.c.id.not_in(_copies))
    .order_by(blocks.c.created_at)
    .limit(10)
)


async def reachable_blocks(
    transaction: Transaction,
    block_ids: Collection[str] | None,
    limit: int,
    label_part: str = "",
    after: str | None = None,
) -> list[BlockEntry]:
    """Return blocks by their time of creation, without their texts, and without the copies that conversations have.

    Args:
        transaction: where to read.
        block_ids: the only ones that are meant; None for all.
        limit: how many.
        label_part: what stands in the label of each.
        after: the identifier of the block that the ones before ended with; one that is gone begins anew.
    """
    statement = _shared(_ENTRY_COLUMNS, block_ids)
    if label_part:
        statement = statement.where(blocks.c.label.icontains(label_part, autoescape=True))
    if after is not None:
        place = await transaction.first(select(blocks.c.created_at).where(blocks.c.id == after))
        if place is not None:
            statement = statement.where(tuple_(blocks.c.created_at, blocks.c.id) > tuple_(place["created_at"], after))
    rows = await transaction.all(statement.order_by(blocks.c.created_at, blocks.c.id).limit(limit))
    return [BlockEntry.from_row(row) for row in rows]


async def reachable_labels(transaction: Transaction, block_ids: Collection[str] | None, limit: int) -> list[str]:
    """Return the labels of the first of `reachable_blocks`."""
    statement = _shared((blocks.c.label,), block_ids).order_by(blocks.c.created_at, blocks.c.id)
    return [row["label"] for row in await transaction.all(statement.limit(limit))]


async def blocks_containing(
    transaction: Transaction, block_ids: Collection[str] | None, text: str, limit: int
) -> list[Block]:
    """Return blocks in whose text something stands, the newest change first; `block_ids` as in `reachable_blocks`."""
    statement = _shared(BLOCK_COLUMNS, block_ids).where(blocks.c.value.icontains(text, autoescape=True))
    rows = await transaction.all(statement.order_by(blocks.c.updated_at.desc(), blocks.c.id).limit(limit))
    return [Block.from_row(row) for row in rows]


def _shared(columns: Sequence[ColumnElement[Any]], block_ids: Collection[str] | None) -> Select[Any]:
    """Select columns of blocks but for conversations' copies, only of some where they are named."""
    statement = select(*columns).where(is_kept(blocks.c.id), blocks.c.id.not_in(_copies))
    return statement if block_ids is None else statement.where(blocks.c.id.in_(list(block_ids)))


async def labels_of(transaction: Transaction, block_ids: Collection[str]) -> dict[str, str]:
    """Return the labels of blocks, of those that are there."""
    if not block_ids:
        return {}
    statement = select(blocks.c.id, blocks.c.label).where(is_kept(blocks.c.id), blocks.c.id.in_(list(block_ids)))
    return {row["id"]: row["label"] for row in await transaction.all(statement)}


async def agents_of_block(transaction: Transaction, block_id: str, page: Page) -> list[str]:
    """Return a page of the identifiers of the agents that have the block, by the agents' time of creation."""
    statement = (
        select(agents.c.id, agents.c.created_at)
        .join(
            agent_blocks,
            agent_blocks.c.agent_id == agents.c.id,
        )
        .where(agent_blocks.c.block_id == block_id)
    )
    return [row["id"] for row in await fetch_page(transaction, statement, agents, page)]


async def attached_blocks(transaction: Transaction, agent_id: str, page: Page) -> list[tuple[Block, Access]]:
    """Return a page of the agent's blocks, each with the agent's access to it, by the blocks' time of creation."""
    statement = (
        select(*BLOCK_COLUMNS, agent_blocks.c.access)
        .join(
            agent_blocks,
            agent_blocks.c.block_id == blocks.c.id,
        )
        .where(agent_blocks.c.agent_id == agent_id)
    )
    rows = await fetch_page(transaction, statement, blocks, page)
    return [(Block.from_row(row), row["access"]) for row in rows]


def _filtered(statement: Select[Any], wanted: BlockFilter) -> Select[Any]:
    conditions = [is_kept(blocks.c.id)]
    for column, value in (
        (blocks.c.label, wanted.label),
        (blocks.c.template_name, wanted.template_name),
    ):
        if value is not None:
            conditions.append(column == value)
    if wanted.project_id is not None:
        conditions.append(is_in_project(blocks.c.project_id, wanted.project_id))
    if wanted.templates_only:
        conditions.append(blocks.c.is_template.is_(True))
    for column, part in (
        (blocks.c.label, wanted.label_search),
        (blocks.c.description, wanted.description_search),
        (blocks.c.value, wanted.value_search),
    ):
        if part:
            conditions.append(column.icontains(part, autoescape=True))
    if wanted.tags:
        conditions.append(blocks.c.id.in_(tagged(block_tags.c.block_id, wanted.tags, every=wanted.match_all_tags)))
    agent_count = _agent_count()
    if wanted.agents_more_than is not None:
        conditions.append(agent_count > wanted.agents_more_than)
    if wanted.agents_fewer_than is not None:
        conditions.append(agent_count < wanted.agents_fewer_than)
    if wanted.agents_exactly:
        conditions.append(agent_count.in_(list(wanted.agents_exactly)))
    if wanted.identity_id is not None or wanted.identifier_keys:
        held = held_by(identity_blocks.c.block_id, wanted.identity_id, wanted.identifier_keys)
        conditions.append(blocks.c.id.in_(held))
    return statement.where(*conditions)


def held_by(held: Column[str], identity_id: str | None, keys: Sequence[str]) -> Select[Any]:
    """Return a statement for what belongs to an identity, known by its identifier, one of some keys, or both."""
    holders = held.table
    statement = select(held)
    if identity_id is not None:
        statement = statement.where(holders.c.identity_id == identity_id)
    if keys:
        of_keys = select(identities.c.id).where(identities.c.identifier_key.in_(list(keys)))
        statement = statement.where(holders.c.identity_id.in_(of_keys))
    return statement


def _agent_count() -> Any:
    return (
        select(func.count()).select_from(agent_blocks).where(agent_blocks.c.block_id == blocks.c.id).scalar_subquery()
    )
