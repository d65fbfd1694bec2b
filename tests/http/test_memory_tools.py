"""An agent's memory tools in its turns: what they change, what they refuse and how, who is named as the author."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import asyncpg
import pytest
from letta_client import AsyncLetta, Letta, NotFoundError
from letta_client.types import AgentState, BlockResponse
from letta_client.types.agents import LettaResponse

from support.fixtures import NewAgent, NewBlock
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

TOOLS = ["memory_insert", "memory_replace", "memory_rethink", "core_memory_append", "core_memory_replace"]
MEMORY: dict[str, Any] = {"include_base_tools": False, "tools": [*TOOLS, "memory_finish_edits"]}


def call(client: Letta, agent: AgentState, tool: str, **arguments: Any) -> Any:
    """Let the agent call one tool; return the tool's return message."""
    response = client.agents.messages.create(agent.id, input=f"CALL {tool} {json.dumps(arguments)}")
    (returned,) = [m for m in response.messages if m.message_type == "tool_return_message"]
    return returned


def start(client: AsyncLetta, agent: AgentState, tool: str, arguments: str) -> asyncio.Task[LettaResponse]:
    """Let the agent call one tool; do not wait for its answer."""
    return asyncio.create_task(client.agents.messages.create(agent.id, input=f"CALL {tool} {arguments}"))


def version(block: BlockResponse) -> int:
    number = block.version  # type: ignore[attr-defined]
    assert isinstance(number, int)
    return number


# -- what each tool does -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "arguments", "after"),
    [
        pytest.param("", {"new_string": "a"}, "a", id="into nothing"),
        pytest.param("a\nb", {"new_string": "c"}, "a\nb\nc", id="at the end by default"),
        pytest.param("a\nb", {"new_string": "c", "insert_line": -1}, "a\nb\nc", id="at the end"),
        pytest.param("a\nb", {"new_string": "c", "insert_line": 0}, "c\na\nb", id="at the start"),
        pytest.param("a\nb", {"new_string": "c", "insert_line": 1}, "a\nc\nb", id="after the first line"),
        pytest.param("a\nb", {"new_string": "c", "insert_line": 2}, "a\nb\nc", id="after the last line"),
        pytest.param("a\nb", {"new_string": "c", "insert_line": "1"}, "a\nc\nb", id="a number in quotes"),
        pytest.param("ä\n日本", {"new_string": "\n😀\n", "insert_line": 1}, "ä\n\n😀\n日本", id="unicode and lines"),
    ],
)
def test_insert_adds_lines_where_it_is_told(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, before: str, arguments: dict[str, Any], after: str
) -> None:
    block = new_block(value=before)
    agent = new_agent(block_ids=[block.id], **MEMORY)
    returned = call(client, agent, "memory_insert", label=block.label, **arguments)
    assert returned.status == "success", returned.tool_return
    changed = client.blocks.retrieve(block.id)
    assert (changed.value, version(changed)) == (after, 2)


@pytest.mark.parametrize("line", [3, -2, 1000])
def test_insert_at_a_line_that_is_not_there_is_refused(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, line: int
) -> None:
    block = new_block(value="first line\nsecond line")
    agent = new_agent(block_ids=[block.id], **MEMORY)
    returned = call(client, agent, "memory_insert", label=block.label, new_string="c", insert_line=line)
    assert returned.status == "error"
    assert str(line) in returned.tool_return
    assert "first line\nsecond line" in returned.tool_return
    assert_unchanged(client, block)


@pytest.mark.parametrize(
    ("tool", "old", "new"),
    [("memory_replace", "old_string", "new_string"), ("core_memory_replace", "old_content", "new_content")],
)
class TestReplace:
    """Both tools that replace one passage by another."""

    def test_one_match_is_replaced(
        self, client: Letta, new_agent: NewAgent, new_block: NewBlock, tool: str, old: str, new: str
    ) -> None:
        block = new_block(value="one two\nthree")
        agent = new_agent(block_ids=[block.id], **MEMORY)
        returned = call(client, agent, tool, label=block.label, **{old: "two\nth", new: "2\nTH"})
        assert returned.status == "success"
        changed = client.blocks.retrieve(block.id)
        assert (changed.value, version(changed)) == ("one 2\nTHree", 2)

    def test_a_passage_is_removed(
        self, client: Letta, new_agent: NewAgent, new_block: NewBlock, tool: str, old: str, new: str
    ) -> None:
        block = new_block(value="one two")
        agent = new_agent(block_ids=[block.id], **MEMORY)
        call(client, agent, tool, label=block.label, **{old: " two", new: ""})
        assert client.blocks.retrieve(block.id).value == "one"

    def test_no_match_is_refused_with_the_text_as_it_is(
        self, client: Letta, new_agent: NewAgent, new_block: NewBlock, tool: str, old: str, new: str
    ) -> None:
        block = new_block(value="one two three")
        agent = new_agent(block_ids=[block.id], **MEMORY)
        returned = call(client, agent, tool, label=block.label, **{old: "four", new: "five"})
        assert returned.status == "error"
        assert "0 times" in returned.tool_return
        assert "one two three" in returned.tool_return
        assert_unchanged(client, block)

    def test_many_matches_are_refused_with_their_lines(
        self, client: Letta, new_agent: NewAgent, new_block: NewBlock, tool: str, old: str, new: str
    ) -> None:
        block = new_block(value="tea\nmilk\ntea\n\ntea")
        agent = new_agent(block_ids=[block.id], **MEMORY)
        returned = call(client, agent, tool, label=block.label, **{old: "tea", new: "coffee"})
        assert returned.status == "error"
        assert "3 times" in returned.tool_return
        assert "1, 3, 5" in returned.tool_return
        assert "tea\nmilk\ntea" in returned.tool_return
        assert_unchanged(client, block)

    def test_an_empty_passage_is_refused(
        self, client: Letta, new_agent: NewAgent, new_block: NewBlock, tool: str, old: str, new: str
    ) -> None:
        block = new_block(value="one")
        agent = new_agent(block_ids=[block.id], **MEMORY)
        assert call(client, agent, tool, label=block.label, **{old: "", new: "x"}).status == "error"
        assert_unchanged(client, block)


def test_rethink_overwrites(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block(value="all\nold")
    agent = new_agent(block_ids=[block.id], **MEMORY)
    returned = call(client, agent, "memory_rethink", label=block.label, new_memory="all new")
    assert returned.status == "success"
    assert "overwrote" not in returned.tool_return
    assert client.blocks.retrieve(block.id).value == "all new"


@pytest.mark.parametrize(("before", "after"), [("", "more"), ("some", "some\nmore")])
def test_core_memory_append_adds_a_line(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, before: str, after: str
) -> None:
    block = new_block(value=before)
    agent = new_agent(block_ids=[block.id], **MEMORY)
    assert call(client, agent, "core_memory_append", label=block.label, content="more").status == "success"
    assert client.blocks.retrieve(block.id).value == after


def test_finish_edits_ends_the_turn(client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    agent = new_agent(agent_type="sleeptime_agent")
    response = client.agents.messages.create(agent.id, input="CALL memory_finish_edits {}\nTHEN ECHO too much")
    assert [m.message_type for m in response.messages] == ["tool_call_message", "tool_return_message"]
    assert response.stop_reason.stop_reason == "tool_rule"
    assert len(scripted_model.requests) == 1


# -- what is refused -----------------------------------------------------------------------------------------

EDITS = [
    pytest.param("memory_insert", {"new_string": "x" * 20}, id="insert"),
    pytest.param("memory_replace", {"old_string": "0123", "new_string": "x" * 25}, id="replace"),
    pytest.param("memory_rethink", {"new_memory": "x" * 31}, id="rethink"),
    pytest.param("core_memory_append", {"content": "x" * 20}, id="append"),
    pytest.param("core_memory_replace", {"old_content": "0123", "new_content": "x" * 25}, id="core replace"),
]


@pytest.mark.parametrize(("tool", "arguments"), EDITS)
def test_an_edit_over_the_limit_is_refused_by_how_much(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, tool: str, arguments: dict[str, Any]
) -> None:
    block = new_block(value="0123456789", limit=30)
    agent = new_agent(block_ids=[block.id], **MEMORY)
    returned = call(client, agent, tool, label=block.label, **arguments)
    assert returned.status == "error"
    assert "31 characters" in returned.tool_return
    assert "1 over" in returned.tool_return
    assert "30" in returned.tool_return
    assert_unchanged(client, block)


@pytest.mark.parametrize(("tool", "arguments"), EDITS)
def test_an_edit_up_to_the_limit_lands(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, tool: str, arguments: dict[str, Any]
) -> None:
    block = new_block(value="0123456789", limit=31)
    agent = new_agent(block_ids=[block.id], **MEMORY)
    assert call(client, agent, tool, label=block.label, **arguments).status == "success"
    assert len(client.blocks.retrieve(block.id).value) == 31


@pytest.mark.parametrize(("tool", "arguments"), EDITS)
def test_a_read_only_block_is_not_changed_by_any_tool(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, tool: str, arguments: dict[str, Any]
) -> None:
    block = new_block(value="0123456789", read_only=True)
    agent = new_agent(block_ids=[block.id], **MEMORY)
    returned = call(client, agent, tool, label=block.label, **arguments)
    assert returned.status == "error"
    assert "read-only" in returned.tool_return
    assert_unchanged(client, block)
    client.blocks.update(block.id, value="by the owner")
    assert client.blocks.retrieve(block.id).value == "by the owner"


@pytest.mark.parametrize(("tool", "arguments"), EDITS)
def test_a_label_the_agent_does_not_have_is_answered_with_those_it_has(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, tool: str, arguments: dict[str, Any]
) -> None:
    mine, another = new_block(value="0123456789"), new_block(value="0123456789")
    agent = new_agent(block_ids=[mine.id], **MEMORY)
    returned = call(client, agent, tool, label=another.label, **arguments)
    assert returned.status == "error"
    assert another.label is not None
    assert mine.label is not None
    assert repr(another.label) in returned.tool_return
    assert repr(mine.label) in returned.tool_return.partition("Your blocks")[2]
    assert_unchanged(client, mine)
    assert_unchanged(client, another)


def test_an_agent_without_blocks_is_told_so(client: Letta, new_agent: NewAgent) -> None:
    returned = call(client, new_agent(**MEMORY), "memory_insert", label="human", new_string="x")
    assert returned.status == "error"
    assert "none" in returned.tool_return


@pytest.mark.parametrize("bad", ["\0", "\ud800"], ids=["NUL", "half a surrogate pair"])
@pytest.mark.every_case_on_both
def test_characters_no_store_can_hold_do_not_reach_a_block(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, bad: str
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id], **MEMORY)
    call(client, agent, "memory_insert", label=block.label, new_string=f"a{bad}b")
    value = client.blocks.retrieve(block.id).value
    assert value in ("", "a\ufffdb")


def test_a_refused_edit_takes_none_of_its_neighbours_with_it(
    client: Letta, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id], **MEMORY)
    calls = [
        ["memory_insert", {"label": block.label, "new_string": "one"}],
        ["memory_replace", {"label": block.label, "old_string": "absent", "new_string": "x"}],
        ["memory_insert", {"label": "absent", "new_string": "x"}],
        ["memory_insert", {"label": block.label, "new_string": "two"}],
    ]
    response = client.agents.messages.create(agent.id, input=f"CALLS {json.dumps(calls)}")
    statuses = [m.status for m in response.messages if m.message_type == "tool_return_message"]
    assert statuses == ["success", "error", "error", "success"]
    changed = client.blocks.retrieve(block.id)
    assert (changed.value, version(changed)) == ("one\ntwo", 3)


# -- versions and authors ------------------------------------------------------------------------------------


def test_versions_rise_by_one_and_name_the_agent_its_run_and_step(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, server: ServerProcess
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id], **MEMORY)
    script = "\nTHEN ".join(
        f'CALLS [["memory_insert", {{"label": "{block.label}", "new_string": "{step}a"}}], '
        f'["memory_insert", {{"label": "{block.label}", "new_string": "{step}b"}}]]'
        for step in range(3)
    )
    response = client.agents.messages.create(agent.id, input=script)
    client.blocks.update(block.id, value="by a program")
    rows = asyncio.run(version_rows(server, block.id))
    assert [row[0] for row in rows] == list(range(1, 9))
    by_agent = rows[1:7]
    calls = [m for m in response.messages if m.message_type == "tool_call_message"]
    assert [row[1:] for row in by_agent] == [
        ("agent", agent.id, agent.name, message.run_id, message.step_id) for message in calls
    ]
    assert len({row[5] for row in by_agent}) == 3
    assert rows[0][1] == rows[7][1] == "api"
    assert (rows[7][4], rows[7][5]) == (None, None)


def test_the_block_says_who_wrote_it_last(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id], **MEMORY)
    call(client, agent, "memory_insert", label=block.label, new_string="x")
    by: Any = client.blocks.retrieve(block.id).updated_by  # type: ignore[attr-defined]
    assert (by["type"], by["id"], by["name"]) == ("agent", agent.id, agent.name)


# -- others write meanwhile ----------------------------------------------------------------------------------


async def test_an_edit_applies_to_the_text_as_it_is_when_it_lands(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block(value="first")
    agent = new_agent(block_ids=[block.id], **MEMORY)
    with scripted_model.hold() as held:
        arguments = json.dumps({"label": block.label, "new_string": "third"})
        turn = start(async_client, agent, "memory_insert", arguments)
        await asyncio.to_thread(held.wait_for, 1)
        client.blocks.update(block.id, value="first\nsecond")
        held.release()
        await turn
    assert client.blocks.retrieve(block.id).value == "first\nsecond\nthird"


async def test_a_replace_of_text_that_is_gone_is_refused_with_the_text_as_it_is(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block(value="the old fact")
    agent = new_agent(block_ids=[block.id], **MEMORY)
    with scripted_model.hold() as held:
        arguments = json.dumps({"label": block.label, "old_string": "old", "new_string": "new"})
        turn = start(async_client, agent, "memory_replace", arguments)
        await asyncio.to_thread(held.wait_for, 1)
        client.blocks.update(block.id, value="another fact")
        held.release()
        response = await turn
    (returned,) = [m for m in response.messages if m.message_type == "tool_return_message"]
    assert returned.status == "error"
    assert "another fact" in str(returned.tool_return)
    assert client.blocks.retrieve(block.id).value == "another fact"


async def test_a_rethink_tells_what_it_overwrote_and_whose_it_was(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block(value="first")
    agent, other = new_agent(block_ids=[block.id], **MEMORY), new_agent(block_ids=[block.id], **MEMORY)
    with scripted_model.hold(matching="memory_rethink") as held:
        arguments = json.dumps({"label": block.label, "new_memory": "mine alone"})
        turn = start(async_client, agent, "memory_rethink", arguments)
        await asyncio.to_thread(held.wait_for, 1)
        await async_client.agents.messages.create(
            other.id, input=f'CALL memory_insert {{"label": "{block.label}", "new_string": "what the other found"}}'
        )
        held.release()
        response = await turn
    (returned,) = [m for m in response.messages if m.message_type == "tool_return_message"]
    told = str(returned.tool_return)
    assert returned.status == "success"
    assert other.name in told
    assert "version 2" in told
    assert "what the other found" in told
    after = client.blocks.retrieve(block.id)
    assert (after.value, version(after)) == ("mine alone", 3)


async def test_an_edit_of_the_persona_does_not_write_back_a_stale_shared_block(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    shared, persona = new_block(value="old"), new_block(value="I am shy.")
    agent = new_agent(block_ids=[shared.id, persona.id], **MEMORY)
    with scripted_model.hold() as held:
        arguments = json.dumps({"label": persona.label, "new_memory": "I am bold."})
        turn = start(async_client, agent, "memory_rethink", arguments)
        await asyncio.to_thread(held.wait_for, 1)
        client.blocks.update(shared.id, value="new")
        held.release()
        await turn
    after = client.blocks.retrieve(shared.id)
    assert (after.value, version(after)) == ("new", 2)
    assert client.blocks.retrieve(persona.id).value == "I am bold."


async def test_a_block_that_is_detached_meanwhile_is_not_changed(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block(value="kept")
    agent = new_agent(block_ids=[block.id], **MEMORY)
    with scripted_model.hold() as held:
        arguments = json.dumps({"label": block.label, "new_string": "late"})
        turn = start(async_client, agent, "memory_insert", arguments)
        await asyncio.to_thread(held.wait_for, 1)
        client.agents.blocks.detach(block.id, agent_id=agent.id)
        held.release()
        response = await turn
    (returned,) = [m for m in response.messages if m.message_type == "tool_return_message"]
    assert returned.status == "error"
    assert_unchanged(client, block)


async def test_a_block_that_is_deleted_meanwhile_is_told_and_the_turn_goes_on(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block(value="gone soon")
    agent = new_agent(block_ids=[block.id], **MEMORY)
    with scripted_model.hold() as held:
        arguments = json.dumps({"label": block.label, "new_string": "late"})
        turn = start(async_client, agent, "memory_insert", arguments)
        await asyncio.to_thread(held.wait_for, 1)
        client.blocks.delete(block.id)
        held.release()
        response = await turn
    (returned,) = [m for m in response.messages if m.message_type == "tool_return_message"]
    assert returned.status == "error"
    assert response.messages[-1].message_type == "assistant_message"


async def test_a_step_whose_commit_fails_leaves_no_edit(
    client: Letta,
    async_client: AsyncLetta,
    new_agent: NewAgent,
    new_block: NewBlock,
    scripted_model: ScriptedModel,
    server: ServerProcess,
) -> None:
    """The edit itself applies; then the step's messages find their conversation gone."""
    shared = new_block(value="kept")
    agent, other = new_agent(block_ids=[shared.id], **MEMORY), new_agent(block_ids=[shared.id], **MEMORY)
    arguments = json.dumps({"label": shared.label, "new_string": "half a step"})
    with scripted_model.hold(matching="memory_insert") as held:
        turn = start(async_client, agent, "memory_insert", arguments)
        await asyncio.to_thread(held.wait_for, 1)
        await rows(server, f"DELETE FROM conversations WHERE id = '{agent.id}'")
        held.release()
        with pytest.raises(NotFoundError):
            await turn
    assert_unchanged(client, shared)
    assert [row[0] for row in await version_rows(server, shared.id)] == [1]
    call(client, other, "memory_rethink", label=shared.label, new_memory="next")
    after = client.blocks.retrieve(shared.id)
    assert (after.value, version(after)) == ("next", 2)


async def test_an_agent_deleted_in_its_turn_changes_nothing_more(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    shared = new_block(value="kept")
    agent = new_agent(block_ids=[shared.id], **MEMORY)
    arguments = json.dumps({"label": shared.label, "new_string": "too late"})
    with scripted_model.hold(matching="memory_insert") as held:
        turn = start(async_client, agent, "memory_insert", arguments)
        await asyncio.to_thread(held.wait_for, 1)
        client.agents.delete(agent.id)
        held.release()
        with pytest.raises(NotFoundError):
            await turn
    assert_unchanged(client, shared)


def assert_unchanged(client: Letta, block: BlockResponse) -> None:
    now = client.blocks.retrieve(block.id)
    assert (now.value, version(now)) == (block.value, version(block))


async def version_rows(server: ServerProcess, block_id: str) -> list[tuple[Any, ...]]:
    """Return version, author's type, id, name, run and step of each of the block's history rows, oldest first."""
    columns = "version, author_type, author_id, author_name, run_id, step_id"
    return await rows(server, f"SELECT {columns} FROM block_versions WHERE block_id = '{block_id}' ORDER BY version")


async def rows(server: ServerProcess, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement in the server's database, beside the server."""
    url = server.database
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            return [tuple(row) for row in database.execute(statement)]
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()
