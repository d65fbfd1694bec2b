"""Full-text search over what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from folkmoot.conversations.messages import Message
from folkmoot.identifiers import ORGANIZATION
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.tables import messages

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


async def search_messages(store: Store, search: MessageSearch) -> list[Message]:
    """Return the messages that match, the best first; of equally good ones the newest."""
    types = [ROLES[role] for role in search.roles or ROLES]
    statement = select(messages).where(messages.c.organization_id == ORGANIZATION, messages.c.message_type.in_(types))
    if search.agent_id is not None:
        statement = statement.where(messages.c.agent_id == search.agent_id)
    if search.conversation_id is not None:
        statement = statement.where(messages.c.conversation_id == search.conversation_id)
    if search.start is not None:
        statement = statement.where(messages.c.created_at >= search.start)
    if search.end is not None:
        statement = statement.where(messages.c.created_at < search.end)
    if search.query.strip():
        statement = store.matching(statement, search.query)
    newest = (messages.c.created_at.desc(), messages.c.sequence.desc())
    statement = statement.order_by(*newest).limit(search.limit)

    async def find(transaction: Transaction) -> list[Message]:
        return [Message.from_row(row) for row in await transaction.all(statement)]

    return await store.read(find)
