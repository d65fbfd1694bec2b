"""Deleting what is large: hidden at once, swept in pieces, finished by another process when its own was killed."""

from __future__ import annotations

import asyncio
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from folkmoot.agents import deletion
from folkmoot.agents.agents import find_agent
from folkmoot.agents.deletion import finish_deletions, remove_agent, remove_messages
from folkmoot.archives.archives import NewArchive, create_archive, find_archive
from folkmoot.archives.attachments import attach_archive
from folkmoot.conversations.conversations import find_conversation, start_conversation
from folkmoot.conversations.messages import Message, list_messages
from folkmoot.errors import NotFound
from folkmoot.identifiers import new_id
from folkmoot.memory.attachments import attach
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import create_block, find_block
from folkmoot.store.deletions import unfinished_deletions
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.paging import Page
from folkmoot.store.pieces import ROWS
from folkmoot.store.tables import agent_archives, agent_blocks, messages
from support.scripts import run
from support.stores import insert_agent, open_default

MANY = 4 * ROWS
KILLED = Path(__file__).parent / "killed.py"


async def agent_with(store: Store, count: int) -> str:
    """Return an agent that has so many messages behind its system message."""
    agent_id = new_id("agent")
    said = [Message("user_message", {"content": f"word{number}"}) for number in range(count)]

    async def make(transaction: Transaction) -> None:
        await insert_agent(transaction, agent_id)
        system = Message("system_message", {"content": "s"})
        await start_conversation(transaction, agent_id, agent_id, [system, *said])

    await store.write(make)
    return agent_id


async def stored(store: Store) -> int:
    row = await store.read(lambda t: t.first(select(func.count().label("count")).select_from(messages)))
    assert row is not None
    return int(row["count"])


async def shown(store: Store, agent_id: str) -> list[Any]:
    return await store.read(lambda t: list_messages(t, agent_id, Page(limit=1000)))


async def killed_amid(kind: str, agent_id: str, database_url: str, folder: Path) -> None:
    """Run a deletion in a process that kills itself before the third piece."""
    done = await asyncio.to_thread(run, KILLED, [database_url, kind, agent_id], environ={}, folder=folder)
    assert done.returncode == -signal.SIGKILL, done.stderr


async def test_a_reset_that_was_killed_hides_all_and_is_finished_later(database_url: str, tmp_path: Path) -> None:
    store = await open_default(database_url)
    agent_id = await agent_with(store, MANY)
    await store.close()
    await killed_amid("remove_messages", agent_id, database_url, tmp_path)
    store = await open_default(database_url)
    left = await stored(store)
    assert 1 < left < 1 + MANY, "it was killed amid it"
    assert [each.message_type for each in await shown(store, agent_id)] == ["system_message"]
    conversation = await store.read(lambda t: find_conversation(t, agent_id))
    assert conversation.context_start == 1 + MANY, "what is said from now on stays"
    await finish_deletions(store)
    assert await stored(store) == 1
    assert await store.everywhere.read(unfinished_deletions) == []
    await store.close()


async def test_an_agent_whose_deletion_was_killed_is_gone_and_swept_later(database_url: str, tmp_path: Path) -> None:
    store = await open_default(database_url)
    other, agent_id = await agent_with(store, 2), await agent_with(store, MANY)
    await store.close()
    await killed_amid("remove_agent", agent_id, database_url, tmp_path)
    store = await open_default(database_url)
    assert await stored(store) > 3
    with pytest.raises(NotFound):
        await store.read(lambda t: find_agent(t, agent_id))
    with pytest.raises(NotFound):
        await remove_agent(store, agent_id, Author("api", name="test"))
    await finish_deletions(store)
    assert await stored(store) == 3, "the other agent's"
    assert (await store.read(lambda t: find_agent(t, other))).id == other
    await store.close()


@pytest.mark.parametrize("kind", ["agent", "block", "archive"])
async def test_what_is_large_is_nobody_s_from_its_first_piece_on(
    database_url: str, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    store, by = await open_default(database_url), Author("api", name="test")
    agent_id = await agent_with(store, 1)

    async def make(transaction: Transaction) -> tuple[str, str]:
        block = await create_block(transaction, {"label": "notes", "value": "", "limit": 100}, by)
        archive = await create_archive(transaction, NewArchive("lore"))
        await attach(transaction, agent_id, block.id)
        await attach_archive(transaction, agent_id, archive.id)
        return block.id, archive.id

    block_id, archive_id = await store.write(make)
    which = {"agent": agent_id, "block": block_id, "archive": archive_id}[kind]
    find: Any = {"agent": find_agent, "block": find_block, "archive": find_archive}[kind]
    of_others = {"agent": [agent_blocks], "block": [agent_blocks], "archive": [agent_archives]}[kind]
    piece, looks = deletion._delete_piece, 0

    async def large(transaction: Transaction, what: Any) -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:  # the first piece does not take it all
            return False
        with pytest.raises(NotFound):
            await find(transaction, which)
        for table in of_others:
            assert await transaction.all(select(table)) == []
        return await piece(transaction, what)

    monkeypatch.setattr(deletion, "_delete_piece", large)
    await getattr(deletion, f"remove_{kind}")(store, which, by)
    assert looks == 2
    assert await store.everywhere.read(unfinished_deletions) == []
    await store.close()


async def test_others_write_between_two_pieces(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await open_default(database_url)
    agent_id, other = await agent_with(store, MANY), await agent_with(store, 1)
    seen: list[int] = []

    async def look(transaction: Transaction) -> None:
        row = await transaction.first(select(func.count().label("count")).select_from(messages))
        assert row is not None
        seen.append(row["count"])

    piece = deletion._delete_piece

    async def noticed(transaction: Transaction, what: Any) -> bool:
        await look(transaction)
        return await piece(transaction, what)

    monkeypatch.setattr(deletion, "_delete_piece", noticed)
    await remove_messages(store, agent_id)
    assert [before - after for before, after in pairwise(seen)] == [ROWS] * (MANY // ROWS)
    assert len(await shown(store, other)) == 2
    await store.close()
