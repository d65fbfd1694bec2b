"""Many agents edit the same blocks at once: what is additive all lands, what conflicts has one winner."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import cycle
from random import Random
from typing import Any

import pytest

from chaos.conftest import Clients
from chaos.moot import (
    assert_one_order,
    assert_whole_turns,
    call,
    calls,
    insertion,
    make_agents,
    make_block,
    read,
    say,
    tool_returns,
    write,
)
from support.scripted_model import ScriptedModel

REPLACERS = 16


async def test_inserts_of_32_agents_at_once_all_land(https: Clients, scripted_model: ScriptedModel) -> None:
    block = await make_block(https[0])
    agents = await make_agents(https[0], 32, block)

    async def two(number: int) -> list[dict[str, Any]]:
        through = https[number % len(https)]
        return [await say(through, agents[number], insertion(block, f"agent {number} line {n}")) for n in range(2)]

    turns = [turn for two_turns in await asyncio.gather(*map(two, range(32))) for turn in two_turns]
    assert [returned["status"] for turn in turns for returned in tool_returns(turn)] == ["success"] * 64
    assert {turn["usage"]["step_count"] for turn in turns} == {2}
    assert len(scripted_model.requests) == 128
    after = await read(https[-1], block)
    assert Counter(after["value"].splitlines()) == Counter(f"agent {a} line {n}" for a in range(32) for n in range(2))
    assert after["version"] == 65
    await assert_one_order(https[0], block)
    for agent in agents:
        assert len(await assert_whole_turns(https[0], agent)) == 1 + 2 * 4


async def replace_at_once(https: Clients, model: ScriptedModel, block: dict[str, Any], scripts: list[str]) -> list[Any]:
    """Let agents make their calls when all of them have been shown the block, and return what they were told."""
    agents = await make_agents(https[0], len(scripts), block)
    with model.hold(matching="memory_replace") as held:
        asked = zip(agents, scripts, cycle(https), strict=False)
        turns = [asyncio.create_task(say(http, agent, script)) for agent, script, http in asked]
        await asyncio.to_thread(held.wait_for, len(scripts))
        held.release()
        return [returned for turn in await asyncio.gather(*turns) for returned in tool_returns(turn)]


async def test_replaces_of_different_lines_at_once_all_land(https: Clients, scripted_model: ScriptedModel) -> None:
    block = await make_block(https[0], "\n".join(f"<old {n}>" for n in range(REPLACERS)))
    scripts = [
        call("memory_replace", label=block["label"], old_string=f"<old {n}>", new_string=f"<new {n}>")
        for n in range(REPLACERS)
    ]
    told = await replace_at_once(https, scripted_model, block, scripts)
    assert [returned["status"] for returned in told] == ["success"] * REPLACERS
    after = await read(https[-1], block)
    assert after["value"] == "\n".join(f"<new {n}>" for n in range(REPLACERS))
    assert after["version"] == REPLACERS + 1
    await assert_one_order(https[0], block)


async def test_of_replaces_of_one_line_at_once_one_wins_and_the_others_are_shown_the_text(
    https: Clients, scripted_model: ScriptedModel
) -> None:
    block = await make_block(https[0], "before\nthe line\nafter")
    scripts = [
        call("memory_replace", label=block["label"], old_string="the line", new_string=f"won by {n}")
        for n in range(REPLACERS)
    ]
    told = await replace_at_once(https, scripted_model, block, scripts)
    after = await read(https[-1], block)
    assert after["version"] == 2
    assert Counter(returned["status"] for returned in told) == {"success": 1, "error": REPLACERS - 1}
    for number, returned in enumerate(told):
        if returned["status"] == "success":
            assert after["value"] == f"before\nwon by {number}\nafter"
        else:
            assert after["value"] in returned["tool_return"]


async def test_an_edit_of_another_block_keeps_a_change_made_meanwhile(
    https: Clients, scripted_model: ScriptedModel
) -> None:
    shared, persona = await make_block(https[0], "as the agent saw it"), await make_block(https[0], "I am shy.")
    (agent,) = await make_agents(https[0], 1, shared, persona)
    with scripted_model.hold(matching="memory_rethink") as held:
        script = call("memory_rethink", label=persona["label"], new_memory="I am bold.")
        turn = asyncio.create_task(say(https[0], agent, script))
        await asyncio.to_thread(held.wait_for, 1)
        assert (await write(https[-1], shared, "changed meanwhile")).status_code == 200
        held.release()
        await turn
    assert (await read(https[0], shared))["value"] == "changed meanwhile"
    assert (await read(https[0], persona))["value"] == "I am bold."
    await assert_one_order(https[0], shared)


async def test_steps_that_edit_two_blocks_in_opposite_order_all_land(
    https: Clients, scripted_model: ScriptedModel
) -> None:
    """Each step locks one block and then wants the other, which another step has locked."""
    pair = [await make_block(https[0]), await make_block(https[0])]
    agents = await make_agents(https[0], 12, *pair)
    with scripted_model.hold(matching="memory_insert") as held:
        turns = []
        for number, (agent, http) in enumerate(zip(agents, cycle(https), strict=False)):
            order = pair if number % 2 else pair[::-1]
            script = calls(*(("memory_insert", {"label": b["label"], "new_string": f"line {number}"}) for b in order))
            turns.append(asyncio.create_task(say(http, agent, script)))
        await asyncio.to_thread(held.wait_for, len(agents))
        held.release()
        told = [returned for turn in await asyncio.gather(*turns) for returned in tool_returns(turn)]
    assert [returned["status"] for returned in told] == ["success"] * 24
    assert len(scripted_model.requests) == 24
    for block in pair:
        assert (await read(https[0], block))["version"] == 13
        await assert_one_order(https[0], block)


async def edit_shared_blocks(https: Clients, *, agents: int, edits: int, seed: int) -> None:
    """Let agents make random edits of five shared blocks; check each block against its history."""
    blocks = [await make_block(https[0], "a\nb\nc") for _ in range(5)]
    made = await make_agents(https[0], agents, *blocks)
    random = Random(seed)
    landed: Counter[str] = Counter()

    def edit(label: str, mark: str) -> tuple[str, dict[str, Any]]:
        tool = random.choices(EDITS, [6, 3, 1])[0]
        match tool:
            case "memory_insert":
                return tool, {"label": label, "new_string": mark, "insert_line": random.choice([-1, 0, 1])}
            case "memory_replace":
                return tool, {"label": label, "old_string": random.choice("abc"), "new_string": f"{mark} abc"}
            case _:
                return tool, {"label": label, "new_memory": f"a {mark}\nb\nc"}

    async def work(number: int) -> None:
        for turn in range(edits // 2):
            two = [random.choice(blocks), random.choice(blocks)]
            pairs = [edit(block["label"], f"{number}.{turn}") for block in two]
            told = tool_returns(await say(random.choice(https), made[number], calls(*pairs)))
            for block, returned in zip(two, told, strict=True):
                landed[block["id"]] += returned["status"] == "success"

    await asyncio.gather(*map(work, range(agents)))
    for block in blocks:
        assert len(await assert_one_order(https[-1], block)) == 1 + landed[block["id"]]
    for agent in made:
        await assert_whole_turns(https[0], agent)
    assert sum(landed.values()) > agents * edits / 2


EDITS = ("memory_insert", "memory_replace", "memory_rethink")


async def test_each_of_five_shared_blocks_is_its_history_replayed(https: Clients) -> None:
    await edit_shared_blocks(https, agents=10, edits=6, seed=1)


@pytest.mark.chaos
async def test_twenty_agents_make_fifty_edits_each_of_five_shared_blocks(https: Clients) -> None:
    await edit_shared_blocks(https, agents=20, edits=50, seed=2)
