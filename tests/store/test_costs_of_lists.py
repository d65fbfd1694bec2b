"""A page of what one agent has costs no more where others have more, and have it since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from folkmoot.conversations.conversations import start_conversation
from folkmoot.conversations.messages import Message, list_agent_messages
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.paging import Page
from folkmoot.store.postgres import PostgresEngine
from support.read_costs import Cost
from support.stores import insert_agent

ADA, BOB = "agent-ada", "agent-bob"


def sayings(number: int) -> list[Message]:
    return [Message("user_message", {"content": f"{place}"}) for place in range(number)]


async def agent_with(store: Store, agent_id: str, lengths: Sequence[int]) -> None:
    """Make an agent with conversations of such lengths, the first of them its main one."""

    async def work(transaction: Transaction) -> None:
        await insert_agent(transaction, agent_id)
        for place, length in enumerate(lengths):
            name = f"conv-{agent_id}-{length}-{place}"
            await start_conversation(transaction, agent_id, name if place else agent_id, sayings(length))

    await store.write(work)
    if isinstance(store.engine, PostgresEngine):
        await store.everywhere.write(lambda t: t.run(text("ANALYZE messages")))


async def test_an_agents_newest_messages(opened: Store, database_url: str) -> None:
    cost = Cost(opened, database_url)

    async def newest(transaction: Transaction) -> Any:
        return await list_agent_messages(transaction, ADA, Page(10, order="desc"))

    await agent_with(opened, ADA, [20, 20])
    before = await cost.of(newest)
    alone = cost.work
    await agent_with(opened, BOB, [2_000, 2_000])
    assert await cost.of(newest) == before
    assert len(before) == 10
    assert 0 < cost.work <= alone * 1.2
