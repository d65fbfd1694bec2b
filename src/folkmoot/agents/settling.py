"""Settling what waits for nobody any more: the open tool calls of an approval request."""

from __future__ import annotations

from folkmoot.agents.approvals import find_pending
from folkmoot.agents.tool_calls import not_run, return_message
from folkmoot.conversations.conversations import append_messages, find_conversation
from folkmoot.conversations.messages import messages_in_context
from folkmoot.store.engine import Transaction

CANCELLED = "The call was cancelled before anybody decided about it, so the tool was not run."
INTERRUPTED = "The run that was to carry this call out was interrupted. The tool may have run or not."


async def settle_pending(transaction: Transaction, conversation_id: str, why: str = CANCELLED) -> None:
    """Give every open call of the conversation's approval request a return that says why nothing comes of it.

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
    returns = [return_message(call, not_run(why), run_id, step_id) for call in pending.calls]
    await append_messages(transaction, conversation.id, returns, None)
