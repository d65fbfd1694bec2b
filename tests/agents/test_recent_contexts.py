"""Long contexts that a process keeps: used as long as the store says the same, and never after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import update

from folkmoot.agents import recent_contexts
from folkmoot.agents.context import to_prompt_messages
from folkmoot.agents.recent_contexts import FEWEST, Read, RecentContexts
from folkmoot.conversations.conversations import append_messages, find_conversation, move_context, start_conversation
from folkmoot.conversations.messages import Message, messages_in_context
from folkmoot.identifiers import new_id
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.tables import messages
from support.stores import insert_agent, open_default


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Store]:
    store = await open_default(database_url)
    yield store
    await store.close()


def said(count: int, word: str = "word") -> list[Message]:
    return [Message("user_message", {"content": f"{word} {number}"}) for number in range(count)]


async def talk(store: Store, count: int) -> str:
    """Return a conversation with so many messages in context."""
    agent_id = new_id("agent")

    async def make(transaction: Transaction) -> None:
        await insert_agent(transaction, agent_id)
        await start_conversation(transaction, agent_id, agent_id, [Message("system_message", {"content": "s"})])

    await store.write(make)
    await append(store, agent_id, said(count))
    return agent_id


async def append(store: Store, conversation_id: str, new: Sequence[Message]) -> None:
    await store.write(lambda transaction: append_messages(transaction, conversation_id, new, None))


async def read(store: Store, contexts: RecentContexts, conversation_id: str) -> Read:
    """Read through what is kept; it must be what stands in the store."""

    async def both(transaction: Transaction) -> tuple[Read, list[Message]]:
        conversation = await find_conversation(transaction, conversation_id)
        stored = await messages_in_context(transaction, conversation_id, conversation.context_start)
        return await contexts.read(transaction, conversation), stored

    (found, turns), stored = await store.read(both)
    assert found == stored
    assert turns == to_prompt_messages(stored)
    return found, turns


def shared(one: Read, other: Read) -> int:
    """Return how many messages of two contexts are the same objects: they were not read again."""
    known = set(map(id, one[0]))
    return sum(id(message) in known for message in other[0])


async def test_a_context_that_grows_is_read_on_from_where_it_was(opened: Store) -> None:
    contexts, talk_id = RecentContexts(), await talk(opened, FEWEST)
    first = await read(opened, contexts, talk_id)
    first[0].append(said(1)[0])  # a turn adds to what it was given
    await append(opened, talk_id, said(2, "more"))
    second = await read(opened, contexts, talk_id)
    assert (shared(first, second), len(second[0])) == (FEWEST, FEWEST + 2)
    assert shared(second, await read(opened, contexts, talk_id)) == FEWEST + 2


async def test_an_edit_a_deletion_and_a_compaction_are_seen(opened: Store) -> None:
    contexts, talk_id = RecentContexts(), await talk(opened, FEWEST + 20)
    before = await read(opened, contexts, talk_id)
    edited = update(messages).where(messages.c.id == before[0][7].id).values(body='{"content": "another"}')
    await opened.write(lambda transaction: transaction.run(edited))
    after = await read(opened, contexts, talk_id)
    assert (after[0][7].body, shared(before, after)) == ({"content": "another"}, 0)
    gone = messages.delete().where(messages.c.id == before[0][-1].id)
    await opened.write(lambda transaction: transaction.run(gone))
    assert len((await read(opened, contexts, talk_id))[0]) == FEWEST + 19
    note = Message("summary_message", {"summary": "s"})
    start = before[0][10].sequence
    await opened.write(lambda transaction: move_context(transaction, talk_id, start, note))
    assert len((await read(opened, contexts, talk_id))[0]) == FEWEST + 9


async def test_the_contexts_read_last_are_kept_as_far_as_there_is_room(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_contexts, "MOST_BYTES", int(2.5 * FEWEST * recent_contexts.BYTES_OF_MESSAGE))
    contexts, talks = RecentContexts(), [await talk(opened, FEWEST) for _ in range(3)]
    firsts = [await read(opened, contexts, each) for each in talks]
    assert [shared(firsts[place], await read(opened, contexts, talks[place])) for place in (2, 1, 0)] == [
        FEWEST,
        FEWEST,
        0,
    ]
