"""What leaves a context goes to an archive, where the agent's `compaction_settings` say so."""

from __future__ import annotations

from collections.abc import Sequence

from folkmoot.agents.agents import Agent
from folkmoot.agents.compaction import line_of
from folkmoot.archives.passages import LONGEST_TEXT, NewPassage, add_passages, archive_for
from folkmoot.conversations.messages import Message
from folkmoot.memory.authors import Author
from folkmoot.store.engine import Transaction

TAG = "conversation"
"""What such passages are found by."""

_SAID = ("user_message", "assistant_message")


def passages_of(messages: Sequence[Message]) -> list[NewPassage]:
    """Return what was said as passages, a message each; calls of tools and what they returned are not kept."""
    return [
        NewPassage.of(line[:LONGEST_TEXT], [TAG], {"message_id": message.id}, message.created_at)
        for message in messages
        if message.message_type in _SAID and (line := line_of(message))
    ]


async def keep_passages(
    transaction: Transaction, agent: Agent, embedding: str | None, new: Sequence[NewPassage], run_id: str | None
) -> None:
    """Add passages to the first archive that the agent may add to; one that may only search keeps none.

    Args:
        transaction: where to write.
        agent: whose context they left.
        embedding: the handle for an archive that is made for it.
        new: the passages.
        run_id: the run in which they left.
    """
    archive = await archive_for(transaction, agent.id, agent.name, embedding) if new else None
    if archive is not None:
        await add_passages(transaction, archive.id, new, Author("agent", agent.id, agent.name, run_id))
