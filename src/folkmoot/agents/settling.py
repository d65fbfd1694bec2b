"""Settling what waits for nobody any more: the open tool calls of an approval request that was cancelled."""

from __future__ import annotations

from folkmoot.agents.approvals import find_pending
from folkmoot.agents.tool_calls import Outcome, return_message
from folkmoot.conversations.conversations import append_messages, find_conversation
from folkmoot.conversations.messages import messages_in_context
from folkmoot.store.engine import Transaction

CANCELLED = "The call was cancelled before anybody decided about it, so the tool was not run."


async def settle_pending(transaction: Transaction, conversation_id: str) -> None:
    """Give every open call of the conversation's approval request a return that says that it was cancelled.

    Does nothing while a run has the conversation's turn, or when nothing is open.

    Raises:
        NotFound: there is no such conversation.
    """
    conversation = await find_conversation(transaction, conversation_id, lock=True)
    stored = await messages_in_context(transaction, conversation.id, conversation.context_start)
    pending = find_pending(stored)
    if pending is None or conversation.turn_run_id is not None:
        return
    run_id, step_id = pending.request.run_id or "", pending.request.step_id or ""
    returns = [return_message(call, Outcome(CANCELLED, failed=True), run_id, step_id) for call in pending.calls]
    await append_messages(transaction, conversation.id, returns, None)
