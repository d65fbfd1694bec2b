"""Conversations as their owner sees them: lists, changes, and a history that starts anew."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import and_, bindparam, delete, select, update

from folkmoot.conversations.conversations import Conversation, find_conversation, forget_runs, last_run_at
from folkmoot.conversations.messages import Message
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, fetch_page, leave_places, leaving
from folkmoot.store.tables import conversation_blocks, conversations, messages, runs

_LAST_RUN = last_run_at(runs.c.conversation_id == conversations.c.id)
_leaving = leaving(
    conversations,
    conversations.c.id == bindparam("conversation_id"),
    last_run_at=_LAST_RUN,
)
CONVERSATIONS_LEAVING = leaving(
    conversations,
    and_(conversations.c.agent_id == bindparam("agent_id"), conversations.c.id != conversations.c.agent_id),
    last_run_at=_LAST_RUN,
)
"""For `leave_places`, where an agent is deleted with its conversations."""


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """Which conversations are wanted; what is None does not matter. Agents' main ones are never listed."""

    agent_id: str | None = None
    summary_search: str | None = None
    archived: bool | None = False
    order_by: Literal["created_at", "last_message_at", "last_run_at"] = "created_at"


async def list_conversations(transaction: Transaction, wanted: ConversationFilter, page: Page) -> list[Conversation]:
    """Return a page of the conversations."""
    statement = select(conversations).where(
        conversations.c.id != conversations.c.agent_id,
        conversations.c.hidden.is_(False),
        is_kept(conversations.c.id),
    )
    if wanted.agent_id is not None:
        statement = statement.where(conversations.c.agent_id == wanted.agent_id)
    if wanted.summary_search:
        statement = statement.where(conversations.c.summary.icontains(wanted.summary_search, autoescape=True))
    if wanted.archived is not None:
        archived = conversations.c.archived_at
        statement = statement.where(archived.is_not(None) if wanted.archived else archived.is_(None))
    key = tuple(dict.fromkeys((wanted.order_by, "created_at", "id")))
    rows = await fetch_page(transaction, statement, conversations, page, key=key, computed={"last_run_at": _LAST_RUN})
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
    """Delete a conversation with what is left of its messages, and with its runs."""
    await leave_places(transaction, _leaving, conversation_id=conversation_id)
    await forget_runs(transaction, runs.c.conversation_id == conversation_id)
    await transaction.run(delete(conversations).where(conversations.c.id == conversation_id))


async def forget_ended_runs(transaction: Transaction, conversation_id: str) -> None:
    """Delete the conversation's runs that are over."""
    await forget_runs(transaction, and_(runs.c.conversation_id == conversation_id, runs.c.completed_at.is_not(None)))


async def clear_context(transaction: Transaction, conversation: Conversation) -> None:
    """Let every message but the system message leave the context, without a summary."""
    await transaction.run(
        update(conversations)
        .where(conversations.c.id == conversation.id)
        .values(
            context_start=conversation.next_sequence,
            context_summary=None,
            prompt_tokens=0,
            prompt_size=0,
            updated_at=clock.now(),
        )
    )


async def narrow_context(transaction: Transaction, conversation: Conversation, start: int) -> None:
    """Let the messages in front of a place leave the context; a summary of what left it before stays."""
    await transaction.run(
        update(conversations)
        .where(conversations.c.id == conversation.id)
        .values(context_start=start, updated_at=clock.now())
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


async def first_words(transaction: Transaction, conversation_ids: Sequence[str]) -> dict[str, Message]:
    """Return the message that each of these conversations begins with; those in which nobody spoke are left out."""
    if not conversation_ids:
        return {}
    rows = await transaction.all(
        select(messages).where(
            messages.c.conversation_id.in_(list(conversation_ids)),
            messages.c.sequence == 1,
            messages.c.message_type == "user_message",
        )
    )
    return {row["conversation_id"]: Message.from_row(row) for row in rows}


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
