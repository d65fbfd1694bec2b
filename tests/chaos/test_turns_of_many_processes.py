"""One agent's turns, sent to different processes, run one after the other, whatever becomes of a process."""

from __future__ import annotations

import asyncio

import pytest

from chaos.conftest import Clients
from chaos.moot import assert_whole_turns, end_leases, insertion, make_agent, make_block, post, read, rows, say
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)


async def test_two_turns_sent_to_two_processes_run_one_after_the_other(
    https: Clients, scripted_model: ScriptedModel
) -> None:
    block = await make_block(https[0])
    agent, other = await make_agent(https[0], block), await make_agent(https[0])
    with scripted_model.hold(matching="memory_insert") as held:
        first = asyncio.create_task(say(https[0], agent, insertion(block, "first")))
        await asyncio.to_thread(held.wait_for, 1)
        second = asyncio.create_task(say(https[1], agent, insertion(block, "second")))
        for _ in range(5):  # while the first is with the model, the second process does other work
            await say(https[1], other, "hello")
        assert held.arrived == 1
        held.release(1)
        await asyncio.to_thread(held.wait_for, 2)  # the first turn's second step
        assert not second.done()
        held.release()
        await asyncio.gather(first, second)
    assert (await read(https[2], block))["value"] == "first\nsecond"
    kinds = [message["message_type"] for message in await assert_whole_turns(https[2], agent)]
    turn = ["user_message", "tool_call_message", "tool_return_message", "assistant_message"]
    assert kinds == ["system_message", *turn, *turn]
    asked = [request["messages"] for request in scripted_model.requests if "second" in str(request["messages"])]
    assert "first" in str(asked[0]), "the second turn was built from the first one's end"


async def test_many_turns_of_one_agent_sent_to_three_processes_are_each_in_one_piece(
    https: Clients, scripted_model: ScriptedModel
) -> None:
    block = await make_block(https[0])
    agent = await make_agent(https[0], block)
    sent = [say(https[number % 3], agent, insertion(block, f"line {number}")) for number in range(12)]
    await asyncio.gather(*sent)
    messages = await assert_whole_turns(https[0], agent)
    runs = [message["run_id"] for message in messages[1:]]
    assert [runs[start : start + 4] for start in range(0, 48, 4)] == [[run] * 4 for run in dict.fromkeys(runs)]
    lines = (await read(https[0], block))["value"].splitlines()
    assert sorted(lines) == sorted(f"line {number}" for number in range(12))
    assert len(scripted_model.requests) == 24


async def test_a_turn_that_was_taken_over_stores_nothing_any_more(
    https: Clients, three_processes: list[ServerProcess], scripted_model: ScriptedModel
) -> None:
    """A process that stood still longer than its lease wakes up when its agent's turn is another's already."""
    block = await make_block(https[0])
    agent = await make_agent(https[0], block)
    database = three_processes[0].database
    with scripted_model.hold(matching="memory_insert") as held:
        late = asyncio.create_task(post(https[0], agent, insertion(block, "late")))
        await asyncio.to_thread(held.wait_for, 1)
        await end_leases(database)
        next_turn = asyncio.create_task(say(https[1], agent, "ECHO the next turn"))
        await next_turn
        held.release()
        answer = await late
    assert answer.status_code != 200, answer.text
    assert answer.status_code != 500, answer.text
    assert (await read(https[2], block))["value"] == ""
    messages = await assert_whole_turns(https[2], agent)
    assert [m["message_type"] for m in messages] == ["system_message", "user_message", "assistant_message"]
    statuses = await rows(database, f"SELECT status FROM runs WHERE agent_id = '{agent['id']}' ORDER BY created_at")
    assert statuses == [("failed",), ("completed",)]
