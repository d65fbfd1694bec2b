"""A fork of a long conversation is made in pieces, between which others have their turn."""

from __future__ import annotations

from typing import Any

import pytest

from folkmoot.agents.conversations import fork_conversation
from folkmoot.conversations.conversations import append_messages, find_conversation, start_conversation
from folkmoot.conversations.messages import STORED_AT_ONCE, Message, messages_in_context
from folkmoot.memory.authors import Author
from folkmoot.store.engine import Transaction
from support.stores import insert_agent, open_default

AGENT = "agent-1"
COUNT = 2 * STORED_AT_ONCE + 50


class Watched:
    """A transaction of which is known how many rows each statement gave."""

    def __init__(self, transaction: Transaction, read: list[int]) -> None:
        self._transaction = transaction
        self._read = read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)

    async def all(self, statement: Any, **parameters: Any) -> Any:
        rows = await self._transaction.all(statement, **parameters)
        self._read.append(len(rows))
        return rows


@pytest.mark.parametrize("until", [None, COUNT // 2, STORED_AT_ONCE, COUNT])
async def test_a_long_context_is_forked_in_pieces(database_url: str, until: int | None) -> None:
    store = await open_default(database_url)
    read: list[int] = []

    async def write(transaction: Transaction) -> tuple[list[Message], list[Message], int]:
        await insert_agent(transaction, AGENT)
        await start_conversation(transaction, AGENT, AGENT, [Message("system_message", {"content": "s"})])
        said = [Message("user_message", {"content": f"word {number}"}) for number in range(COUNT)]
        await append_messages(transaction, AGENT, said, None)
        watched: Any = Watched(transaction, read)
        last = None if until is None else said[until - 1].id
        forked = await fork_conversation(watched, AGENT, Author("api"), message_id=last)
        found = await find_conversation(transaction, forked.id)
        return said, await messages_in_context(transaction, forked.id, 1), found.next_sequence

    said, shared, next_sequence = await store.write(write)
    await store.close()
    assert [message.id for message in shared] == [message.id for message in said[:until]]
    assert [message.sequence for message in shared] == list(range(1, len(shared) + 1))
    assert next_sequence == len(shared) + 1
    assert max(read) <= STORED_AT_ONCE
