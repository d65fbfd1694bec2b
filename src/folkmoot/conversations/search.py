"""What was said, over all conversations: full-text search, lists, and one message by its identifier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, select, update

from folkmoot import tracing
from folkmoot.conversations.conversations import MAIN_CONVERSATION, in_conversation
from folkmoot.conversations.messages import Message, search_text, shown_once
from folkmoot.errors import NotFound
from folkmoot.store.deletions import message_is_kept
from folkmoot.store.engine import Row, Store, Transaction, Work
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.tables import messages
from folkmoot.store.words import MOST_WORDS, looked_for

ROLES = {"user": "user_message", "assistant": "assistant_message", "tool": "tool_return_message"}
"""The message type in which each role's words are stored."""


@dataclass(frozen=True, slots=True)
class MessageSearch:
    """What is looked for. Times are in microseconds; an empty query finds everything, newest first."""

    query: str = ""
    agent_id: str | None = None
    conversation_id: str | None = None
    roles: Sequence[str] = ()
    start: int | None = None
    end: int | None = None
    limit: int = 10


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message, and where it was said."""

    message: Message
    agent_id: str
    conversation_id: str

    @classmethod
    def from_row(cls, row: Row) -> FoundMessage:
        """Read a row of the messages table."""
        return cls(Message.from_row(row), row["agent_id"], row["conversation_id"])


async def search_for(store: Store, search: MessageSearch) -> Work[list[FoundMessage]]:
    """Return a scan's work: it finds the messages that match, the best first, of equally good ones the newest.

    Raises:
        StoreUnavailable: the database cannot be read or written.
    """
    types = [ROLES[role] for role in search.roles or ROLES]
    statement = select(messages).where(messages.c.message_type.in_(types), message_is_kept())
    if search.agent_id is not None:
        statement = statement.where(messages.c.agent_id == search.agent_id)
    if search.conversation_id is not None:
        statement = statement.where(in_conversation(messages, search.conversation_id))
    else:
        statement = shown_once(statement)
    if search.start is not None:
        statement = statement.where(messages.c.created_at >= search.start)
    if search.end is not None:
        statement = statement.where(messages.c.created_at < search.end)
    words = looked_for(search.query)[:MOST_WORDS]
    in_vain = bool(search.query.strip()) and not words
    if words:
        await store.index_texts()
        statement = store.text_search(statement, messages, words)
    newest = (messages.c.created_at.desc(), messages.c.sequence.desc())
    statement = statement.order_by(*newest).limit(search.limit)

    place = tracing.here()  # a scan's work may be done on a thread

    async def find(transaction: Transaction) -> list[FoundMessage]:
        known = {"gen_ai.operation.name": "search_memory"}
        with tracing.span("search_memory", known, parent=place, current=False) as span:
            if span.shows_content:
                span.tell({"gen_ai.memory.query.text": search.query})
            found = [] if in_vain else [FoundMessage.from_row(row) for row in await transaction.all(statement)]
            span.tell({"gen_ai.memory.record.count": len(found)})
            return found

    return find


async def find_message(transaction: Transaction, message_id: str) -> FoundMessage:
    """Return the message of that identifier, where it was said first.

    Raises:
        NotFound: there is no such message.
    """
    row = await transaction.first(_by_id, message_id=message_id)
    if row is None:
        raise NotFound(f"Message with id '{message_id}' not found")
    return FoundMessage.from_row(row)


async def list_all_messages(
    transaction: Transaction, page: Page, conversation_id: str | None, types: Sequence[str] | None
) -> list[FoundMessage]:
    """Return a page of the messages of all agents, by time."""
    statement = select(messages).where(message_is_kept())
    if conversation_id is not None:
        statement = statement.where(in_conversation(messages, conversation_id))
    else:
        statement = shown_once(statement)
    if types is not None:
        statement = statement.where(messages.c.message_type.in_(list(types)))
    else:
        statement = statement.where(messages.c.message_type != "summary_message")
    if conversation_id in (None, MAIN_CONVERSATION):
        return [FoundMessage.from_row(row) for row in await fetch_page(transaction, statement, messages, page)]
    # Of one conversation the places are the times, and have an index.
    scope, place = messages.c.conversation_id == conversation_id, ("sequence",)
    rows = await fetch_page(transaction, statement, messages, page, place, scope, within=conversation_id)
    return [FoundMessage.from_row(row) for row in rows]


async def rewrite_message(transaction: Transaction, message_id: str, changes: Mapping[str, Any]) -> FoundMessage:
    """Change what a stored message says, in every conversation that shares it; its type and its place stay.

    Raises:
        NotFound: there is no such message.
    """
    found = await find_message(transaction, message_id)
    message = replace(found.message, body={**found.message.body, **changes})
    await transaction.run(
        update(messages)
        .where(messages.c.id == message_id)
        .values(body=json.dumps(message.body), search_text=search_text(message))
    )
    return replace(found, message=message)


_by_id = (
    select(messages).where(messages.c.id == bindparam("message_id"), message_is_kept()).order_by(messages.c.search_id)
)
