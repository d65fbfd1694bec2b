"""An agent's conversations. The main one has the agent's own identifier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, bindparam, delete, func, select, update

from folkmoot.conversations.messages import Message, store_messages
from folkmoot.errors import Conflict, NotFound
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import leave_places, leaving
from folkmoot.store.tables import conversations, messages, runs, steps

MAIN_CONVERSATION = "default"
"""How clients name an agent's main conversation, beside the agent."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A prompt that was sent: its tokens as the provider counted them, and its size, which we measured."""

    tokens: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Conversation:
    """A thread of messages. In context are its system message (sequence 0) and those from `context_start` on.

    `context_summary` is what a model reads of the messages between. `configuration` holds the model and the settings
    that the conversation has for itself; times are in microseconds.
    """

    id: str
    organization_id: str
    agent_id: str
    summary: str | None
    context_summary: str | None
    next_sequence: int
    context_start: int
    locked_by_run: str | None
    counted: Counted
    hidden: bool
    archived_at: int | None
    last_message_at: int
    configuration: Mapping[str, Any]
    created_at: int
    updated_at: int

    @classmethod
    def from_row(cls, row: Row) -> Conversation:
        """Read a row of the conversations table."""
        return cls(
            id=row["id"],
            organization_id=row["organization_id"],
            agent_id=row["agent_id"],
            summary=row["summary"],
            context_summary=row["context_summary"],
            next_sequence=row["next_sequence"],
            context_start=row["context_start"],
            locked_by_run=row["locked_by_run"],
            counted=Counted(row["prompt_tokens"], row["prompt_size"]),
            hidden=bool(row["hidden"]),
            archived_at=row["archived_at"],
            last_message_at=row["last_message_at"],
            configuration=json.loads(row["configuration"]),
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )


_this = conversations.c.id == bindparam("conversation_id")
_by_id = select(conversations).where(_this, is_kept(conversations.c.id))
_by_id_locked = _by_id.with_for_update(key_share=True)
_acquire_lock = update(conversations).where(_this).values(locked_by_run=bindparam("run_id"))
_acquire_free_lock = _acquire_lock.where(conversations.c.locked_by_run.is_(None))
_release_lock = (
    update(conversations).where(_this, conversations.c.locked_by_run == bindparam("run_id")).values(locked_by_run=None)
)
_append = (
    update(conversations)
    .where(_this)
    .values(
        next_sequence=bindparam("sequence"),
        prompt_tokens=bindparam("tokens"),
        prompt_size=bindparam("size"),
        last_message_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
_this_message = and_(
    messages.c.conversation_id == bindparam("conversation_id"), messages.c.id == bindparam("message_id")
)
_delete_message = delete(messages).where(_this_message)
# A fork has a message of the same identifier.
_leaving = leaving(messages, _this_message, id=messages.c.conversation_id + messages.c.id)
_set_context = (
    update(conversations)
    .where(_this)
    .values(
        next_sequence=bindparam("sequence"),
        context_start=bindparam("start"),
        context_summary=bindparam("text"),
        updated_at=bindparam("now"),
    )
)


def in_conversation(table: Table, conversation_id: str) -> ColumnElement[bool]:
    """Return the condition that a row, which has an agent too, is of a conversation; `default` is every main one."""
    column = table.c.conversation_id
    return column == (table.c.agent_id if conversation_id == MAIN_CONVERSATION else conversation_id)


def last_run_at(mine: ColumnElement[bool]) -> ColumnElement[int]:
    """Return when the newest run that is over ended, of those of which `mine` is true; 0 when there is none."""
    newest = (
        select(runs.c.completed_at)
        .where(mine, runs.c.completed_at.is_not(None))
        .order_by(runs.c.created_at.desc(), runs.c.id.desc())
        .limit(1)
    )
    return func.coalesce(newest.scalar_subquery(), 0)


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
    transaction: Transaction,
    agent_id: str,
    conversation_id: str,
    first: Sequence[Message],
    *,
    summary: str | None = None,
    context_summary: str | None = None,
    hidden: bool = False,
    configuration: Mapping[str, Any] | None = None,
) -> None:
    """Create a conversation with its first messages, the system message in front."""
    now = clock.now()
    await transaction.insert(
        conversations,
        [
            {
                "id": conversation_id,
                "agent_id": agent_id,
                "summary": summary,
                "context_summary": context_summary,
                "next_sequence": len(first),
                "context_start": 1,
                "prompt_tokens": 0,
                "prompt_size": 0,
                "hidden": hidden,
                "last_message_at": now if len(first) > 1 else 0,
                "configuration": json.dumps(configuration or {}),
                "created_at": now,
                "updated_at": now,
            }
        ],
    )
    await store_messages(transaction, agent_id, conversation_id, 0, first)


async def append_messages(
    transaction: Transaction,
    conversation_id: str,
    new: Sequence[Message],
    run_id: str | None,
    counted: Counted | None = None,
) -> list[Message]:
    """Store `new` at the conversation's end and return them with their places in it.

    Args:
        transaction: where to write.
        conversation_id: which conversation.
        new: the messages.
        run_id: the run whose turn it is; None when it is nobody's.
        counted: the prompt that they answer, when its provider counted it.

    Raises:
        Conflict: the turn is no longer this run's: its process was taken for dead, and another one went on.
    """
    conversation = await require_turn(transaction, conversation_id, run_id)
    start = conversation.next_sequence
    await store_messages(transaction, conversation.agent_id, conversation_id, start, new)
    counted = counted or conversation.counted
    await transaction.run(
        _append,
        conversation_id=conversation_id,
        sequence=start + len(new),
        tokens=counted.tokens,
        size=counted.size,
        now=clock.now(),
    )
    return [replace(message, sequence=start + position) for position, message in enumerate(new)]


async def require_turn(transaction: Transaction, conversation_id: str, run_id: str | None) -> Conversation:
    """Return a conversation, held until the transaction's end, whose turn is a run's, or nobody's.

    Raises:
        Conflict: the turn is no longer this run's: its process was taken for dead, and another one went on.
    """
    conversation = await find_conversation(transaction, conversation_id, lock=True)
    if conversation.locked_by_run != run_id:
        raise Conflict("This run was taken for dead and another one has the turn; nothing of this step was stored.")
    return conversation


async def delete_message(transaction: Transaction, conversation_id: str, message_id: str) -> None:
    """Delete a message from a conversation, and from no fork of it.

    Raises:
        NotFound: there is no such conversation.
        Conflict: a turn of it is under way, which may be reading it.
    """
    conversation = await find_conversation(transaction, conversation_id, lock=True)
    if conversation.locked_by_run is not None:
        raise Conflict(f"A turn of conversation {conversation_id} is under way; cancel it, or wait for its end.")
    await leave_places(transaction, _leaving, conversation_id=conversation_id, message_id=message_id)
    await transaction.run(_delete_message, conversation_id=conversation_id, message_id=message_id)


async def move_context(transaction: Transaction, conversation_id: str, start: int, note: Message) -> Message | None:
    """Let the messages before `start` leave the context; what a model reads of them is the summary that `note` holds.

    Nothing is deleted. `note`, a summary message, is stored at the conversation's end and returned with its place;
    None when another compaction has moved the context as far already, and nothing is changed.
    """
    conversation = await find_conversation(transaction, conversation_id, lock=True)
    if start <= conversation.context_start:
        return None
    place = conversation.next_sequence
    await store_messages(transaction, conversation.agent_id, conversation_id, place, [note])
    await transaction.run(
        _set_context,
        conversation_id=conversation_id,
        sequence=place + 1,
        start=start,
        text=note.body["summary"],
        now=clock.now(),
    )
    return replace(note, sequence=place)


async def acquire_free_lock(transaction: Transaction, conversation_id: str, run_id: str) -> bool:
    """Give a run the conversation's turn; False when it is another run's, or there is no such conversation."""
    return bool(await transaction.run(_acquire_free_lock, conversation_id=conversation_id, run_id=run_id))


async def acquire_lock(transaction: Transaction, conversation_id: str, run_id: str) -> None:
    """Give a run the conversation's turn, whosever it was."""
    await transaction.run(_acquire_lock, conversation_id=conversation_id, run_id=run_id)


async def release_lock(transaction: Transaction, conversation_id: str, run_id: str) -> None:
    """Let the next run have the conversation's turn, if it is this run's."""
    if await transaction.run(_release_lock, conversation_id=conversation_id, run_id=run_id):
        transaction.signal(lock_topic(conversation_id))


def lock_topic(conversation_id: str) -> str:
    """Return the signal that the end of a turn in this conversation gives."""
    return f"turn:{conversation_id}"


async def forget_runs(transaction: Transaction, which: ColumnElement[bool]) -> None:
    """Delete runs, and all that was said in them but is in no conversation: their logs, their traces, failed requests.

    The figures of their steps stay for a time (`Settings.keep_steps`).
    """
    of_these = steps.c.run_id.in_(select(runs.c.id).where(which))
    await transaction.run(update(steps).where(of_these).values(run_deleted_at=clock.now()))
    await transaction.run(delete(runs).where(which))
