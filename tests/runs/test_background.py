"""Runs in the background, and following any run: what was, then what comes, with no gap and nothing twice."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import threading
from typing import Any

import httpx
import pytest
from letta_client import AsyncLetta, Letta, NotFoundError

from runs.talking import (
    DONE,
    SEARCH,
    answered,
    behind,
    followed,
    following,
    kinds,
    last_number,
    last_run,
    ok,
    read,
    say,
    streaming,
    whole,
)
from support.callbacks import listening
from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, StartServer, one_store
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel

pytestmark = pytest.mark.filterwarnings("ignore:deprecated")

END = ["stop_reason", "usage_statistics"]
ASKED = "CALL conversation_search {}\nTHEN ECHO one two three"
MANY = 25
TOKENS = pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])


def start(http: httpx.Client, agent_id: str, text: str, **more: Any) -> str:
    """Say something in the background and return the run's id."""
    run = ok(http.post(f"/v1/agents/{agent_id}/messages/async", json={"input": text, **more}))
    assert (run["status"], run["background"]) == ("created", True)
    run_id: str = run["id"]
    return run_id


# -- background ----------------------------------------------------------------------------------------------


def test_a_message_sent_asynchronously_is_answered_by_a_run(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    run = client.agents.messages.create_async(agent.id, input=ASKED)
    assert (run.status, run.background, run.agent_id, run.stop_reason) == ("created", True, agent.id, None)
    chunks: list[Any] = list(client.runs.messages.stream(run.id))
    assert [chunk.message_type for chunk in chunks[-2:]] == END
    run = client.runs.retrieve(run.id)
    assert (run.status, run.stop_reason) == ("completed", "end_turn")
    assert run.completed_at is not None
    assert run.completed_at >= run.created_at
    said = list(client.agents.messages.list(agent.id, order="asc"))[-1]
    assert (said.content, said.run_id) == ("one two three", run.id)  # type: ignore[union-attr]


def test_a_background_stream_can_be_read_like_any_other(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    with client.agents.messages.stream(agent.id, input=ASKED, background=True, stream_tokens=True) as stream:
        chunks: list[Any] = list(stream)
    numbers = [chunk.seq_id for chunk in chunks[:-2]]
    assert numbers == sorted(set(numbers))
    run = client.runs.retrieve(chunks[0].run_id)
    assert (run.background, run.status) == (True, "completed")


def test_background_without_streaming_is_answered_with_the_whole_turn(client: Letta, new_agent: NewAgent) -> None:
    """The client's word on `background`: only used when streaming."""
    response = client.agents.messages.create(new_agent().id, input="ECHO hello", background=True)
    assert response.stop_reason.stop_reason == "end_turn"


# -- following -----------------------------------------------------------------------------------------------


@TOKENS
def test_a_run_that_is_over_is_replayed_from_anywhere(http: httpx.Client, new_agent: NewAgent, tokens: bool) -> None:
    run_id = start(http, new_agent().id, ASKED, stream_tokens=tokens)
    everything = followed(http, run_id)
    assert kinds(read(everything))[-2:] == END
    for number in range(last_number(everything) + 1):
        rest = followed(http, run_id, number)
        answer = http.post(f"/v1/runs/{run_id}/stream", json={"starting_after": number})
        assert [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")] == rest
        assert rest == [entry for entry in everything if entry == DONE or json.loads(entry).get("seq_id", 1e9) > number]


@pytest.mark.parametrize("beyond", [0, 1, 50])
def test_who_has_seen_everything_is_told_that_it_is_the_end(
    http: httpx.Client, new_agent: NewAgent, beyond: int
) -> None:
    run_id = start(http, new_agent().id, "ECHO hello")
    everything = followed(http, run_id)
    assert followed(http, run_id, len(everything) + beyond) == [DONE]


@one_store
def test_who_saw_more_than_was_stored_is_told_of_the_failure(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    """A process that is killed has shown pieces that it had not stored yet: the end has a lower number than those."""
    scripted_model.fail_next(400)
    run_id = start(http, new_agent().id, "ECHO hello")
    number = last_number(followed(http, run_id)) + 50
    error, stop_reason = read(followed(http, run_id, number))
    assert (error["message_type"], stop_reason["stop_reason"]) == ("error_message", "llm_api_error")
    assert error["seq_id"] > number


@TOKENS
def test_the_official_client_follows_and_resumes(client: Letta, new_agent: NewAgent, tokens: bool) -> None:
    run = client.agents.messages.create_async(new_agent().id, input=ASKED, extra_body={"stream_tokens": tokens})
    everything: list[Any] = list(client.runs.messages.stream(run.id))
    for chunk in everything[:-2]:
        rest: list[Any] = list(client.runs.messages.stream(run.id, starting_after=chunk.seq_id))
        assert rest == everything[everything.index(chunk) + 1 :]


async def test_the_asynchronous_client_follows_too(async_client: AsyncLetta, new_agent: NewAgent) -> None:
    agent = new_agent()
    run = await async_client.agents.messages.create_async(agent.id, input="ECHO hello")
    chunks = [chunk async for chunk in await async_client.runs.messages.stream(run.id, include_pings=True)]
    assert [chunk.message_type for chunk in chunks[-3:]] == ["assistant_message", *END]


def test_a_run_under_way_is_followed_without_a_gap_or_anything_twice(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    with scripted_model.hold(after=3) as held:
        run_id = start(http, new_agent().id, "ECHO one two three four", stream_tokens=True)
        held.wait_for(1)
        with following(http, run_id) as first, following(http, run_id, 2) as second:
            early = first.take(3)
            assert [json.loads(entry)["seq_id"] for entry in early] == [1, 2, 3]
            assert second.take(1) == early[2:]
            with following(http, run_id, 3) as third:
                held.release()
                late = first.rest()
                assert second.rest() == late
                assert third.rest() == late
    assert late[-1] == DONE
    assert followed(http, run_id) == [*early, *late]


def test_the_stream_of_a_plain_request_can_be_followed_too(
    http: httpx.Client, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    turn = say(http, agent.id, ASKED)
    events = read(followed(http, turn["messages"][0]["run_id"]))
    assert [event for event in events if event.get("id") in {m["id"] for m in turn["messages"]}] != []
    assert kinds(events)[-2:] == END


def test_a_run_that_waits_for_its_turn_can_be_followed(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold(matching="first") as held:
        first = start(http, agent.id, "ECHO first")
        held.wait_for(1)
        second = start(http, agent.id, "ECHO second")
        assert ok(http.get(f"/v1/runs/{second}"))["status"] == "created"
        with following(http, second) as reading:
            assert json.loads(reading.next())["message_type"] == "ping"
            held.release()
            assert read(reading.rest())[0]["content"] == "second"
    assert kinds(read(followed(http, first)))[-3:] == ["assistant_message", *END]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_following_what_does_not_exist_is_a_404(http: httpx.Client, method: str) -> None:
    path = "/v1/runs/run-123e4567-e89b-42d3-8456-426614174999/stream"
    assert http.request(method, path).status_code == 404


@pytest.mark.parametrize("value", ["-1", "x", "1.5"])
def test_a_place_that_cannot_be_is_refused(http: httpx.Client, new_agent: NewAgent, value: str) -> None:
    run_id = start(http, new_agent().id, "ECHO hello")
    assert http.get(f"/v1/runs/{run_id}/stream", params={"starting_after": value}).status_code == 422


# -- several processes ---------------------------------------------------------------------------------------


@TOKENS
@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_another_process_follows_a_run_that_is_under_way(
    start_server: StartServer, scripted_model: ScriptedModel, tokens: bool
) -> None:
    here, there = start_server(), start_server()
    with plain_client(here.url) as http, plain_client(there.url) as other:
        agent = ok(http.post("/v1/agents", json={"model": MODEL}))
        with scripted_model.hold() as held:
            run_id = start(http, agent["id"], ASKED, stream_tokens=tokens)
            held.wait_for(1)
            with following(other, run_id) as first, following(other, run_id, 1) as second:
                early = first.take(1)
                held.release(1)
                held.wait_for(2)
                while json.loads(first.next())["message_type"] != "tool_return_message":
                    pass
                with following(other, run_id, 2) as third:
                    held.release()
                    everything = [*early, *first.seen[1:], *first.rest()]
                    assert second.rest() == everything[1:]
                    assert third.rest() == everything[2:]
        assert everything[-1] == DONE
        assert followed(http, run_id) == followed(other, run_id) == everything
        assert ok(other.get(f"/v1/runs/{run_id}"))["status"] == "completed"


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_another_process_sees_what_many_models_write(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    """More runs than whose pieces are stored by one statement."""
    here, there = start_server(), start_server()
    with plain_client(here.url) as http, plain_client(there.url) as other, scripted_model.hold(after=2) as held:
        said = {ok(http.post("/v1/agents", json={"model": MODEL}))["id"]: f"n{number}" for number in range(MANY)}
        runs = {start(http, each, f"ECHO {word} two three", stream_tokens=True): word for each, word in said.items()}
        held.wait_for(MANY)
        for run_id, word in runs.items():
            with following(other, run_id) as reading:
                while (piece := json.loads(reading.next()))["message_type"] != "assistant_message":
                    pass
                assert piece["content"].strip() == word
        held.release()
        assert all(followed(other, run_id)[-1] == DONE for run_id in runs)


def test_a_run_that_is_over_is_replayed_as_its_own_after_a_fork(http: httpx.Client, new_agent: NewAgent) -> None:
    """A fork shares the messages, which are of no run there."""
    agent = new_agent().id
    everything = answered(http, agent, ASKED)
    ok(http.post("/v1/conversations/default/fork", params={"agent_id": agent}))
    assert followed(http, json.loads(everything[0])["run_id"]) == everything


def test_a_run_can_be_followed_after_a_restart(start_server: StartServer) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        agent = ok(http.post("/v1/agents", json={"model": MODEL}))
        everything = answered(http, agent["id"], ASKED, stream_tokens=True)
        run_id = json.loads(everything[0])["run_id"]
    server.restart()
    with plain_client(server.url) as http:
        for seen in range(len(everything)):
            number = last_number(everything[:seen])
            assert followed(http, run_id, number) == behind(everything, number)


def test_a_stopped_server_says_how_its_runs_ended(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    server = start_server(env={"FOLKMOOT_SHUTDOWN_WAIT": "0.2"})
    with plain_client(server.url) as http, scripted_model.hold() as held:
        agent = ok(http.post("/v1/agents", json={"model": MODEL}))
        run_id = start(http, agent["id"], ASKED)
        held.wait_for(1)
        held.release(1)
        held.wait_for(2)
        server.stop()
    server.start()
    with plain_client(server.url) as http:
        run = ok(http.get(f"/v1/runs/{run_id}"))
        assert (run["status"], run["stop_reason"]) == ("failed", "error")
        assert kinds(read(followed(http, run_id))) == [
            *("ping", "tool_call_message", "tool_return_message"),
            *("error_message", "stop_reason"),
        ]
        whole(http, agent["id"])
        assert say(http, agent["id"], "ECHO and on")["messages"][-1]["content"] == "and on"


def test_a_background_run_gets_its_time_to_end_when_the_server_stops(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server()
    with plain_client(server.url) as http, scripted_model.hold() as held:
        agent = ok(http.post("/v1/agents", json={"model": MODEL}))
        run_id = start(http, agent["id"], "ECHO in time")
        held.wait_for(1)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        held.release()
        stopping.join()
    server.start()
    with plain_client(server.url) as http:
        assert ok(http.get(f"/v1/runs/{run_id}"))["status"] == "completed"
        assert kinds(read(followed(http, run_id))) == ["ping", "assistant_message", *END]


# -- callbacks -----------------------------------------------------------------------------------------------

SECRET = "the callbacks' secret"


def test_callbacks_are_sent_signed_when_a_run_is_over(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    server = start_server(env={"FOLKMOOT_PRIVATE_CALLBACKS": "true", "FOLKMOOT_CALLBACK_SECRET": SECRET})
    with plain_client(server.url) as http, listening() as (url, received):
        agent = ok(http.post("/v1/agents", json={"model": MODEL}))
        run_id = start(http, agent["id"], ASKED, callback_url=url)
        headers, body = received.get(timeout=PATIENCE)
        said = dict(part.split("=", 1) for part in headers["folkmoot-signature"].split(","))
        digest = hmac.new(SECRET.encode(), f"{said['t']}.".encode() + body, hashlib.sha256).hexdigest()
        assert said["v1"] == digest
        told = json.loads(body)
        assert {name: told[name] for name in ("run_id", "agent_id", "status", "stop_reason", "error")} == {
            "run_id": run_id,
            "agent_id": agent["id"],
            "status": "completed",
            "stop_reason": "end_turn",
            "error": None,
        }
        assert told["usage"]["prompt_tokens"] == 200
        scripted_model.fail_next(400, message="no such luck")
        failed = start(http, agent["id"], "lost", callback_url=url)
        told = json.loads(received.get(timeout=PATIENCE)[1])
        assert (told["run_id"], told["status"], told["stop_reason"]) == (failed, "failed", "llm_api_error")
        assert "no such luck" in told["error"]["message"]
        with scripted_model.hold() as held:
            cancelled = start(http, agent["id"], "held", callback_url=url)
            held.wait_for(1)
            ok(http.post(f"/v1/agents/{agent['id']}/messages/cancel", json={"run_ids": [cancelled]}))
            told = json.loads(received.get(timeout=PATIENCE)[1])
        assert (told["run_id"], told["status"], told["stop_reason"]) == (cancelled, "cancelled", "cancelled")
    server.stop()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://0x7f000001/",
        "file:///etc/passwd",
        "https://user:secret@example.org/",
        "nonsense",
    ],
)
@one_store
def test_a_callback_to_a_private_or_odd_address_is_refused(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, url: str
) -> None:
    agent = new_agent()
    answer = http.post(f"/v1/agents/{agent.id}/messages/async", json={"input": "hello", "callback_url": url})
    assert answer.status_code in (400, 422), answer.text
    assert ok(http.get("/v1/runs", params={"agent_id": agent.id})) == []
    assert scripted_model.requests == []


def test_a_background_message_is_refused_like_any_other(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    with pytest.raises(NotFoundError):
        client.agents.messages.create_async("agent-123e4567-e89b-42d3-8456-426614174999", input="hello")
    agent = new_agent(tool_rules=[{"type": "requires_approval", "tool_name": "conversation_search"}])
    say(http, agent.id, SEARCH)
    answer = http.post(f"/v1/agents/{agent.id}/messages/async", json={"input": "hello"})
    assert (answer.status_code, answer.json()["detail"]["code"]) == (409, "PENDING_APPROVAL")


def test_a_background_run_that_fails_says_so(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    scripted_model.fail_next(400, message="no such luck")
    run_id = start(http, agent.id, "lost")
    events = read(followed(http, run_id))
    assert kinds(events) == ["ping", "error_message", "stop_reason"]
    run = ok(http.get(f"/v1/runs/{run_id}"))
    assert (run["status"], run["stop_reason"]) == ("failed", "llm_api_error")
    assert "no such luck" in run["error"]["message"]


async def test_many_runs_of_many_agents_at_once(
    async_client: AsyncLetta, new_agent: NewAgent, scripted_model: ScriptedModel, http: httpx.Client
) -> None:
    agents = [new_agent() for _ in range(8)]
    runs = await asyncio.gather(
        *(async_client.agents.messages.create_async(agent.id, input=f"ECHO {n}") for agent in agents for n in range(3))
    )
    for run in runs:
        assert kinds(read(await asyncio.to_thread(followed, http, run.id)))[-2:] == END
    assert len(scripted_model.requests) == 24
    for agent in agents:
        assert len(whole(http, agent.id)) == 7
        assert last_run(http, agent.id)["status"] == "completed"
        with streaming(http, agent.id, "ECHO and on") as reading:
            reading.rest()


def test_the_types_that_a_background_request_names_hold_for_its_messages(
    http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    run_id = start(http, agent.id, ASKED, include_return_message_types=["assistant_message", "tool_call_message"])
    followed(http, run_id)
    listed = ok(http.get(f"/v1/runs/{run_id}/messages", params={"limit": 1}))
    listed += ok(http.get(f"/v1/runs/{run_id}/messages", params={"after": listed[-1]["id"]}))
    assert kinds(listed) == ["tool_call_message", "assistant_message"]
