"""Settling what waits for nobody any more: the open tool calls of an approval request."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from folkmoot.agents.approvals import Pending, find_pending
from folkmoot.agents.tool_calls import not_run, return_message
from folkmoot.conversations.conversations import Conversation, append_messages, find_conversation
from folkmoot.conversations.messages import messages_in_context
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import conversations, messages

CANCELLED = "The call was cancelled before anybody decided about it, so the tool was not run."
INTERRUPTED = "The run that was to carry this call out was interrupted. The tool may have run or not."


LARGEST_STEP = 200
"""Messages behind an approval request in its conversation that may belong to its step."""


async def pending_in(transaction: Transaction, conversation: Conversation) -> Pending | None:
    """Return what a conversation waits for; only its newest messages are read."""
    newest = max(conversation.context_start, conversation.next_sequence - LARGEST_STEP)
    return find_pending(await messages_in_context(transaction, conversation.id, newest))


async def settle_abandoned_of_agent(transaction: Transaction, agent_id: str, run_ids: Sequence[str] | None) -> None:
    """Settle what is open in any of an agent's conversations, only because of these runs when they are given."""
    rows = await transaction.all(
        select(conversations.c.id)
        .join(messages, messages.c.conversation_id == conversations.c.id)
        .where(
            conversations.c.agent_id == agent_id,
            messages.c.sequence >= conversations.c.next_sequence - LARGEST_STEP,
            messages.c.message_type == "approval_request_message",
        )
        .distinct()
    )
    for row in rows:
        await settle_abandoned(transaction, row["id"], run_ids=run_ids)


async def settle_abandoned(
    transaction: Transaction, conversation_id: str, why: str = CANCELLED, run_ids: Sequence[str] | None = None
) -> None:
    """Give every open call of the conversation's approval request a return that says why nothing comes of it.

    Does nothing while a run has the conversation's turn, when nothing is open, or when what is open is not of one of
    `run_ids`, if those are given.

    Raises:
        NotFound: there is no such conversation.
    """
    conversation = await find_conversation(transaction, conversation_id, lock=True)
    pending = await pending_in(transaction, conversation)
    if pending is None or conversation.turn_run_id is not None:
        return
    if run_ids is not None and pending.request.run_id not in run_ids:
        return
    run_id, step_id = pending.request.run_id or "", pending.request.step_id or ""
    returns = [return_message(call, not_run(why), run_id, step_id) for call in pending.calls]
    await append_messages(transaction, conversation.id, returns, None)
