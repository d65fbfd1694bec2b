"""Runs that wait: for their turn, for each other, and for a process that is gone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import pytest

from runs.talking import kinds, ok, post, say, whole
from support.callbacks import listening
from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, StartServer
from support.polling import PATIENCE, until
from support.scripted_model import ScriptedModel

ASK = "send_message_to_agent_and_wait_for_reply"


def ask(other: str) -> str:
    return f"CALL {ASK} {json.dumps({'message': 'hello', 'other_agent_id': other})}"


def active(http: httpx.Client, agent_id: str, count: int) -> list[dict[str, Any]]:
    """Return the agent's runs that wait or are under way, the newest first, as soon as there are so many."""

    def so_many() -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = ok(http.get("/v1/runs/active", params={"agent_id": agent_id}))
        return runs if len(runs) == count else []

    return until(so_many)


def test_a_plain_request_that_waits_for_its_turn_is_listed_and_can_be_cancelled(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold(matching="first") as held, ThreadPoolExecutor(2) as pool:
        first = pool.submit(post, http, agent.id, "ECHO first")
        held.wait_for(1)
        second = pool.submit(post, http, agent.id, "ECHO second")
        waiting, running = active(http, agent.id, 2)
        assert (waiting["status"], running["status"]) == ("created", "running")
        outcome = ok(http.post(f"/v1/agents/{agent.id}/messages/cancel", json={"run_ids": [waiting["id"]]}))
        assert outcome == {waiting["id"]: "cancelled"}
        turn = ok(second.result(30))
        assert (turn["messages"], turn["stop_reason"]["stop_reason"]) == ([], "cancelled")
        held.release()
        assert ok(first.result(30))["messages"][-1]["content"] == "first"
    assert kinds(whole(http, agent.id)) == ["system_message", "user_message", "assistant_message"]


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_agents_that_ask_each_other_through_two_processes_come_to_an_end(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    """Neither process sees what the other's agent waits for but in the store."""
    here, there = start_server(), start_server()
    with plain_client(here.url) as one_side, plain_client(there.url) as other:
        one, two = (
            ok(one_side.post("/v1/agents", json={"model": MODEL, "tools": [ASK], "include_base_tools": False}))["id"]
            for _ in range(2)
        )
        with scripted_model.hold(matching="both at once") as held, ThreadPoolExecutor(2) as pool:
            turns = [
                pool.submit(post, http, asker, f"both at once\n{ask(asked)}")
                for http, asker, asked in ((one_side, one, two), (other, two, one))
            ]
            held.wait_for(2)
            held.release()
            answers = [ok(turn.result(60)) for turn in turns]
        statuses = [m["status"] for turn in answers for m in turn["messages"] if "status" in m]
        assert "error" in statuses, "one of them at least was told that it cannot wait"
        for agent in (one, two):
            assert say(other, agent, "ECHO and on")["messages"][-1]["content"] == "and on"
            whole(one_side, agent)


def test_a_run_whose_process_died_still_calls_back(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    server = start_server(env={"FOLKMOOT_PRIVATE_CALLBACKS": "true"})
    with httpx.Client(timeout=PATIENCE) as http, listening() as (url, received):
        agent = ok(http.post(f"{server.url}/v1/agents", json={"model": MODEL}))["id"]
        with scripted_model.hold() as held:
            asked = {"input": "hello", "callback_url": url}
            run = ok(http.post(f"{server.url}/v1/agents/{agent}/messages/async", json=asked))
            held.wait_for(1)
            server.kill()
        server.restart()
        told = json.loads(received.get(timeout=PATIENCE)[1])
        assert (told["run_id"], told["status"], told["error"]["type"]) == (run["id"], "failed", "process_died")
    server.stop()


def test_a_run_says_when_its_first_words_came(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    say(http, agent.id, "CALL conversation_search {}\nTHEN ECHO hello")
    (run,) = ok(http.get("/v1/runs", params={"agent_id": agent.id}))
    created, completed = (datetime.fromisoformat(run[name]) for name in ("created_at", "completed_at"))
    assert 0 < run["ttft_ns"] <= (completed - created).total_seconds() * 1e9 + 1000


def test_a_runs_first_words_are_part_of_its_time_however_long_it_waited(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held:
        runs = [ok(http.post(f"/v1/agents/{agent.id}/messages/async", json={"input": "ECHO one"})) for _ in range(2)]
        held.wait_for(1)
    ended = [until(lambda run=run: over(http, run["id"])) for run in runs]
    for run in ended:
        assert 0 < run["ttft_ns"] <= run["total_duration_ns"]
    began, waited = (datetime.fromisoformat(ended[1][name]) for name in ("created_at", "completed_at"))
    assert ended[1]["total_duration_ns"] < (waited - began).total_seconds() * 1e9, "it waited for the other"


def over(http: httpx.Client, run_id: str) -> dict[str, Any] | None:
    """Return a run that is over; None while it goes on."""
    run: dict[str, Any] = ok(http.get(f"/v1/runs/{run_id}"))
    return run if run["completed_at"] else None
