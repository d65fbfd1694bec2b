"""Batches: many messages in one request, worked through behind, also when their process is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from chaos.moot import rows
from support import polling
from support.callbacks import listening
from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, StartServer, one_store
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.server import ServerProcess


def ok(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


def asked(*said: tuple[str, str]) -> dict[str, Any]:
    return {
        "requests": [{"agent_id": agent_id, "messages": [{"role": "user", "content": text}]} for agent_id, text in said]
    }


def until(http: httpx.Client, batch_id: str, done: Callable[[Any], bool]) -> Any:
    return polling.until(lambda: ok(http.get(f"/v1/messages/batches/{batch_id}")), done)


def is_over(batch: Any) -> bool:
    return batch["status"] in ("completed", "failed", "cancelled")


def words(http: httpx.Client, batch_id: str, **query: Any) -> list[tuple[str, str]]:
    found = ok(http.get(f"/v1/messages/batches/{batch_id}/messages", params={"order": "asc", **query}))["messages"]
    return [(each["role"], each["content"][0]["text"]) for each in found]


def test_a_batch_is_worked_through(http: httpx.Client, new_agent: NewAgent) -> None:
    one, other = new_agent(), new_agent()
    said = (one.id, "ECHO a"), (other.id, "ECHO b"), (one.id, "ECHO c")
    batch = ok(http.post("/v1/messages/batches", json=asked(*said)))
    assert (batch["status"], batch["job_type"], batch["metadata"]["counts"]["waiting"]) == ("created", "batch", 3)
    over = until(http, batch["id"], is_over)
    assert over["status"] == "completed"
    assert over["metadata"]["counts"] == {"waiting": 0, "succeeded": 3, "failed": 0, "cancelled": 0}
    assert over["total_duration_ns"] > 0
    found = ok(http.get(f"/v1/agents/{one.id}/messages", params={"order": "asc"}))
    assert [each["content"] for each in found[1:]] == ["ECHO a", "a", "ECHO c", "c"]
    mine = words(http, batch["id"], agent_id=one.id)
    assert sorted(mine) == [("assistant", "a"), ("assistant", "c"), ("user", "ECHO a"), ("user", "ECHO c")]
    assert sorted(words(http, batch["id"]))[:3] == [("assistant", "a"), ("assistant", "b"), ("assistant", "c")]
    assert batch["id"] in {each["id"] for each in ok(http.get("/v1/messages/batches"))}
    job = ok(http.get(f"/v1/jobs/{batch['id']}"))
    assert (job["kind"], job["progress"]["items_done"], job["progress"]["items_total"]) == ("batch", 3, 3)


def test_a_turn_that_fails_does_not_hold_up_the_others(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    one, other = new_agent(), new_agent(tool_rules=[{"type": "requires_approval", "tool_name": "conversation_search"}])
    ok(http.post(f"/v1/agents/{other.id}/messages", json={"input": "CALL conversation_search {}"}))
    batch = ok(http.post("/v1/messages/batches", json=asked((other.id, "ECHO a"), (one.id, "ECHO b"))))
    over = until(http, batch["id"], is_over)
    counts = over["metadata"]["counts"]
    assert (over["status"], counts["succeeded"], counts["failed"]) == ("completed", 1, 1)


def test_some_turns_at_a_time_and_cancelled(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agents = [new_agent() for _ in range(10)]
    with scripted_model.hold() as held:
        batch = ok(http.post("/v1/messages/batches", json=asked(*((agent.id, "ECHO x") for agent in agents))))
        held.wait_for(8)
        assert ok(http.get(f"/v1/messages/batches/{batch['id']}"))["status"] == "running"
        held.release(1)
        held.wait_for(9)
        cancelled = ok(http.patch(f"/v1/messages/batches/{batch['id']}/cancel"))
        scripted_model.wait_for_disconnects(8)
        runs = ok(http.get("/v1/runs", params={"agent_ids": [agent.id for agent in agents]}))
        while any(run["status"] in ("created", "running") for run in runs):
            runs = ok(http.get("/v1/runs", params={"agent_ids": [agent.id for agent in agents]}))
        assert sorted(run["status"] for run in runs) == ["cancelled"] * 8 + ["completed"]
    counts = cancelled["metadata"]["counts"]
    assert (cancelled["status"], counts["succeeded"], counts["cancelled"]) == ("cancelled", 1, 9)
    again = ok(http.patch(f"/v1/messages/batches/{batch['id']}/cancel"))
    assert (again["status"], again["metadata"]) == ("cancelled", cancelled["metadata"])


@one_store
def test_a_batch_ends_with_the_key_that_made_it(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "admin"})
    with plain_client(server.url, headers={"authorization": "Bearer admin"}) as admin:
        key = ok(admin.post("/v1/keys", json={"name": "lost", "role": "member"}))
        agent = ok(admin.post("/v1/agents", json={"model": MODEL}))["id"]
        with plain_client(server.url, headers={"authorization": f"Bearer {key['key']}"}) as lost:
            with scripted_model.hold() as held:
                batch = ok(lost.post("/v1/messages/batches", json=asked((agent, "ECHO a"), (agent, "ECHO b"))))
                held.wait_for(1)
                admin.delete(f"/v1/keys/{key['id']}").raise_for_status()
            counts = until(admin, batch["id"], is_over)["metadata"]["counts"]
        assert counts == {"waiting": 0, "succeeded": 1, "failed": 0, "cancelled": 1}


def test_nobody_reaches_the_batches_of_another_organisation(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "admin"})
    with plain_client(server.url, headers={"authorization": "Bearer admin"}) as mine:
        other = ok(mine.post("/v1/organizations", json={"name": "others"}))["id"]
        made = ok(mine.post("/v1/keys", json={"name": "other", "role": "admin", "organization": other}))
        agent = ok(mine.post("/v1/agents", json={"model": MODEL}))["id"]
        headers = {"authorization": f"Bearer {made['key']}"}
        with plain_client(server.url, headers=headers) as theirs, scripted_model.hold() as held:
            batch = ok(mine.post("/v1/messages/batches", json=asked((agent, "ECHO mine"), (agent, "ECHO more"))))["id"]
            held.wait_for(1)
            own = ok(theirs.post("/v1/agents", json={"model": MODEL}))["id"]
            intruding = theirs.post("/v1/messages/batches", json=asked((own, "ECHO a"), (agent, "ECHO b")))
            assert intruding.status_code == 404, intruding.text
            assert ok(theirs.get("/v1/messages/batches")) == [], "nothing of it was begun"
            for method, path in (
                ("GET", f"/v1/messages/batches/{batch}"),
                ("GET", f"/v1/messages/batches/{batch}/messages"),
                ("PATCH", f"/v1/messages/batches/{batch}/cancel"),
                ("GET", f"/v1/jobs/{batch}"),
                ("PATCH", f"/v1/jobs/{batch}/cancel"),
                ("DELETE", f"/v1/jobs/{batch}"),
            ):
                answer = theirs.request(method, path)
                assert answer.status_code == 404, (method, path, answer.text)
            assert ok(theirs.get("/v1/jobs")) == []
        counts = until(mine, batch, is_over)["metadata"]["counts"]
        assert counts == {"waiting": 0, "succeeded": 2, "failed": 0, "cancelled": 0}
        assert {text for _, text in words(mine, batch)} == {"ECHO mine", "mine", "ECHO more", "more"}


SHORT_TURNS = """
import runpy, sys
import folkmoot.jobs.worker
folkmoot.jobs.worker.TURN_SECONDS = 0.0
sys.argv = sys.argv[3:]
runpy.run_module("folkmoot", run_name="__main__")
"""


@one_store
def test_long_batches_of_one_organisation_make_room_for_another(
    database_url: str, tmp_path: Path, scripted_model: ScriptedModel
) -> None:
    through = [sys.executable, "-c", SHORT_TURNS]
    env = {"FOLKMOOT_API_KEY": "admin"}
    with (
        ServerProcess(
            database=database_url, home=tmp_path / "own", model_url=scripted_model.base_url, env=env, through=through
        ) as server,
        plain_client(server.url, headers={"authorization": "Bearer admin"}) as first,
    ):
        other = ok(first.post("/v1/organizations", json={"name": "others"}))["id"]
        made = ok(first.post("/v1/keys", json={"name": "other", "role": "member", "organization": other}))
        with plain_client(server.url, headers={"authorization": f"Bearer {made['key']}"}) as second:
            long = []
            with scripted_model.hold() as held:
                for number in (1, 2):
                    agent = ok(first.post("/v1/agents", json={"model": MODEL}))["id"]
                    said = [(agent, f"ECHO {number} {letter}") for letter in "abc"]
                    long.append((agent, ok(first.post("/v1/messages/batches", json=asked(*said)))["id"]))
                    held.wait_for(number)
                agent = ok(second.post("/v1/agents", json={"model": MODEL}))["id"]
                short = ok(second.post("/v1/messages/batches", json=asked((agent, "ECHO other"))))["id"]
                for asked_for in (4, 6):  # by the second turn at the latest it has been seen that somebody waits
                    held.release(2)
                    held.wait_for(asked_for)
                    if "ECHO other" in str(scripted_model.conversations):
                        break
                assert "ECHO other" in str(scripted_model.conversations), "while the others have turns left"
            until(second, short, is_over)
            for number, (agent, batch) in enumerate(long, 1):
                assert until(first, batch, is_over)["metadata"]["counts"]["succeeded"] == 3
                found = ok(first.get(f"/v1/agents/{agent}/messages", params={"order": "asc"}))
                texts_said = [each["content"] for each in found if each["message_type"] == "user_message"]
                assert texts_said[-3:] == [f"ECHO {number} {letter}" for letter in "abc"], "each once, in order"


@one_store
def test_an_agent_whose_waiting_run_was_cancelled_is_shown(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held:
        for _ in range(2):
            ok(http.post(f"/v1/agents/{agent.id}/messages/async", json={"input": "ECHO x"}))
        held.wait_for(1)
        ok(http.post(f"/v1/agents/{agent.id}/messages/cancel", json={}))
    assert ok(http.get(f"/v1/agents/{agent.id}"))["id"] == agent.id


def test_a_killed_process_leaves_its_batch_to_the_next(
    start_server: StartServer, database_url: str, scripted_model: ScriptedModel
) -> None:
    server = start_server(database=database_url)
    with plain_client(server.url) as http:
        agents = [ok(http.post("/v1/agents", json={"model": MODEL}))["id"] for _ in range(12)]
        with scripted_model.hold(matching="held") as held:
            said = [(agent, "ECHO first" if place < 4 else "ECHO held") for place, agent in enumerate(agents)]
            batch = ok(http.post("/v1/messages/batches", json=asked(*said)))
            held.wait_for(8)
            until(http, batch["id"], lambda each: each["metadata"]["counts"]["succeeded"] == 4)
            server.kill()
    server = start_server(database=database_url)
    with plain_client(server.url) as http:
        over = until(http, batch["id"], is_over)
        assert over["metadata"]["counts"] == {"waiting": 0, "succeeded": 12, "failed": 0, "cancelled": 0}
        for agent_id, text in said:
            found = ok(http.get(f"/v1/agents/{agent_id}/messages", params={"order": "asc"}))
            assert [each["content"] for each in found[1:]] == [text, text.removeprefix("ECHO ")]


def test_who_is_told_of_its_end(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    with listening() as (url, received):
        server = start_server(env={"FOLKMOOT_PRIVATE_CALLBACKS": "true"})
        with plain_client(server.url) as http:
            agent = ok(http.post("/v1/agents", json={"model": MODEL}))["id"]
            body = {**asked((agent, "ECHO a")), "callback_url": url}
            batch = ok(http.post("/v1/messages/batches", json=body))
            told = json.loads(received.get(timeout=PATIENCE)[1])
            assert (told["batch_id"], told["counts"]) == (batch["id"], {"succeeded": 1})
            assert is_over(ok(http.get(f"/v1/messages/batches/{batch['id']}"))), "who is told may look at once"
            over = until(http, batch["id"], lambda batch: batch["callback_sent_at"])
            assert (over["callback_status_code"], over["callback_error"]) == (204, None)


def test_it_is_over_though_whom_it_tells_does_not_answer(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server(env={"FOLKMOOT_PRIVATE_CALLBACKS": "true"})
    with socket.create_server(("127.0.0.1", 0)) as silent, plain_client(server.url) as http:
        agent = ok(http.post("/v1/agents", json={"model": MODEL}))["id"]
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        batch = ok(http.post("/v1/messages/batches", json={**asked((agent, "ECHO a")), "callback_url": url}))
        over = until(http, batch["id"], is_over)
        assert (over["status"], over["callback_sent_at"]) == ("completed", None)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_what_cannot_be_a_batch_is_refused(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent().id
    approval = {"agent_id": agent, "messages": [{"type": "approval", "approve": True}]}
    unknown = asked(("agent-123e4567-e89b-42d3-8456-426614174000", "hi"))
    refused: list[tuple[Any, int, str]] = [
        ({"requests": []}, 422, "requests"),
        ({"requests": [approval]}, 422, "approval"),
        (unknown, 404, "agent"),
        (asked((agent, "hi")) | {"callback_url": "http://127.0.0.1/"}, 422, "callback_url"),
        (asked(*[(agent, "hi")] * 1001), 422, "1000"),
        (
            {"requests": [{**asked((agent, "hi"))["requests"][0], "callback_url": "http://127.0.0.1/"}]},
            400,
            "have none",
        ),
    ]
    for body, status, named in refused:
        answer = http.post("/v1/messages/batches", json=body)
        assert (answer.status_code, named in answer.text) == (status, True), (answer.text, named)
    for job_id in ("job-123e4567-e89b-42d3-8456-426614174000",):
        assert http.get(f"/v1/messages/batches/{job_id}").status_code == 404
        assert http.patch(f"/v1/messages/batches/{job_id}/cancel").status_code == 404


def takes_connections(server: ServerProcess) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))).close()
    except ConnectionRefusedError:
        return False
    return True


@one_store
def test_a_process_that_stops_leaves_the_batches_that_wait_to_others(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server(env={"FOLKMOOT_SHUTDOWN_WAIT": str(PATIENCE)})
    with plain_client(server.url) as http:
        agents = [ok(http.post("/v1/agents", json={"model": MODEL}))["id"] for _ in range(3)]
        with scripted_model.hold("alone") as alone, scripted_model.hold("batch") as held:
            ok(http.post(f"/v1/agents/{agents[0]}/messages/async", json={"input": "ECHO alone"}))
            alone.wait_for(1)
            batches = []
            for number in range(6):
                said = asked((agents[1 + number % 2], f"ECHO batch {number}"))
                batches.append(ok(http.post("/v1/messages/batches", json=said))["id"])
            held.wait_for(2)
            server.process.send_signal(signal.SIGTERM)
            polling.until(lambda: not takes_connections(server))
            held.release()
            done = "SELECT count(*) FROM jobs WHERE status = 'completed'"
            polling.until(lambda: asyncio.run(rows(server.database, done))[0][0] >= 2)
            alone.release()
            assert server.process.wait(PATIENCE) == 0
    assert "tried again" not in server.log()
    never_begun = "SELECT count(*) FROM jobs WHERE started_at IS NULL"
    assert asyncio.run(rows(server.database, never_begun))[0][0] == 4
    server.start()
    with plain_client(server.url) as http:
        assert {until(http, each, is_over)["status"] for each in batches} == {"completed"}
