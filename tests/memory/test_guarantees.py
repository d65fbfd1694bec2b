"""The ten guarantees of the shared-memory design, one test or more for each, by number.

Each runs on SQLite and on PostgreSQL, there over three server processes (`https`), and fails when its guarantee is
broken on purpose. Load, crashes and disks that fill up are in `tests/chaos`.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import cycle
from typing import Any

import asyncpg
import httpx
import pytest

from chaos.conftest import Clients, Connect
from chaos.moot import (
    assert_one_order,
    call,
    calls,
    insertion,
    make_agent,
    make_agents,
    make_block,
    ok,
    post,
    read,
    say,
    tool_returns,
    write,
)
from support.fixtures import StartServer
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

EVERY_TOOL = (
    "memory_insert",
    "memory_replace",
    "memory_rethink",
    "memory_apply_patch",
    "core_memory_append",
    "core_memory_replace",
    "memory",
)


def edits_of(label: str, old: str, new: str) -> list[tuple[str, dict[str, Any]]]:
    """Return a call of each tool that could change the block, for a text in which `old` stands once."""
    path = f"/memories/{label}"
    return [
        ("memory_insert", {"label": label, "new_string": new}),
        ("memory_replace", {"label": label, "old_string": old, "new_string": new}),
        ("memory_rethink", {"label": label, "new_memory": new}),
        ("memory_apply_patch", {"label": label, "patch": f"-{old}\n+{new}"}),
        ("core_memory_append", {"label": label, "content": new}),
        ("core_memory_replace", {"label": label, "old_content": old, "new_content": new}),
        ("memory", {"command": "str_replace", "path": path, "old_string": old, "new_string": new}),
        ("memory", {"command": "insert", "path": path, "insert_text": new}),
        ("memory", {"command": "delete", "path": path}),
        ("memory", {"command": "rename", "old_path": path, "new_path": f"{path}_renamed"}),
        ("memory", {"command": "create", "path": path, "file_text": new}),
    ]


class Meanwhile:
    """An agent's turn that is with the model: what happens now, happens after its context was built."""

    def __init__(self, http: httpx.AsyncClient, model: ScriptedModel, agent: dict[str, Any], script: str) -> None:
        self._http, self._agent, self._script = http, agent, script
        self._hold = model.hold(matching=script[:40])
        self.told: list[dict[str, Any]] = []

    async def __aenter__(self) -> Meanwhile:
        self._held = self._hold.__enter__()
        self._turn = asyncio.create_task(say(self._http, self._agent, self._script))
        await asyncio.to_thread(self._held.wait_for, 1)
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._hold.__exit__(*error)
        self.told = tool_returns(await self._turn)


# -- 1 to 3: durability and order ----------------------------------------------------------------------------


async def test_guarantee_1_what_was_acknowledged_survives_kill_9(
    start_server: StartServer, connect: Connect, scripted_model: ScriptedModel
) -> None:
    """Killed the moment after the acknowledgement, with another edit on its way."""
    server = start_server()
    http = connect(server.url)
    block = await make_block(http)
    agent, other = await make_agents(http, 2, block)
    with scripted_model.hold(matching="on its way") as held:
        cut = asyncio.create_task(post(http, other, insertion(block, "on its way")))
        await asyncio.to_thread(held.wait_for, 1)
        await say(http, agent, insertion(block, "by an agent"))
        now = ok(await write(http, block, "by an agent\nby a program"))
        server.kill()
        with pytest.raises(httpx.TransportError):
            await cut
    await asyncio.to_thread(server.start)
    after = await read(http, block)
    assert (after["value"], after["version"]) == ("by an agent\nby a program", 3) == (now["value"], now["version"])
    await assert_one_order(http, block)


async def test_guarantee_2_versions_have_no_gap_and_replay_to_the_text(https: Clients) -> None:
    """Of all kinds of edits, short and long texts, refusals between them."""
    block = await make_block(https[0], "\n".join(f"line {n} of many" for n in range(100)))
    agents = await make_agents(https[0], 6, block, tools=EVERY_TOOL)
    label = block["label"]
    scripts = [
        calls(
            ("memory_insert", {"label": label, "new_string": f"{n} ä😀\r\n", "insert_line": n}),
            ("memory_replace", {"label": label, "old_string": f"line {n}0 of many", "new_string": ""}),
            ("memory_replace", {"label": label, "old_string": "of many", "new_string": "refused"}),
            ("memory_apply_patch", {"label": label, "patch": f"-line {n}5 of many\n+patched {n}"}),
            ("core_memory_append", {"label": label, "content": f"the end {n}"}),
        )
        for n in range(1, 7)
    ]
    posts = zip(agents, cycle(https), scripts, strict=False)
    turns = await asyncio.gather(*(say(http, agent, script) for agent, http, script in posts))
    assert Counter(m["status"] for turn in turns for m in tool_returns(turn)) == {"success": 24, "error": 6}
    ok(await https[-1].post(f"/v1/blocks/{block['id']}/revert", json={"version": 3}))
    versions = await assert_one_order(https[-1], block)
    assert len(versions) == 26
    assert versions[-1]["value"] == versions[2]["value"]


async def test_guarantee_3_a_read_after_an_acknowledged_edit_sees_it_in_every_process(
    https: Clients,
) -> None:
    block = await make_block(https[0])
    agent = await make_agent(https[0], block)
    for number, through in zip(range(15), cycle(https), strict=False):
        if number % 3:
            ok(await write(through, block, f"text {number}"))
        else:
            await say(through, agent, call("memory_rethink", label=block["label"], new_memory=f"text {number}"))
        for http in https:
            after = await read(http, block)
            assert (after["value"], after["version"]) == (f"text {number}", number + 2)
            shown = ok(await http.get(f"/v1/agents/{agent['id']}/core-memory/blocks/{block['label']}"))
            assert shown["value"] == f"text {number}"


async def test_guarantee_3_a_refusal_tells_only_of_a_version_that_can_be_read(https: Clients) -> None:
    """Who is told 412 with the current version finds that version, not an older one, by a read that starts then."""
    block = await make_block(https[0])

    async def compare(http: httpx.AsyncClient) -> tuple[int, int]:
        refused = await write(http, block, "never", 10**8)
        assert refused.status_code == 412
        return refused.json()["current_version"], (await read(https[-1], block))["version"]

    for number in range(20):
        writing = [write(https[0], block, f"text {number}") for _ in range(4)]
        _, *told = await asyncio.gather(asyncio.gather(*writing), *(compare(http) for http in (*https, *https)))
        assert all(now >= current for current, now in told), told


# -- 4 to 6: the three edits ---------------------------------------------------------------------------------


async def test_guarantee_4_inserts_never_conflict(
    https: Clients,
    scripted_model: ScriptedModel,
) -> None:
    """32 agents that were all shown the same version insert at once, at different places: no error, no retry."""
    block = await make_block(https[0], "first\nlast")
    agents = await make_agents(https[0], 32, block)
    with scripted_model.hold(matching="memory_insert") as held:
        turns = [
            asyncio.create_task(
                say(
                    http,
                    agent,
                    call("memory_insert", label=block["label"], new_string=f"line {n}", insert_line=(-1, 0, 1)[n % 3]),
                )
            )
            for n, (agent, http) in enumerate(zip(agents, cycle(https), strict=False))
        ]
        await asyncio.to_thread(held.wait_for, 32)
        held.release()
        told = [m for turn in await asyncio.gather(*turns) for m in tool_returns(turn)]
    assert [m["status"] for m in told] == ["success"] * 32
    assert len(scripted_model.requests) == 64, "two model calls a turn"
    after = await read(https[0], block)
    assert Counter(after["value"].splitlines()) == Counter(["first", "last", *(f"line {n}" for n in range(32))])
    assert after["version"] == 33


@pytest.mark.parametrize("tool", ["memory_replace", "core_memory_replace", "memory_apply_patch", "memory"])
@pytest.mark.every_case_on_both
async def test_guarantee_5_a_replace_never_edits_text_it_did_not_see(
    https: Clients,
    scripted_model: ScriptedModel,
    tool: str,
) -> None:
    """The passage changes, or comes to stand twice, between the agent's look and its edit."""
    for meanwhile in ("the sky is grey", "the sky is blue\nand the sky is blue"):
        block = await make_block(https[0], "the sky is blue")
        agent = await make_agent(https[0], block, tools=[tool])
        (edit,) = (
            (name, arguments)
            for name, arguments in edits_of(block["label"], "the sky is blue", "it rains")
            if name == tool and arguments.get("command", "str_replace") == "str_replace"
        )
        if tool == "memory_apply_patch" and "and" in meanwhile:
            meanwhile = "the sky is blue\nthe sky is blue"
        async with Meanwhile(https[0], scripted_model, agent, call(edit[0], **edit[1])) as turn:
            ok(await write(https[-1], block, meanwhile))
        assert turn.told[0]["status"] == "error"
        assert meanwhile in turn.told[0]["tool_return"]
        after = await read(https[-1], block)
        assert (after["value"], after["version"]) == (meanwhile, 2)


async def test_guarantee_5_of_replaces_of_the_same_text_one_wins(
    https: Clients,
    scripted_model: ScriptedModel,
) -> None:
    block = await make_block(https[0], "old")
    agents = await make_agents(https[0], 8, block)
    with scripted_model.hold(matching="memory_replace") as held:
        turns = [
            asyncio.create_task(
                say(http, agent, call("memory_replace", label=block["label"], old_string="old", new_string=f"new {n}"))
            )
            for n, (agent, http) in enumerate(zip(agents, cycle(https), strict=False))
        ]
        await asyncio.to_thread(held.wait_for, 8)
        held.release()
        told = [m for turn in await asyncio.gather(*turns) for m in tool_returns(turn)]
    assert Counter(m["status"] for m in told) == {"success": 1, "error": 7}
    after = await read(https[0], block)
    assert after["version"] == 2
    assert all(after["value"] in m["tool_return"] for m in told if m["status"] == "error")


async def test_guarantee_6_a_rethink_says_whom_it_overwrote(
    https: Clients,
    scripted_model: ScriptedModel,
) -> None:
    block = await make_block(https[0], "as it was shown")
    agent, other = await make_agents(https[0], 2, block)
    script = call("memory_rethink", label=block["label"], new_memory="mine alone")
    async with Meanwhile(https[0], scripted_model, agent, script) as turn:
        await say(https[-1], other, insertion(block, "what the other found"))
    (told,) = turn.told
    assert told["status"] == "success"
    assert other["name"] in told["tool_return"]
    assert "version 2" in told["tool_return"]
    overwritten = ok(await https[-1].get(f"/v1/blocks/{block['id']}/history/2"))
    assert overwritten["value"] == "as it was shown\nwhat the other found"
    assert (await read(https[0], block))["value"] == "mine alone"


async def test_guarantee_6_a_rethink_that_overwrote_nothing_unseen_says_nothing(https: Clients) -> None:
    block = await make_block(https[0], "as it was shown")
    agent, other = await make_agents(https[0], 2, block)
    await say(https[0], other, insertion(block, "seen"))
    script = call("memory_rethink", label=block["label"], new_memory="mine alone")
    (told,) = tool_returns(await say(https[-1], agent, script))
    assert other["name"] not in told["tool_return"]
    assert "overwrote" not in told["tool_return"]


async def test_guarantee_6_a_rethink_after_an_edit_of_its_own_step_still_says_whom_it_overwrote(
    https: Clients,
    scripted_model: ScriptedModel,
) -> None:
    block = await make_block(https[0], "as it was shown")
    agent, other = await make_agents(https[0], 2, block)
    script = calls(
        ("memory_insert", {"label": block["label"], "new_string": "my own"}),
        ("memory_rethink", {"label": block["label"], "new_memory": "mine alone"}),
    )
    async with Meanwhile(https[0], scripted_model, agent, script) as turn:
        await say(https[-1], other, insertion(block, "what the other found"))
    assert other["name"] in turn.told[1]["tool_return"]


async def test_guarantee_6_a_rethink_names_everyone_whom_it_overwrote(
    https: Clients,
    scripted_model: ScriptedModel,
) -> None:
    block = await make_block(https[0], "as it was shown")
    agent, *others = await make_agents(https[0], 3, block)
    script = call("memory_rethink", label=block["label"], new_memory="mine alone")
    async with Meanwhile(https[0], scripted_model, agent, script) as turn:
        for other in others:
            await say(https[-1], other, insertion(block, "found"))
    assert [other["name"] in turn.told[0]["tool_return"] for other in others] == [True, True]


# -- 7: what the model is sent -------------------------------------------------------------------------------


def prefix(request: dict[str, Any]) -> tuple[list[str], str]:
    """Return what a prompt cache keeps: all messages but the trailing memory, and everything else, byte for byte."""
    messages = request["messages"]
    assert messages[-1]["role"] == "system"
    assert "<memory_blocks-" in messages[-1]["content"]
    assert "<memory_blocks-" not in json.dumps(messages[:-1])
    rest = {name: value for name, value in request.items() if name != "messages"}
    return [json.dumps(message) for message in messages[:-1]], json.dumps(rest)


async def test_guarantee_7_ten_edits_leave_the_prefix_byte_for_byte(
    https: Clients,
    scripted_model: ScriptedModel,
) -> None:
    """Five edits in one turn and five in turns of their own, through every process, others writing between them."""
    block = await make_block(https[0], "start")
    agent = await make_agent(https[0], block, tools=EVERY_TOOL, system="Be brief.")
    await say(https[0], agent, "\n".join(insertion(block, f"edit {n}") for n in range(5)))
    for number, http in zip(range(5, 10), cycle(https), strict=False):
        ok(await https[-1].patch(f"/v1/blocks/{block['id']}", json={"description": f"described {number}"}))
        await say(http, agent, insertion(block, f"edit {number}"))
    requests = [request for request in scripted_model.requests if request["messages"][0]["content"] == "Be brief."]
    assert len(requests) == 6 + 10
    before, rest = prefix(requests[0])
    for number, request in enumerate(requests[1:], 2):
        now, rest_now = prefix(request)
        assert now[: len(before)] == before, f"request {number}"
        assert len(now) > len(before)
        assert rest_now == rest, f"request {number}"
        before = now
    assert "edit 8" in requests[-1]["messages"][-1]["content"]


async def test_guarantee_7_a_block_changed_in_a_long_turn_is_seen_at_the_next_step(
    https: Clients,
    scripted_model: ScriptedModel,
) -> None:
    block, notes = await make_block(https[0], "fact 0"), await make_block(https[0])
    agent = await make_agent(https[0], block, notes)
    script = "\n".join(insertion(notes, f"note {number}") for number in range(5))
    with scripted_model.hold(matching=notes["label"]) as held:
        turn = asyncio.create_task(say(https[0], agent, script))
        for step in range(6):
            await asyncio.to_thread(held.wait_for, step + 1)
            shown = scripted_model.requests[-1]["messages"][-1]["content"]
            assert f"fact {step}\n" in shown
            assert f"fact {step - 1}\n" not in shown
            ok(await write(https[step % len(https)], block, f"fact {step + 1}"))
            held.release(1)
        await turn


# -- 8 to 10: what an edit must not do -----------------------------------------------------------------------


async def test_guarantee_8_read_only_holds_against_every_tool(https: Clients) -> None:
    block = await make_block(https[0], "the rule", read_only=True)
    agent = await make_agent(https[0], block, tools=EVERY_TOOL)
    scripts = "\n".join(call(tool, **arguments) for tool, arguments in edits_of(block["label"], "the rule", "broken"))
    told = tool_returns(await say(https[-1], agent, scripts))
    assert len(told) == 11
    assert {m["status"] for m in told} == {"error"}
    assert all("read-only" in m["tool_return"] for m in told[:-1])
    after = await read(https[0], block)
    assert (after["value"], after["version"], after["label"]) == ("the rule", 1, block["label"])
    assert ok(await write(https[-1], block, "the new rule"))["version"] == 2
    attached = ok(await https[0].get(f"/v1/agents/{agent['id']}/core-memory/blocks"))
    assert [one["id"] for one in attached] == [block["id"]]


async def test_guarantee_8_a_block_made_read_only_meanwhile_is_not_changed(
    https: Clients,
    scripted_model: ScriptedModel,
) -> None:
    block = await make_block(https[0], "the rule")
    agent = await make_agent(https[0], block)
    script = call("memory_rethink", label=block["label"], new_memory="broken")
    async with Meanwhile(https[0], scripted_model, agent, script) as turn:
        ok(await https[-1].patch(f"/v1/blocks/{block['id']}", json={"read_only": True}))
    assert turn.told[0]["status"] == "error"
    assert (await read(https[0], block))["value"] == "the rule"


class OwnersTransaction:
    """A change of the owner's that holds the block's lock while an agent's step comes to wait for it."""

    def __init__(self, process: ServerProcess, statement: str) -> None:
        self._database = process.database
        self._statement = statement

    async def __aenter__(self) -> OwnersTransaction:
        self._connection = await asyncpg.connect(self._database)
        self._transaction = self._connection.transaction()
        await self._transaction.start()
        await self._connection.execute(self._statement)
        return self

    async def somebody_waits(self) -> None:
        """Return when another transaction waits for a lock."""
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted"
        async with asyncio.timeout(PATIENCE):
            while await self._connection.fetchval(waiting) is None:
                await asyncio.sleep(0.01)

    async def __aexit__(self, *_: object) -> None:
        await self._transaction.commit()
        await self._connection.close()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_guarantee_8_read_only_holds_for_a_step_that_waited_for_the_owner(
    https: Clients, three_processes: list[ServerProcess]
) -> None:
    """The step looked before the owner's change was committed and got the lock after it."""
    block = await make_block(https[0], "the rule")
    agent = await make_agent(https[0], block)
    change = f"UPDATE blocks SET read_only = true WHERE id = '{block['id']}'"
    async with OwnersTransaction(three_processes[0], change) as owner:
        script = call("memory_rethink", label=block["label"], new_memory="broken")
        turn = asyncio.create_task(say(https[0], agent, script))
        await owner.somebody_waits()
    (told,) = tool_returns(await turn)
    after = await read(https[0], block)
    assert (told["status"], after["value"], after["version"]) == ("error", "the rule", 1)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_guarantee_10_a_block_deleted_while_a_step_waited_is_told_to_the_model(
    https: Clients, three_processes: list[ServerProcess]
) -> None:
    block = await make_block(https[0], "the rule")
    agent = await make_agent(https[0], block)
    async with OwnersTransaction(three_processes[0], f"DELETE FROM blocks WHERE id = '{block['id']}'") as owner:
        turn = asyncio.create_task(post(https[0], agent, insertion(block, "late")))
        await owner.somebody_waits()
    (told,) = tool_returns(ok(await turn))
    assert told["status"] == "error"


async def test_guarantee_9_an_edit_of_the_persona_keeps_what_others_wrote_to_a_shared_block(
    https: Clients,
    scripted_model: ScriptedModel,
) -> None:
    """Whatever tool edits the persona, in a turn that saw the shared block before it changed."""
    for tool, arguments in edits_of("persona", "I am shy.", "I am bold.")[:8]:
        shared, persona = await make_block(https[0], "old"), await make_block(https[0], "I am shy.", label="persona")
        agent, other = await make_agents(https[0], 2, shared, tools=EVERY_TOOL)
        ok(await https[0].patch(f"/v1/agents/{agent['id']}/core-memory/blocks/attach/{persona['id']}"))
        async with Meanwhile(https[0], scripted_model, agent, call(tool, **arguments)) as turn:
            ok(await write(https[-1], shared, "new"))
            await say(https[-1], other, insertion(shared, "and newer"))
        assert turn.told[0]["status"] == "success", turn.told
        after = await read(https[-1], shared)
        assert (after["value"], after["version"]) == ("new\nand newer", 3), tool
        assert "I am bold." in (await read(https[-1], persona))["value"]


async def test_guarantee_10_a_refusal_changes_nothing_and_tells_what_the_next_try_needs(
    https: Clients,
) -> None:
    text = "one\ntwo\ntwo"
    block = await make_block(https[0], text, limit=20)
    agent = await make_agent(https[0], block, tools=EVERY_TOOL)
    label, path = block["label"], f"/memories/{block['label']}"
    refusals: list[tuple[str, dict[str, Any], list[str]]] = [
        ("memory_replace", {"old_string": "three", "new_string": "x"}, [text, "0 times"]),
        ("memory_replace", {"old_string": "two", "new_string": "x"}, [text, "2 times", "2, 3"]),
        ("core_memory_replace", {"old_content": "three", "new_content": "x"}, [text]),
        ("memory_apply_patch", {"patch": "-three\n+x"}, [text]),
        ("memory_insert", {"new_string": "x", "insert_line": 9}, [text, "9", "3"]),
        ("memory_insert", {"new_string": "x" * 10}, ["22", "2 over", "20", "11"]),
        ("memory_rethink", {"new_memory": "x" * 25}, ["25", "5 over", "20"]),
        ("core_memory_append", {"content": "x" * 10}, ["22", "2 over", "20"]),
        ("memory", {"command": "str_replace", "path": path, "old_string": "three", "new_string": "x"}, [text]),
        ("memory", {"command": "insert", "path": path, "insert_text": "x" * 10}, ["2 over", "20"]),
    ]
    script = "\n".join(
        call(tool, **(arguments if tool == "memory" else {"label": label, **arguments}))
        for tool, arguments, _ in refusals
    )
    told = tool_returns(await say(https[-1], agent, script))
    for (tool, arguments, words), returned in zip(refusals, told, strict=True):
        assert returned["status"] == "error", tool
        missing = [word for word in words if word not in returned["tool_return"]]
        assert not missing, (tool, arguments, returned["tool_return"])
    after = await read(https[0], block)
    assert (after["value"], after["version"]) == (text, 1)
    # What the refusal says is enough for the next try to work.
    await say(https[0], agent, call("memory_replace", label=label, old_string="two\ntwo", new_string="two"))
    assert (await read(https[0], block))["value"] == "one\ntwo"


async def test_guarantee_10_a_new_block_over_the_limit_is_refused_to_the_model(https: Clients) -> None:
    agent = await make_agent(https[0], tools=EVERY_TOOL)
    script = call("memory", command="create", path="/memories/long", file_text="x" * 100_001)
    (told,) = tool_returns(await say(https[0], agent, script))
    assert told["status"] == "error"
    assert "100,000" in told["tool_return"]
