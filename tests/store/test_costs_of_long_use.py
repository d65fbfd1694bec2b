"""What was used for long costs no more to look at: a block of many versions, a folder of many files, a group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text, update

from folkmoot.agents import overview
from folkmoot.agents.overview import edit_times, newest_versions, reading_runs
from folkmoot.agents.steps import StepFilter, list_steps
from folkmoot.conversations.conversations import start_conversation
from folkmoot.conversations.messages import Message
from folkmoot.conversations.search import list_all_messages
from folkmoot.files.open_files import open_files_of
from folkmoot.groups.conversations import list_said
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import create_block
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.store.engine import Parameters, Store, Transaction
from folkmoot.store.paging import Page
from folkmoot.store.postgres import PostgresEngine
from folkmoot.store.tables import (
    agent_files,
    agent_folders,
    block_readers,
    block_versions,
    blocks,
    files,
    folders,
    group_messages,
    groups,
    runs,
    steps,
)
from support.read_costs import Cost
from support.stores import insert_agent

ADA = "agent-ada"

_BY_INDEX = """DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET enable_seqscan = off', current_database());
    EXECUTE format('ALTER DATABASE %I SET random_page_cost = 1', current_database());
END $$"""
BY = Author("agent", ADA, "ada", "run-0", "step-0")


async def keep(store: Store, rows: dict[Any, Sequence[Parameters]]) -> None:
    """Insert rows."""

    async def work(transaction: Transaction) -> None:
        for table, some in rows.items():
            await transaction.insert(table, some)

    await store.write(work)


async def count(store: Store) -> None:
    """Let PostgreSQL count the rows, as it does by itself after a while, and read them as if there were many more."""
    if isinstance(store.engine, PostgresEngine):
        await store.everywhere.write(lambda t: t.run(text("ANALYZE")))
        await store.everywhere.write(lambda t: t.run(text(_BY_INDEX)))


async def used_block(store: Store, label: str, uses: int) -> str:
    """Make a block that was written, and shown to a run, so many times after it was made."""
    plan = {"label": label, "value": "", "limit": 9}
    block = await store.write(lambda transaction: create_block(transaction, plan, BY))
    newest = update(blocks).where(blocks.c.id == block.id).values(version=uses + 1)
    await store.write(lambda transaction: transaction.run(newest))
    run = [{"run_id": f"run-{label}-{at}", "step_id": f"step-{label}-{at}"} for at in range(uses)]
    version = {"text": "x", "length": 1, "edit": "{}", "author_type": "agent"}
    of_block = [{"block_id": block.id, "version": at + 2, "created_at": at + 2} for at in range(uses)]
    await keep(
        store,
        {
            block_versions: [{**version, **run[at], **of_block[at]} for at in range(uses)],
            block_readers: [{"agent_id": ADA, **run[at], **of_block[at]} for at in range(uses)],
        },
    )
    return block.id


async def test_the_newest_versions_of_blocks(opened: Store, database_url: str) -> None:
    cost = Cost(opened, database_url)
    old = await used_block(opened, "old", 2_000)
    young, other, *_ = [await used_block(opened, f"{number}", 2) for number in range(60)]
    await count(opened)
    assert set(await cost.of(lambda t: newest_versions(t, [young, other]))) == {young, other}
    alone = cost.work
    found = await cost.of(lambda t: newest_versions(t, [young, old]))
    assert {block_id: newest.version.number for block_id, newest in found.items()} == {young: 3, old: 2_001}
    assert 0 < cost.work <= alone * 1.2


async def test_what_a_blocks_page_tells_of_its_past(
    opened: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "MOST_READINGS", 50, raising=False)
    monkeypatch.setattr(overview, "MOST_EDITS", 50)
    cost = Cost(opened, database_url)
    young, old = await used_block(opened, "young", 49), await used_block(opened, "old", 2_000)
    await count(opened)
    few = await cost.of(lambda t: reading_runs(t, young, None, 3))
    alone = cost.work
    many = await cost.of(lambda t: reading_runs(t, old, None, 3))
    assert 0 < cost.work <= alone * 1.2
    assert (few.count, few.is_whole, [run.version for run in few.newest]) == (49, True, [50, 49, 48])
    assert (many.count, many.is_whole, [run.version for run in many.newest]) == (50, False, [2001, 2000, 1999])
    assert len(await cost.of(lambda t: edit_times(t, young, 1))) == 50
    alone = cost.work
    assert await cost.of(lambda t: edit_times(t, old, 1_999)) == [2_001, 2_000]
    assert 0 < cost.work <= alone * 1.2


async def folder_with(store: Store, agent_id: str, number: int) -> None:
    """Give an agent a folder of so many files, of which it has had all open and has two open now."""
    folder_id, times = f"folder-{number}", {"created_at": 1, "updated_at": 1}
    await store.write(lambda transaction: insert_agent(transaction, agent_id))
    file = {"folder_id": folder_id, "media_type": "text/plain", "size": 1, "status": "completed", "version": 1, **times}
    file |= {"uploads": 1, "characters": 1, "lines": 1}
    ids = [f"file-{number}-{place}" for place in range(number)]
    seen = [
        {"agent_id": agent_id, "file_id": each, "is_open": at < 2, "accessed_at": at} for at, each in enumerate(ids)
    ]
    await keep(
        store,
        {
            folders: [{"id": folder_id, "name": folder_id, "configuration": "{}", **times}],
            files: [{"id": each, "name": each, "original_name": each, **file} for each in ids],
            agent_folders: [{"agent_id": agent_id, "folder_id": folder_id, "attached_at": 1}],
            agent_files: seen,
        },
    )


async def test_the_files_that_an_agent_has_open(opened: Store, database_url: str) -> None:
    """They are read in each step: of the folder's other files nothing is, but whether they are open."""
    cost = Cost(opened, database_url)
    await folder_with(opened, "agent-many", 1_000)
    await count(opened)
    found = await cost.of(lambda t: open_files_of(t, "agent-many"))
    assert [each.file.id for each in found] == ["file-1000-1", "file-1000-0"]
    assert 0 < cost.work <= 1_000 * (1 if isinstance(opened.engine, PostgresEngine) else 8) + 200


async def group_with(store: Store, group_id: str, number: int) -> None:
    """Make a group in which an agent has said so much."""
    agent_id = f"agent-of-{group_id}"
    said = [Message("assistant_message", {"content": f"{place}"}) for place in range(number)]

    async def work(transaction: Transaction) -> None:
        await insert_agent(transaction, agent_id)
        await start_conversation(transaction, agent_id, agent_id, said)
        group = {"manager_type": "round_robin", "description": "", "owns_members": False, "next_sequence": number}
        await transaction.insert(groups, [{"id": group_id, "created_at": 1, "updated_at": 1, **group}])
        heard = {"group_id": group_id, "conversation_id": agent_id}
        places = [{"sequence": place, "message_id": message.id, **heard} for place, message in enumerate(said)]
        await transaction.insert(group_messages, places)

    await store.write(work)


async def test_the_newest_messages_of_a_group(opened: Store, database_url: str) -> None:
    """Others may have said much since it spoke last."""
    cost = Cost(opened, database_url)
    await group_with(opened, "ours", 120)
    await count(opened)
    before = await cost.of(lambda t: list_said(t, "ours", Page(10, order="desc")))
    alone = cost.work
    assert [each.message.body["content"] for each in before] == [f"{place}" for place in range(119, 109, -1)]
    await group_with(opened, "theirs", 4_000)
    await count(opened)
    assert await cost.of(lambda t: list_said(t, "ours", Page(10, order="desc"))) == before
    assert 0 < cost.work <= alone * 1.2


async def test_the_newest_messages_of_a_conversation_among_all(opened: Store, database_url: str) -> None:
    cost = Cost(opened, database_url)
    for group_id, number in (("short", 30), ("long", 2_000), ("other", 2_000)):
        await group_with(opened, group_id, number)
    await count(opened)

    async def newest(conversation_id: str) -> list[str]:
        page = Page(10, order="desc")
        found = await cost.of(lambda t: list_all_messages(t, page, conversation_id, None))
        return [each.message.body["content"] for each in found]

    assert await newest("agent-of-short") == [f"{place}" for place in range(29, 19, -1)]
    alone = cost.work
    assert await newest("agent-of-long") == [f"{place}" for place in range(1_999, 1_989, -1)]
    assert 0 < cost.work <= alone * 1.2


async def ran(store: Store, agent_id: str, number: int, *, background: bool, feedback: str | None) -> None:
    """Insert runs of an agent, each with a step that somebody may have rated."""
    names = [f"{agent_id}-{at}" for at in range(number)]
    run = {"conversation_id": agent_id, "status": "completed", "background": background, "cancel_requested": False}
    step = {"model": "offline/echo", "status": "success", "prompt_tokens": 1, "completion_tokens": 1}
    unused = ("cached_input_tokens", "cache_write_tokens", "reasoning_tokens", "model_microseconds")
    of_agent = {"agent_id": agent_id, "details": json.dumps(dict.fromkeys(unused, 0))}
    rated = {"feedback": feedback, "feedback_tags": "[]"}
    await keep(
        store,
        {
            runs: [{**run, **of_agent, "id": f"run-{name}", "created_at": at} for at, name in enumerate(names)],
            steps: [
                {**step, **of_agent, **rated, "id": f"step-{name}", "run_id": f"run-{name}", "created_at": at}
                for at, name in enumerate(names)
            ],
        },
    )


@pytest.mark.every_case_on_both
@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        (list_steps, StepFilter(agent_id=ADA)),
        (list_steps, StepFilter(feedback="negative")),
        (list_steps, StepFilter(has_feedback=True)),
        (list_runs, RunFilter(background=True)),
    ],
)
async def test_the_newest_of_few_runs_and_steps(listed: Any, wanted: Any, opened: Store, database_url: str) -> None:
    cost = Cost(opened, database_url)
    await ran(opened, ADA, 30, background=True, feedback="negative")
    await ran(opened, "agent-bob", 300, background=False, feedback=None)
    await count(opened)
    before = await cost.of(lambda t: listed(t, wanted, Page(10, order="desc")))
    alone = cost.work
    assert [each.agent_id for each in before] == [ADA] * 10
    await ran(opened, "agent-eve", 4_000, background=False, feedback=None)
    await count(opened)
    assert await cost.of(lambda t: listed(t, wanted, Page(10, order="desc"))) == before
    assert 0 < cost.work <= alone * 1.2
