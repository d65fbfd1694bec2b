"""Conversations as their owner sees them: lists, changes, and a history that starts anew."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import delete, select, update

from folkmoot.conversations.conversations import Conversation, find_conversation
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.tables import conversation_blocks, conversations, messages


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """Which conversations are wanted; what is None does not matter. Agents' main ones are never listed."""

    agent_id: str | None = None
    summary_search: str | None = None
    archived: bool | None = False
    order_by: Literal["created_at", "last_message_at"] = "created_at"


async def list_conversations(transaction: Transaction, wanted: ConversationFilter, page: Page) -> list[Conversation]:
    """Return a page of the conversations."""
    statement = select(conversations).where(
        conversations.c.id != conversations.c.agent_id,
        conversations.c.hidden.is_(False),
    )
    if wanted.agent_id is not None:
        statement = statement.where(conversations.c.agent_id == wanted.agent_id)
    if wanted.summary_search:
        statement = statement.where(conversations.c.summary.icontains(wanted.summary_search, autoescape=True))
    if wanted.archived is not None:
        archived = conversations.c.archived_at
        statement = statement.where(archived.is_not(None) if wanted.archived else archived.is_(None))
    rows = await fetch_page(transaction, statement, conversations, page, key=(wanted.order_by, "id"))
    return [Conversation.from_row(row) for row in rows]


async def update_conversation(
    transaction: Transaction, conversation_id: str, columns: Mapping[str, Any], configuration: Mapping[str, Any]
) -> Conversation:
    """Change a conversation's own fields; `configuration` is merged into its own.

    Raises:
        NotFound: there is no such conversation.
    """
    before = await find_conversation(transaction, conversation_id, lock=True)
    merged = {**before.configuration, **configuration}
    await transaction.run(
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(**columns, configuration=json.dumps(merged), updated_at=clock.now())
    )
    return await find_conversation(transaction, conversation_id)


async def delete_conversation(transaction: Transaction, conversation_id: str) -> None:
    """Delete a conversation with its messages.

    Raises:
        NotFound: there is no such conversation.
    """
    await find_conversation(transaction, conversation_id, lock=True)
    await transaction.run(delete(conversations).where(conversations.c.id == conversation_id))


async def reset_conversation(transaction: Transaction, conversation_id: str) -> None:
    """Delete every message of the conversation but its system message, for good; search finds them no more.

    Raises:
        NotFound: there is no such conversation.
    """
    conversation = await find_conversation(transaction, conversation_id, lock=True)
    await transaction.run(
        delete(messages).where(
            messages.c.conversation_id == conversation_id,
            messages.c.sequence > 0,
        )
    )
    await transaction.run(
        update(conversations)
        .where(conversations.c.id == conversation_id)
        .values(
            context_start=conversation.next_sequence,
            context_summary=None,
            prompt_tokens=0,
            prompt_size=0,
            updated_at=clock.now(),
        )
    )


async def isolated_block_ids(transaction: Transaction, conversation_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the identifiers of the blocks that each of these conversations has for itself."""
    if not conversation_ids:
        return {}
    rows = await transaction.all(
        select(conversation_blocks.c.conversation_id, conversation_blocks.c.block_id)
        .where(
            conversation_blocks.c.conversation_id.in_(list(conversation_ids)),
        )
        .order_by(conversation_blocks.c.block_id)
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["conversation_id"], []).append(row["block_id"])
    return found


async def run_of_otid(transaction: Transaction, conversation_id: str, otid: str) -> str | None:
    """Return the run of the message that carries a client's own identifier, among the newest thousand."""
    conversation = await find_conversation(transaction, conversation_id)
    row = await transaction.first(
        select(messages.c.run_id)
        .where(
            messages.c.conversation_id == conversation_id,
            messages.c.sequence >= conversation.next_sequence - 1000,
            messages.c.otid == otid,
        )
        .limit(1)
    )
    return None if row is None else row["run_id"]
