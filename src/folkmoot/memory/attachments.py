"""Which agent has which block, under which label, with which access."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sqlalchemy import bindparam, delete, select, update

from folkmoot.errors import Conflict, NotFound
from folkmoot.memory.authors import Author
from folkmoot.memory.departures import note_departure
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.tables import agent_blocks, agents, block_tags, blocks, conversation_blocks
from folkmoot.store.tags import tags_of

Access: TypeAlias = Literal["write", "append", "read"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """One agent's hold of one block: it may write it, only insert into it, or only read it."""

    agent_id: str
    block_id: str
    label: str
    access: Access

    @classmethod
    def from_row(cls, row: Row) -> Attachment:
        """Read a row of the agent_blocks table."""
        return cls(row["agent_id"], row["block_id"], row["label"], row["access"])


TAGS = tags_of(block_tags.c.block_id, blocks.c.id)

BLOCK_COLUMNS = (*blocks.c, TAGS)
"""What a block is read from: its row, and its tags with their places."""

_agent = select(agents.c.id).where(agents.c.id == bindparam("agent_id"), is_kept(agents.c.id))
_lock_agent = _agent.with_for_update(key_share=True)
_of_agent = (
    select(agent_blocks)
    .where(agent_blocks.c.agent_id == bindparam("agent_id"))
    .order_by(agent_blocks.c.attached_at, agent_blocks.c.block_id)
)
_blocks_of_agent = (
    select(*BLOCK_COLUMNS, agent_blocks.c.access)
    .join(
        agent_blocks,
        agent_blocks.c.block_id == blocks.c.id,
    )
    .where(agent_blocks.c.agent_id == bindparam("agent_id"))
    .order_by(agent_blocks.c.attached_at, agent_blocks.c.block_id)
)
_blocks_of_conversation = (
    select(*BLOCK_COLUMNS, conversation_blocks.c.access)
    .join(
        conversation_blocks,
        conversation_blocks.c.block_id == blocks.c.id,
    )
    .where(
        conversation_blocks.c.conversation_id == bindparam("conversation_id"),
    )
    .order_by(blocks.c.created_at, blocks.c.id)
)


_lock_blocks = (
    select(blocks.c.id)
    .join(
        agent_blocks,
        agent_blocks.c.block_id == blocks.c.id,
    )
    .where(agent_blocks.c.agent_id == bindparam("agent_id"))
    .order_by(blocks.c.id)
    .with_for_update(of=blocks, key_share=True)
)


def topic(agent_id: str) -> str:
    """Return the signal that a commit of this agent's attachments gives."""
    return f"attachments:{agent_id}"


async def attachments_of(transaction: Transaction, agent_id: str) -> list[Attachment]:
    """Return the agent's attachments in the order they were made."""
    return [Attachment.from_row(row) for row in await transaction.all(_of_agent, agent_id=agent_id)]


async def attached_rows(transaction: Transaction, agent_id: str, conversation_id: str | None = None) -> Sequence[Row]:
    """Return the rows of the agent's blocks, each with the attachment's `access`, in the order they were attached.

    In a conversation that has its own copy of a block, that copy stands in the place of the agent's block of its label.
    """
    rows = await transaction.all(_blocks_of_agent, agent_id=agent_id)
    if conversation_id is None or conversation_id == agent_id:
        return rows
    own = {row["label"]: row for row in await isolated_rows(transaction, conversation_id)}
    return [*(own.pop(row["label"], row) for row in rows), *own.values()]


async def isolated_rows(transaction: Transaction, conversation_id: str) -> Sequence[Row]:
    """Return the rows of the conversation's own blocks, each with the conversation's `access`."""
    return await transaction.all(_blocks_of_conversation, conversation_id=conversation_id)


async def agent_exists(transaction: Transaction, agent_id: str) -> bool:
    """Tell whether there is such an agent."""
    return await transaction.first(_agent, agent_id=agent_id) is not None


async def hold_agent(transaction: Transaction, agent_id: str) -> None:
    """Lock the agent, so that nobody gives it anything, takes anything from it or deletes it meanwhile.

    Raises:
        NotFound: there is no such agent.
    """
    if await transaction.first(_lock_agent, agent_id=agent_id) is None:
        raise NotFound(f"Agent with ID {agent_id} not found")


async def lock_blocks(transaction: Transaction, agent_id: str) -> None:
    """Lock all of the agent's blocks in one order, so that two steps that edit several never wait for each other."""
    await transaction.all(_lock_blocks, agent_id=agent_id)


async def attach(transaction: Transaction, agent_id: str, block_id: str, access: Access | None = None) -> None:
    """Attach the block to the agent; attaching it again only changes its access, when one is named.

    Raises:
        NotFound: there is no such agent or block.
        Conflict: the agent has another block of the same label.
    """
    await hold_agent(transaction, agent_id)
    block = await transaction.first(select(blocks.c.label).where(blocks.c.id == block_id))
    if block is None:
        raise NotFound(f"Block with id '{block_id}' not found")
    existing = await attachments_of(transaction, agent_id)
    transaction.signal(topic(agent_id))
    if any(attachment.block_id == block_id for attachment in existing):
        if access is not None:
            await _set_access(transaction, agent_id, block_id, access)
        return
    for attachment in existing:
        if attachment.label == block["label"]:
            raise Conflict(
                f"Agent {agent_id} already has a block labelled {block['label']!r}: {attachment.block_id}. "
                f"Detach it before you attach {block_id}, or give one of them another label."
            )
    await transaction.insert(
        agent_blocks,
        [
            {
                "agent_id": agent_id,
                "block_id": block_id,
                "label": block["label"],
                "access": access or "write",
                "attached_at": clock.now(),
            }
        ],
    )


async def detach(transaction: Transaction, agent_id: str, block_id: str, author: Author) -> None:
    """Take the block out of the agent's context; the block itself stays.

    Raises:
        NotFound: the agent does not have it.
    """
    this = (agent_blocks.c.agent_id == agent_id, agent_blocks.c.block_id == block_id)
    held = await transaction.first(select(agent_blocks.c.label).where(*this))
    if held is None:
        raise NotFound(f"Block {block_id} is not attached to agent {agent_id}.")
    await transaction.run(delete(agent_blocks).where(*this))
    await note_departure(transaction, "block", block_id, held["label"], author, agent_id)
    transaction.signal(topic(agent_id))


async def relabel(transaction: Transaction, block_id: str, label: str) -> None:
    """Follow a block's new label in every attachment of it.

    Raises:
        Conflict: an agent has another block of that label.
    """
    mine = agent_blocks.alias()
    taken = await transaction.first(
        select(agent_blocks.c.agent_id, agent_blocks.c.block_id)
        .join(
            mine,
            mine.c.agent_id == agent_blocks.c.agent_id,
        )
        .where(
            mine.c.block_id == block_id,
            agent_blocks.c.block_id != block_id,
            agent_blocks.c.label == label,
        )
        .limit(1)
    )
    if taken is not None:
        raise Conflict(
            f"label: agent {taken['agent_id']} has both {block_id} and {taken['block_id']}, which is already "
            f"labelled {label!r}. Choose another label."
        )
    await transaction.run(update(agent_blocks).where(agent_blocks.c.block_id == block_id).values(label=label))


async def _set_access(transaction: Transaction, agent_id: str, block_id: str, access: Access) -> None:
    await transaction.run(
        update(agent_blocks)
        .where(
            agent_blocks.c.agent_id == agent_id,
            agent_blocks.c.block_id == block_id,
        )
        .values(access=access)
    )
