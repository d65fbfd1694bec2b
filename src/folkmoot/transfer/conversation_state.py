"""A conversation as it moves: its messages in order, which of them are in context, and the summary of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, select, update

from folkmoot.conversations.conversations import Conversation
from folkmoot.conversations.messages import Message, store_messages
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import conversations, messages

AT_ONCE = 500
"""Messages that are read at once."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """Messages in the order of their places, from 1 on; `context_start` is the place of the first one in context.

    `began_at` is when the system message was written, in microseconds; None where there was none.
    """

    messages: Sequence[Message]
    context_start: int
    summary: str | None
    began_at: int | None = None


def arrange(said: Sequence[Message], in_context: Sequence[str]) -> Arranged:
    """Return messages in the order in which a conversation keeps them: those in context last.

    The system message is not among them, for each server writes its own; a compaction's summary stands where it was
    written, and what it says is what a model reads of the messages before the context.

    Args:
        said: all messages, the oldest first.
        in_context: identifiers of those in context, in the order in which a model reads them.
    """
    first = said[0] if said and said[0].message_type == "system_message" else None
    rest = said if first is None else said[1:]
    return replace(in_order(rest, in_context), began_at=None if first is None else first.created_at)


def in_order(rest: Sequence[Message], in_context: Sequence[str]) -> Arranged:
    """Return messages behind the system message as `arrange` does."""
    places = {identifier: place for place, identifier in enumerate(in_context)}
    summaries = [m for m in rest if m.message_type == "summary_message" and m.id in places]
    is_context = {m.id for m in rest if m.id in places and m.message_type != "summary_message"}
    wanted = [identifier for identifier in places if identifier in is_context]
    start = next((place for place, m in enumerate(rest) if m.id in is_context), len(rest))
    behind = [m for m in rest[start:] if m.message_type != "summary_message"]
    if [m.id for m in behind] != wanted:  # they do not stand together at the end: then they are put there
        before = [m for m in rest if m.id not in is_context]
        context = sorted((m for m in rest if m.id in is_context), key=lambda message: places[message.id])
        rest, start = [*before, *context], len(before)
    summary = summaries[-1].body["summary"] if summaries else None
    return Arranged(rest, start + 1, summary)


_of_conversation = (
    select(messages)
    .where(messages.c.conversation_id == bindparam("of"), messages.c.sequence > bindparam("after"))
    .order_by(messages.c.sequence)
    .limit(AT_ONCE)
)
_set_beginning = (
    update(messages)
    .where(messages.c.conversation_id == bindparam("of"), messages.c.sequence == 0)
    .values(created_at=bindparam("at"))
)
_set_state = (
    update(conversations)
    .where(conversations.c.id == bindparam("of"))
    .values(
        next_sequence=bindparam("next"),
        context_start=bindparam("start"),
        context_summary=bindparam("told"),
        last_message_at=bindparam("last"),
    )
)


async def all_messages(transaction: Transaction, conversation_id: str, most: int) -> list[Message]:
    """Return a conversation's messages, the oldest first; one more than `most` at the most."""
    found: list[Message] = []
    while rows := await transaction.all(
        _of_conversation, of=conversation_id, after=found[-1].sequence if found else -1
    ):
        found += [Message.from_row(row) for row in rows]
        if len(found) > most or len(rows) < AT_ONCE:
            break
    return found


async def write_said(transaction: Transaction, agent_id: str, conversation_id: str, arranged: Arranged) -> None:
    """Put messages into a conversation that has nothing but its system message."""
    await store_messages(transaction, agent_id, conversation_id, 1, arranged.messages)
    if arranged.began_at is not None:
        await transaction.run(_set_beginning, of=conversation_id, at=arranged.began_at)
    await transaction.run(
        _set_state,
        of=conversation_id,
        next=1 + len(arranged.messages),
        start=arranged.context_start,
        told=arranged.summary,
        last=max((message.created_at for message in arranged.messages), default=0),
    )


def in_context_ids(said: Sequence[Message], conversation: Conversation) -> list[str]:
    """Return the identifiers of what a model reads: the system message, the newest summary, what is in context."""
    summaries = [m for m in said if m.message_type == "summary_message"]
    summary = [] if conversation.context_summary is None else summaries[-1:]
    system = [m for m in said if m.sequence == 0 and m.message_type == "system_message"]
    context = [m for m in said if m.sequence >= conversation.context_start and m.message_type != "summary_message"]
    return [message.id for message in (*system, *summary, *context)]
