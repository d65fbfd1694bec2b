"""Deleting what may be large, an agent, a conversation, its messages or a block, in pieces: noted first, swept behind.

Small things go in one transaction. Of a large one the first transaction notes the deletion, from where on nobody sees
it; each further one deletes a piece, and the last one what is left and the note. Other requests run between two pieces.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import bindparam, case, delete, func, select

from folkmoot.agents.agents import delete_agent, find_agent
from folkmoot.agents.conversations import check_deletable, delete_conversation
from folkmoot.conversations.conversations import find_conversation
from folkmoot.conversations.listing import clear_context
from folkmoot.memory import attachments, blocks
from folkmoot.memory.blocks import delete_block, find_block
from folkmoot.store.deletions import Deletion, drop_note, note_deletion, unfinished_deletions
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.pieces import ROWS, Pieces
from folkmoot.store.tables import (
    agent_blocks,
    block_readers,
    block_versions,
    conversation_blocks,
    conversations,
    messages,
)

CONVERSATIONS = 50
"""Conversations of an agent that are looked at for one piece."""

_messages = Pieces(
    messages,
    (messages.c.conversation_id == bindparam("conversation_id"))
    & messages.c.sequence.between(bindparam("first"), bindparam("last")),
    ("sequence",),
    func.length(messages.c.search_text),
)
_readers = Pieces(
    block_readers, block_readers.c.block_id == bindparam("deleted_id"), ("version", "created_at", "step_id")
)
_versions = Pieces(
    block_versions,
    block_versions.c.block_id == bindparam("deleted_id"),
    ("version",),
    case((block_versions.c.text.is_not(None), block_versions.c.length), else_=0),
)
_threads = (
    select(conversations.c.id)
    .where(conversations.c.agent_id == bindparam("agent_id"), conversations.c.id != conversations.c.agent_id)
    .order_by(conversations.c.created_at, conversations.c.id)
    .limit(CONVERSATIONS)
)
_LAST = 2**62


async def remove_agent(store: Store, agent_id: str) -> None:
    """Delete an agent with its conversations; its blocks stay, except for copies that its conversations had.

    Raises:
        NotFound: there is no such agent.
    """
    await _remove(store, Deletion("agent", agent_id))


async def remove_conversation(store: Store, conversation_id: str) -> None:
    """Delete a conversation with its messages and the blocks that it has for itself.

    Raises:
        NotFound: there is no such conversation.
        BadRequest: it is its agent's main conversation.
    """
    await _remove(store, Deletion("conversation", conversation_id))


async def remove_messages(store: Store, conversation_id: str) -> None:
    """Delete every message of a conversation but its system message, for good; search finds them no more.

    Raises:
        NotFound: there is no such conversation.
    """
    await _remove(store, Deletion("reset", conversation_id))


async def remove_block(store: Store, block_id: str) -> None:
    """Delete a block with its history; agents lose it from their context.

    Raises:
        NotFound: there is no such block.
    """
    await _remove(store, Deletion("block", block_id))


async def finish_deletions(store: Store) -> None:
    """Finish what processes that are gone have begun to delete, for every organisation."""
    for deletion in await store.everywhere.read(unfinished_deletions):
        await _sweep(store.of(deletion.organization_id), deletion)


async def _remove(store: Store, wanted: Deletion) -> None:
    async def begin(transaction: Transaction) -> Deletion | None:
        deletion = await _begin(transaction, wanted)
        if await _delete_piece(transaction, deletion):
            await _finish(transaction, deletion)
            return None
        await note_deletion(transaction, deletion)
        await _hide(transaction, deletion)
        return deletion

    if (begun := await store.write(begin)) is not None:
        await asyncio.shield(_sweep(store, begun))  # it goes on when the client goes away


async def _sweep(store: Store, deletion: Deletion) -> None:
    async def go_on(transaction: Transaction) -> bool:
        if not await _delete_piece(transaction, deletion):
            return False
        await _finish(transaction, deletion)
        await drop_note(transaction, deletion)
        return True

    while not await store.write(go_on):
        await asyncio.sleep(0)


async def _begin(transaction: Transaction, wanted: Deletion) -> Deletion:
    """Lock what is to be deleted; a reset is told how far it goes, and the conversation begins anew behind it."""
    if wanted.kind == "agent":
        await find_agent(transaction, wanted.id, lock=True)
    elif wanted.kind == "block":
        await find_block(transaction, wanted.id, lock=True)
    elif wanted.kind == "conversation":
        check_deletable(await find_conversation(transaction, wanted.id, lock=True))
    else:
        conversation = await find_conversation(transaction, wanted.id, lock=True)
        await clear_context(transaction, conversation)
        return Deletion("reset", wanted.id, conversation.next_sequence)
    return wanted


async def _hide(transaction: Transaction, deletion: Deletion) -> None:
    """Take away what would show a large thing that is being deleted, beside its note."""
    if deletion.kind == "agent":
        await transaction.run(delete(agent_blocks).where(agent_blocks.c.agent_id == deletion.id))
        transaction.signal(attachments.topic(deletion.id))
    elif deletion.kind == "block":
        for table in (agent_blocks, conversation_blocks):
            await transaction.run(delete(table).where(table.c.block_id == deletion.id))
        transaction.signal(blocks.topic(deletion.id))


async def _delete_piece(transaction: Transaction, deletion: Deletion) -> bool:
    """Delete a piece, and tell whether what is left may go in one."""
    if deletion.kind == "block":
        left = await _readers.delete(transaction, deleted_id=deletion.id)
        return bool(left and await _versions.delete(transaction, left, deleted_id=deletion.id))
    if deletion.kind == "conversation":
        return bool(await _delete_messages(transaction, deletion.id, 0, _LAST, ROWS))
    if deletion.kind == "reset":
        return bool(await _delete_messages(transaction, deletion.id, 1, deletion.before - 1, ROWS))
    left = await _delete_messages(transaction, deletion.id, 0, _LAST, ROWS)
    threads = await transaction.all(_threads, agent_id=deletion.id) if left else ()
    for thread in threads:
        left = await _delete_messages(transaction, thread["id"], 0, _LAST, left)
        if not left:
            return False
        await delete_conversation(transaction, thread["id"])
    return bool(left) and len(threads) < CONVERSATIONS


async def _delete_messages(transaction: Transaction, conversation_id: str, first: int, last: int, most: int) -> int:
    return await _messages.delete(transaction, most, conversation_id=conversation_id, first=first, last=last)


async def _finish(transaction: Transaction, deletion: Deletion) -> None:
    """Delete the thing itself; another process may have been faster."""
    finish: dict[str, Any] = {"agent": delete_agent, "conversation": delete_conversation, "block": delete_block}
    if deletion.kind in finish:
        await finish[deletion.kind](transaction, deletion.id)
