"""Stopping runs: what was complete stays, and the conversation goes on."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from letta_client import Letta

from runs.talking import (
    DONE,
    SEARCH,
    decide,
    followed,
    following,
    kinds,
    last_run,
    ok,
    post,
    read,
    run_of,
    say,
    streaming,
    whole,
)
from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, StartServer, each_provider
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

pytestmark = pytest.mark.filterwarnings("ignore:deprecated")

ASKED = "CALL conversation_search {}\nTHEN ECHO one two three"


def cancel(http: httpx.Client, agent_id: str, *run_ids: str) -> dict[str, str]:
    """Cancel runs of an agent, all of them when none is named."""
    answer: dict[str, str] = ok(
        http.post(f"/v1/agents/{agent_id}/messages/cancel", json={"run_ids": list(run_ids)} if run_ids else None)
    )
    return answer


def start(http: httpx.Client, agent_id: str, text: str, **more: Any) -> str:
    run_id: str = ok(http.post(f"/v1/agents/{agent_id}/messages/async", json={"input": text, **more}))["id"]
    return run_id


def assert_goes_on(http: httpx.Client, agent_id: str) -> None:
    """The conversation is whole, and the next message is answered."""
    whole(http, agent_id)
    assert say(http, agent_id, "ECHO and on")["messages"][-1]["content"] == "and on"
    whole(http, agent_id)


@each_provider
@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
@pytest.mark.parametrize("step", [1, 2])
def test_a_stream_that_is_cancelled_ends_with_cancelled(
    client: Letta,
    http: httpx.Client,
    new_agent: NewAgent,
    scripted_model: ScriptedModel,
    server: ServerProcess,
    tokens: bool,
    step: int,
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held, streaming(http, agent.id, ASKED, stream_tokens=tokens) as reading:
        run_id = run_of(reading.next())
        held.wait_for(1)
        if step == 2:
            held.release(1)
            held.wait_for(2)
        assert client.agents.messages.cancel(agent.id, run_ids=[run_id]) == {run_id: "cancelled"}
        scripted_model.wait_for_disconnects(1)
        entries = reading.rest()
    assert entries[-1] == DONE
    assert read(entries)[-1] == {"message_type": "stop_reason", "stop_reason": "cancelled"}
    assert kinds(read(entries))[-1] == "stop_reason"
    assert "error_message" not in kinds(read(entries))
    run = client.runs.retrieve(run_id)
    assert (run.status, run.stop_reason) == ("cancelled", "cancelled")
    assert run.completed_at is not None
    stayed = [] if step == 1 else ["user_message", "tool_call_message", "tool_return_message"]
    assert kinds(whole(http, agent.id)) == ["system_message", *stayed]
    assert followed(http, run_id) == [*reading.seen]
    assert not [line for line in server.log().splitlines() if run_id in line and "WARNING" in line]
    assert_goes_on(http, agent.id)


@each_provider
@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_a_reply_that_is_cancelled_while_it_is_written_is_not_stored(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, pieces: int
) -> None:
    agent = new_agent()
    with (
        scripted_model.hold(after=pieces) as held,
        streaming(http, agent.id, "ECHO one two three four five", stream_tokens=True) as reading,
    ):
        run_id = run_of(reading.next())
        held.wait_for(1)
        cancel(http, agent.id, run_id)
        assert read(reading.rest())[-1]["stop_reason"] == "cancelled"
    assert kinds(whole(http, agent.id)) == ["system_message"]
    assert_goes_on(http, agent.id)


@each_provider
def test_a_plain_request_that_is_cancelled_is_answered_with_what_was_complete(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(post, http, agent.id, ASKED)
        held.wait_for(1)
        held.release(1)
        held.wait_for(2)
        (cancelled,) = cancel(http, agent.id).values()
        assert cancelled == "cancelled"
        answer = asking.result(30)
    turn = ok(answer)
    assert turn["stop_reason"]["stop_reason"] == "cancelled"
    assert kinds(turn["messages"]) == ["tool_call_message", "tool_return_message"]
    assert last_run(http, agent.id)["status"] == "cancelled"
    assert kinds(whole(http, agent.id))[1:] == ["user_message", "tool_call_message", "tool_return_message"]
    assert_goes_on(http, agent.id)


@each_provider
def test_all_runs_of_an_agent_are_cancelled_also_those_that_wait(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent, other = new_agent(), new_agent()
    with scripted_model.hold() as held:
        runs = [start(http, agent.id, f"ECHO {number}") for number in range(4)]
        spared = start(http, other.id, "ECHO spared")
        held.wait_for(2)
        assert client.agents.messages.cancel(agent.id) == dict.fromkeys(runs, "cancelled")
        for run_id in runs:
            assert kinds(read(followed(http, run_id))) == ["ping", "stop_reason"]
            assert client.runs.retrieve(run_id).status == "cancelled"
        held.release()
        assert kinds(read(followed(http, spared)))[-3:] == ["assistant_message", "stop_reason", "usage_statistics"]
    assert kinds(whole(http, agent.id)) == ["system_message"]
    assert_goes_on(http, agent.id)


@each_provider
def test_the_next_in_line_goes_on_when_one_is_cancelled(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold(matching="first") as held:
        first = start(http, agent.id, "ECHO first")
        held.wait_for(1)
        second, third = start(http, agent.id, "ECHO second"), start(http, agent.id, "ECHO third")
        assert cancel(http, agent.id, second) == {second: "cancelled"}
        assert cancel(http, agent.id, first) == {first: "cancelled"}
        assert kinds(read(followed(http, third)))[1] == "assistant_message"
    assert [m.get("content") for m in whole(http, agent.id)[1:]] == ["ECHO third", "third"]


def test_a_run_that_is_over_is_not_cancelled(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    run_id = start(http, agent.id, "ECHO hello")
    before = followed(http, run_id)
    assert cancel(http, agent.id, run_id) == {run_id: "already over"}
    assert cancel(http, agent.id) == {}
    assert ok(http.get(f"/v1/runs/{run_id}"))["status"] == "completed"
    assert followed(http, run_id) == before


def test_another_agents_run_is_not_cancelled(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent, other = new_agent(), new_agent()
    with scripted_model.hold() as held:
        run_id = start(http, other.id, "ECHO spared")
        held.wait_for(1)
        http.post(f"/v1/agents/{agent.id}/messages/cancel", json={"run_ids": [run_id]})
        held.release()
        followed(http, run_id)
    assert ok(http.get(f"/v1/runs/{run_id}"))["status"] == "completed"


def test_cancelling_several_times_at_once_leaves_no_reader_waiting(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    for _ in range(5):
        with scripted_model.hold() as held, ThreadPoolExecutor(8) as pool:
            run_id = start(http, agent.id, ASKED)
            held.wait_for(1)
            with following(http, run_id) as reading:
                reading.next()
                for done in [pool.submit(cancel, http, agent.id, run_id) for _ in range(8)]:
                    assert set(done.result(30)) == {run_id}
                reader = pool.submit(reading.rest)
                assert reader.result(10)[-1] == DONE
        scripted_model.reset()
        assert ok(http.get(f"/v1/runs/{run_id}"))["status"] == "cancelled"
    assert_goes_on(http, agent.id)


@each_provider
def test_a_cancel_at_any_moment_leaves_run_stream_and_conversation_of_one_mind(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    """Cancelled after each event that a reader sees, while the server is at work: no half step, no lost end."""
    agent = new_agent()
    for place in range(1, 8):
        with streaming(http, agent.id, ASKED, stream_tokens=True) as reading:
            run_id = run_of(reading.take(place)[0])
            said = cancel(http, agent.id, run_id)[run_id]
            reading.rest()
        assert reading.seen[-1] == DONE
        run = ok(http.get(f"/v1/runs/{run_id}"))
        reasons = [e["stop_reason"] for e in read(reading.seen) if e["message_type"] == "stop_reason"]
        assert reasons == [run["stop_reason"]]
        assert run["status"] == ("cancelled" if said == "cancelled" else "completed")
        assert followed(http, run_id) == reading.seen
        whole(http, agent.id)
    assert_goes_on(http, agent.id)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("step", [1, 2])
def test_another_process_cancels(start_server: StartServer, scripted_model: ScriptedModel, step: int) -> None:
    here, there = start_server(), start_server()
    with plain_client(here.url) as http, plain_client(there.url) as other:
        agent = ok(http.post("/v1/agents", json={"model": MODEL}))
        with scripted_model.hold() as held, streaming(http, agent["id"], ASKED) as reading:
            run_id = run_of(reading.next())
            held.wait_for(1)
            if step == 2:
                held.release(1)
                held.wait_for(2)
            assert cancel(other, agent["id"]) == {run_id: "cancelled"}
            assert read(reading.rest())[-1]["stop_reason"] == "cancelled"
            assert read(followed(other, run_id))[-1]["stop_reason"] == "cancelled"
            scripted_model.wait_for_disconnects(1)
        assert ok(other.get(f"/v1/runs/{run_id}"))["status"] == "cancelled"
        assert_goes_on(other, agent["id"])


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_a_run_deleted_from_another_process_does_not_go_on_beside_the_next(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    here, there = start_server(), start_server()
    with plain_client(here.url) as http, plain_client(there.url) as other:
        agent = ok(http.post("/v1/agents", json={"model": MODEL}))["id"]
        with scripted_model.hold(matching="first") as held:
            run_id = start(http, agent, "ECHO first")
            held.wait_for(1)
            ok(other.delete(f"/v1/runs/{run_id}"))
            scripted_model.wait_for_disconnects(1)
        assert say(other, agent, "ECHO second")["messages"][-1]["content"] == "second"
        assert [m.get("content") for m in whole(http, agent)[1:]] == ["ECHO second", "second"]


@each_provider
def test_cancel_settles_what_waits_for_approval(http: httpx.Client, new_agent: NewAgent) -> None:
    """The 409's own words: approve or deny it, or cancel, before you go on."""
    agent = new_agent(tool_rules=[{"type": "requires_approval", "tool_name": "conversation_search"}])
    say(http, agent.id, SEARCH)
    assert post(http, agent.id, "hello").status_code == 409
    cancel(http, agent.id)
    assert_goes_on(http, agent.id)


@each_provider
@pytest.mark.parametrize("step", [1, 2])
def test_a_turn_of_decisions_can_be_cancelled(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, step: int
) -> None:
    agent = new_agent(tool_rules=[{"type": "requires_approval", "tool_name": "conversation_search"}])
    asked = say(http, agent.id, f"{SEARCH}\nTHEN {SEARCH}")
    call_id = asked["messages"][-1]["tool_call"]["tool_call_id"]
    with scripted_model.hold() as held, ThreadPoolExecutor(1) as pool:
        decision = {"type": "approval", "tool_call_id": call_id, "approve": True}
        deciding = pool.submit(decide, http, agent.id, decision, client_tools=[])
        held.wait_for(1)
        cancel(http, agent.id)
        deciding.result(30)
    messages = whole(http, agent.id)
    assert kinds(messages)[-2:] == ["approval_response_message", "tool_return_message"]
    assert_goes_on(http, agent.id)


@each_provider
def test_deleting_a_run_under_way_stops_it(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held:
        run_id = start(http, agent.id, ASKED)
        held.wait_for(1)
        with following(http, run_id) as reading:
            reading.next()
            ok(http.delete(f"/v1/runs/{run_id}"))
            assert reading.rest()[-1] == DONE
        scripted_model.wait_for_disconnects(1)
    assert http.get(f"/v1/runs/{run_id}").status_code == 404
    assert_goes_on(http, agent.id)


def test_a_message_to_an_agent_that_is_deleted_meanwhile_ends(
    http: httpx.Client, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(post, http, agent.id, "ECHO hello")
        held.wait_for(1)
        deleting = threading.Thread(target=client.agents.delete, args=(agent.id,))
        deleting.start()
        held.release()
        deleting.join(PATIENCE)
        answer = asking.result(30)
    assert answer.status_code in (200, 404, 409), answer.text
    assert json.loads(answer.text)
    assert http.get(f"/v1/agents/{agent.id}").status_code == 404
