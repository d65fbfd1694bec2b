"""What one agent has costs no more to read where others have more, and have it since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from folkmoot.conversations.conversations import start_conversation
from folkmoot.conversations.messages import Message, list_agent_messages
from folkmoot.groups.consolidation import _unread
from folkmoot.memory.attachments import attach
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import create_block
from folkmoot.memory.history import edits_of_run
from folkmoot.memory.listing import attached_blocks
from folkmoot.memory.undo import _of_run
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.paging import Page
from folkmoot.store.postgres import PostgresEngine
from folkmoot.store.tables import group_readings, groups
from support.read_costs import Cost
from support.stores import insert_agent

ADA, BOB = "agent-ada", "agent-bob"
NEWEST = Page(10, order="desc")


async def agent_with(store: Store, agent_id: str, lengths: Sequence[int]) -> None:
    """Make an agent with conversations of such lengths, the first of them its main one."""

    async def work(transaction: Transaction) -> None:
        await insert_agent(transaction, agent_id)
        for place, length in enumerate(lengths):
            name = f"conv-{agent_id}-{length}-{place}"
            said = [Message("user_message", {"content": f"{number}"}) for number in range(length)]
            await start_conversation(transaction, agent_id, name if place else agent_id, said)

    await store.write(work)
    if isinstance(store.engine, PostgresEngine):
        await store.everywhere.write(lambda t: t.run(text("ANALYZE messages")))


async def test_an_agents_newest_messages(opened: Store, database_url: str) -> None:
    cost = Cost(opened, database_url)

    async def newest(transaction: Transaction) -> Any:
        return await list_agent_messages(transaction, ADA, NEWEST)

    await agent_with(opened, ADA, [20, 20])
    before = await cost.of(newest)
    alone = cost.work
    await agent_with(opened, BOB, [2_000, 2_000])
    assert await cost.of(newest) == before
    assert len(before) == 10
    assert 0 < cost.work <= alone * 1.2


async def busy_agent(store: Store, agent_id: str, number: int) -> None:
    """Make an agent that has said so much, and has so many blocks, written in one run; a group has yet to read it."""
    by, group_id = Author("agent", agent_id, "a", f"run-{agent_id}", "step"), f"group-{agent_id}"
    bare = {"manager_type": "sleeptime", "description": "", "owns_members": False, "next_sequence": 0}
    bare |= {"created_at": 1, "updated_at": 1}

    async def work(transaction: Transaction) -> None:
        for place in range(number):
            block = await create_block(transaction, {"label": f"{place}", "value": "", "limit": 9}, by)
            await attach(transaction, agent_id, block.id)
        await transaction.insert(groups, [{"id": group_id, "manager_agent_id": agent_id, **bare}])
        read = {"group_id": group_id, "conversation_id": agent_id, "read_to": 0}
        await transaction.insert(group_readings, [read])

    await agent_with(store, agent_id, [number])
    await store.write(work)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "read",
    [
        lambda t: attached_blocks(t, ADA, NEWEST),
        lambda t: edits_of_run(t, f"run-{ADA}"),
        lambda t: t.all(_of_run, run_id=f"run-{ADA}"),
        lambda t: t.all(_unread, group_id=f"group-{ADA}"),
    ],
    ids=["blocks", "edits", "edits to undo", "what a group has not read"],
)
async def test_what_is_found_by_its_owner(read: Any, opened: Store, database_url: str) -> None:
    cost = Cost(opened, database_url)
    await busy_agent(opened, ADA, 2)
    before = await cost.of(read)
    alone = cost.work
    await busy_agent(opened, BOB, 200)
    assert await cost.of(read) == before
    assert len(before) == 2
    assert 0 < cost.work <= alone * 1.2
