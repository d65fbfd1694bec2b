"""An agent's conversations. The main one has the agent's own identifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, select, update

from folkmoot.conversations.messages import Message, store_messages
from folkmoot.errors import NotFound
from folkmoot.identifiers import ORGANIZATION
from folkmoot.store import clock
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.tables import conversations


@dataclass(frozen=True, slots=True)
class Conversation:
    """A thread of messages. In context are its system message (sequence 0) and those from `context_start` on."""

    id: str
    agent_id: str
    next_sequence: int
    context_start: int
    turn_run_id: str | None

    @classmethod
    def from_row(cls, row: Row) -> Conversation:
        """Read a row of the conversations table."""
        return cls(row["id"], row["agent_id"], row["next_sequence"], row["context_start"], row["turn_run_id"])


_by_id = select(conversations).where(
    conversations.c.organization_id == ORGANIZATION, conversations.c.id == bindparam("conversation_id")
)
_by_id_locked = _by_id.with_for_update(key_share=True)
_set_turn = (
    update(conversations)
    .where(conversations.c.organization_id == ORGANIZATION, conversations.c.id == bindparam("conversation_id"))
    .values(turn_run_id=bindparam("run_id"))
)
_append = (
    update(conversations)
    .where(conversations.c.organization_id == ORGANIZATION, conversations.c.id == bindparam("conversation_id"))
    .values(next_sequence=bindparam("sequence"), updated_at=bindparam("now"))
)


async def find_conversation(transaction: Transaction, conversation_id: str, *, lock: bool = False) -> Conversation:
    """Return the conversation; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such conversation.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, conversation_id=conversation_id)
    if row is None:
        if conversation_id.startswith("agent-"):
            raise NotFound(f"Agent with ID {conversation_id} not found")
        raise NotFound(f"Conversation {conversation_id} not found")
    return Conversation.from_row(row)


async def start_conversation(
    transaction: Transaction, agent_id: str, conversation_id: str, first: Sequence[Message]
) -> None:
    """Create a conversation with its first messages, the system message in front."""
    now = clock.now()
    await transaction.insert(
        conversations,
        [
            {
                "organization_id": ORGANIZATION,
                "id": conversation_id,
                "agent_id": agent_id,
                "next_sequence": len(first),
                "context_start": 1,
                "created_at": now,
                "updated_at": now,
            }
        ],
    )
    await store_messages(transaction, agent_id, conversation_id, 0, first)


async def append_messages(transaction: Transaction, conversation_id: str, new: Sequence[Message]) -> list[Message]:
    """Store `new` at the conversation's end and return them with their places in it."""
    conversation = await find_conversation(transaction, conversation_id, lock=True)
    start = conversation.next_sequence
    await store_messages(transaction, conversation.agent_id, conversation_id, start, new)
    await transaction.run(_append, conversation_id=conversation_id, sequence=start + len(new), now=clock.now())
    return [replace(message, sequence=start + position) for position, message in enumerate(new)]


async def set_turn(transaction: Transaction, conversation_id: str, run_id: str | None) -> None:
    """Say whose turn it is in the conversation; None when it is nobody's."""
    await transaction.run(_set_turn, conversation_id=conversation_id, run_id=run_id)
    if run_id is None:
        transaction.signal(turn_topic(conversation_id))


def turn_topic(conversation_id: str) -> str:
    """Return the signal that the end of a turn in this conversation gives."""
    return f"turn:{conversation_id}"
