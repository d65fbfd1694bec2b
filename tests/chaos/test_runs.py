"""Runs when processes die, and when there are many at once: followed to an end, none lost, none run twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import pytest

from chaos.conftest import Clients, Connect
from chaos.moot import assert_whole_turns, call, make_agent, make_agents, ok, rows, say
from support.fixtures import MODEL, StartServer, thorough
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel

DONE = "[DONE]"
ASKED = f"{call('conversation_search')}\nTHEN ECHO one two three four five"


async def start(http: httpx.AsyncClient, agent: dict[str, Any], text: str, **more: Any) -> str:
    """Say something in the background and return the run's id."""
    run_id: str = ok(await http.post(f"/v1/agents/{agent['id']}/messages/async", json={"input": text, **more}))["id"]
    return run_id


async def follow(http: httpx.AsyncClient, run_id: str, seen: list[str], after: int = 0) -> list[str]:
    """Follow a run to the end of its stream; `seen` grows while it does."""
    url = f"/v1/runs/{run_id}/stream"
    async with http.stream("GET", url, params={"starting_after": after}, timeout=PATIENCE) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                seen.append(line.removeprefix("data: "))
    return seen


async def until(seen: list[str], count: int) -> None:
    """Return when a reader has seen so many events."""
    async with asyncio.timeout(PATIENCE):
        while len(seen) < count:
            await asyncio.sleep(0.01)


def kinds(entries: list[str]) -> list[str]:
    return [json.loads(entry)["message_type"] for entry in entries if entry != DONE]


def assert_ended_by_death(entries: list[str]) -> None:
    assert entries[-1] == DONE
    assert entries.count(DONE) == 1
    *_, error, stop = (json.loads(entry) for entry in entries[:-1])
    assert (error["message_type"], stop) == (
        "error_message",
        {"message_type": "stop_reason", "stop_reason": "error"},
    )
    numbers = [json.loads(entry).get("seq_id") for entry in entries[:-2]]
    assert numbers == list(range(1, len(numbers) + 1)), "every event once, in order"


async def _killed_under_three_readers(
    start_server: StartServer, connect: Connect, model: ScriptedModel, database: str, *, wait_out_the_lease: bool
) -> None:
    doomed, other = start_server(), start_server()
    here, there = connect(doomed.url), connect(other.url)
    agent = await make_agent(there, tools=["conversation_search"])
    with model.hold() as held:
        run_id = await start(here, agent, ASKED, stream_tokens=True)
        await asyncio.to_thread(held.wait_for, 1)
        seen: list[list[str]] = [[], [], []]
        readers = [asyncio.create_task(follow(there, run_id, entries)) for entries in seen[:2]]
        held.release(1)
        await asyncio.to_thread(held.wait_for, 2)
        await asyncio.gather(*(until(entries, 4) for entries in seen[:2]))
        readers.append(asyncio.create_task(follow(there, run_id, seen[2])))
        await until(seen[2], 4)
        doomed.kill()
        if not wait_out_the_lease:
            await rows(database, "UPDATE runs SET lease_expires_at = 1 WHERE status IN ('created', 'running')")
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*readers)
    assert seen[0] == seen[1] == seen[2]
    assert_ended_by_death(seen[0])
    assert kinds(seen[0])[:4] == ["ping", "tool_call_message", "tool_call_message", "tool_return_message"]
    for after in range(len(seen[0]) - 1):  # the two last share a number
        assert await follow(there, run_id, [], after) == (seen[0][after:] if after < len(seen[0]) - 2 else [DONE])
    run = ok(await there.get(f"/v1/runs/{run_id}"))
    assert (run["status"], run["stop_reason"]) == ("failed", "error")
    assert kinds([json.dumps(m) for m in await assert_whole_turns(there, agent)]) == [
        *("system_message", "user_message", "tool_call_message", "tool_return_message")
    ]
    assert (await say(there, agent, "ECHO and on"))["messages"][-1]["content"] == "and on"


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_readers_on_another_process_see_every_event_and_an_end_when_a_process_is_killed(
    start_server: StartServer, connect: Connect, scripted_model: ScriptedModel, database_url: str
) -> None:
    await _killed_under_three_readers(start_server, connect, scripted_model, database_url, wait_out_the_lease=False)


@pytest.mark.chaos
@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_the_lease_of_a_killed_process_runs_out_by_itself(
    start_server: StartServer, connect: Connect, scripted_model: ScriptedModel, database_url: str
) -> None:
    await _killed_under_three_readers(start_server, connect, scripted_model, database_url, wait_out_the_lease=True)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.every_case_on_both
async def test_a_run_whose_server_was_killed_has_an_end_after_the_restart(
    start_server: StartServer,
    connect: Connect,
    scripted_model: ScriptedModel,
    database_url: str,
    store: str,
    step: int,
) -> None:
    server = start_server()
    http = connect(server.url)
    agent = await make_agent(http, tools=["conversation_search"])
    with scripted_model.hold() as held:
        run_id = await start(http, agent, ASKED)
        waiting = await start(http, agent, "ECHO the next in line")
        await asyncio.to_thread(held.wait_for, 1)
        if step == 2:
            held.release(1)
            await asyncio.to_thread(held.wait_for, 2)
        server.kill()
    if store == "postgres":
        await rows(database_url, "UPDATE runs SET lease_expires_at = 1 WHERE status IN ('created', 'running')")
    server.start()
    http = connect(server.url)
    for each in (run_id, waiting):
        run = ok(await http.get(f"/v1/runs/{each}"))
        assert (run["status"], run["stop_reason"]) == ("failed", "error")
    assert (await say(http, agent, "ECHO and on"))["messages"][-1]["content"] == "and on"
    await assert_whole_turns(http, agent)
    for each in (run_id, waiting):
        assert_ended_by_death(await follow(http, each, []))


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.every_case_on_both
async def test_a_turn_that_is_cut_by_a_kill_leaves_whole_steps_and_an_agent_that_answers(
    start_server: StartServer,
    connect: Connect,
    scripted_model: ScriptedModel,
    database_url: str,
    store: str,
    step: int,
) -> None:
    server = start_server()
    http = connect(server.url)
    agent = await make_agent(http, tools=["conversation_search"])
    search = call("conversation_search")
    with scripted_model.hold() as held:
        run_id = await start(http, agent, f"{search}\nTHEN {search}\nTHEN ECHO never", stream_tokens=True)
        for number in range(1, step + 1):
            await asyncio.to_thread(held.wait_for, number)
            if number < step:
                held.release(1)
        server.kill()
    if store == "postgres":
        await rows(database_url, "UPDATE runs SET lease_expires_at = 1 WHERE status IN ('created', 'running')")
    server.start()
    http = connect(server.url)
    kept = [m["message_type"] for m in await assert_whole_turns(http, agent)][1:]
    turn = ["user_message"] if step > 1 else []
    assert kept == turn + ["tool_call_message", "tool_return_message"] * (step - 1)
    assert ok(await http.get(f"/v1/runs/{run_id}"))["status"] == "failed"
    assert (await say(http, agent, "ECHO and on"))["messages"][-1]["content"] == "and on"


@pytest.mark.parametrize("pause", range(6))
@pytest.mark.every_case_on_both
async def test_a_server_that_is_killed_at_any_moment_of_a_turn_leaves_a_whole_conversation(
    start_server: StartServer,
    connect: Connect,
    scripted_model: ScriptedModel,
    database_url: str,
    store: str,
    pause: int,
) -> None:
    """Nothing is held: the kill comes while the steps are run and stored, when a reader has seen so many events."""
    if store == "postgres":
        pytest.skip("the restart would wait for a lease; the cut itself is the same")
    server = start_server()
    http = connect(server.url)
    agent = await make_agent(http, tools=["conversation_search"])
    search = call("conversation_search")
    run_id = await start(http, agent, "\n".join([search] * 4), stream_tokens=True)
    seen: list[str] = []
    reader = asyncio.create_task(follow(http, run_id, seen))
    await until(seen, 1 + 2 * pause)
    server.kill()
    await asyncio.gather(reader, return_exceptions=True)
    server.start()
    http = connect(server.url)
    await assert_whole_turns(http, agent)
    assert ok(await http.get(f"/v1/runs/{run_id}"))["status"] in ("failed", "completed")
    assert (await say(http, agent, "ECHO and on"))["messages"][-1]["content"] == "and on"
    await assert_whole_turns(http, agent)


async def _many_at_once(https: Clients, model: ScriptedModel, count: int) -> None:
    agents = await make_agents(https[0], count // 4, tools=["conversation_search"])
    texts = {f"run {number}": agents[number % len(agents)] for number in range(count)}
    runs = await asyncio.gather(
        *(
            start(
                https[number // len(agents) % len(https)],
                agent,
                f"{call('conversation_search', query=text)}\nTHEN ECHO {text}.",
            )
            for number, (text, agent) in enumerate(texts.items())
        )
    )
    assert len(set(runs)) == count
    streams = await asyncio.gather(
        *(follow(https[(number + 1) % len(https)], run_id, []) for number, run_id in enumerate(runs))
    )
    for entries, text in zip(streams, texts, strict=True):
        assert entries[-1] == DONE
        assert kinds(entries) == [
            *("ping", "tool_call_message", "tool_return_message", "assistant_message"),
            *("stop_reason", "usage_statistics"),
        ]
        assert json.loads(entries[3])["content"] == f"{text}."
        assert [json.loads(entry)["seq_id"] for entry in entries[:4]] == [1, 2, 3, 4]
    asked = Counter(
        next(m["content"] for m in reversed(request["messages"]) if m["role"] == "user") for request in model.requests
    )
    assert set(asked.values()) == {2}, "every run asked the model twice"
    assert len(asked) == count
    for agent in agents:
        messages = await assert_whole_turns(https[0], agent)
        assert len(messages) == 1 + 4 * 4
        turns = [message["run_id"] for message in messages[1:]]
        assert [turns[place : place + 4] for place in range(0, 16, 4)] == [[run] * 4 for run in dict.fromkeys(turns)]
    found = await asyncio.gather(*(https[0].get(f"/v1/runs/{run_id}") for run_id in runs))
    assert {ok(run)["status"] for run in found} == {"completed"}


@pytest.mark.parametrize("store", ["postgres"], indirect=True)  # on SQLite it is one process: the next test
async def test_many_runs_at_once_are_each_run_once(https: Clients, scripted_model: ScriptedModel) -> None:
    await _many_at_once(https, scripted_model, 40)


@pytest.mark.parametrize(
    ("store", "count"),
    [("sqlite", 60), *(pytest.param(store, 200, marks=thorough) for store in ("sqlite", "postgres"))],
    indirect=["store"],
)
async def test_so_many_runs_at_once_on_processes_of_their_own(
    start_server: StartServer, connect: Connect, scripted_model: ScriptedModel, store: str, count: int
) -> None:
    https = [connect(start_server().url) for _ in range(2 if store == "postgres" else 1)]
    await _many_at_once(https, scripted_model, count)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_readers_of_two_processes_see_the_same_while_a_run_is_cancelled_elsewhere(
    https: Clients, scripted_model: ScriptedModel
) -> None:
    agent = ok(await https[0].post("/v1/agents", json={"model": MODEL}))
    with scripted_model.hold(after=4) as held:
        run_id = await start(https[0], agent, "ECHO one two three four five", stream_tokens=True)
        await asyncio.to_thread(held.wait_for, 1)
        seen: list[list[str]] = [[] for _ in https]
        readers = [asyncio.create_task(follow(http, run_id, one)) for http, one in zip(https, seen, strict=True)]
        await asyncio.gather(*(until(one, 4) for one in seen))
        ok(await https[-1].post(f"/v1/agents/{agent['id']}/messages/cancel", json={"run_ids": [run_id]}))
        await asyncio.gather(*readers)
    assert all(one == seen[0] for one in seen)
    assert json.loads(seen[0][-2]) == {"message_type": "stop_reason", "stop_reason": "cancelled"}
