"""Rows of runs that are taken from under a process, runs that ended early, and finding a run by what was said."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from letta_client import Letta

from chaos.moot import rows
from runs.talking import DONE, Reading, followed, kinds, ok, post, read, say, whole
from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, StartServer
from support.polling import PATIENCE, until
from support.scripted_model import ScriptedModel

ASKED = "CALL conversation_search {}\nTHEN ECHO one two three"
OVER = ("completed", "failed", "cancelled")


def start(http: httpx.Client, agent_id: str, text: str, **more: Any) -> str:
    run_id: str = ok(http.post(f"/v1/agents/{agent_id}/messages/async", json={"input": text, **more}))["id"]
    return run_id


# -- a row that is gone --------------------------------------------------------------------------------------


def end_lease_until_over(http: httpx.Client, database: str, run_id: str) -> None:
    """Let the run's lease be over, again when its own process extended it, until another process has taken note."""

    def is_over() -> bool:
        if ok(http.get(f"/v1/runs/{run_id}"))["status"] in OVER:
            return True
        asyncio.run(rows(database, f"UPDATE runs SET lease_expires_at = 1 WHERE id = '{run_id}'"))
        return False

    until(is_over)


async def lease_is_extended(database: str, run_id: str) -> None:
    """Return when the run's lease is another than it is now."""
    statement = f"SELECT lease_expires_at FROM runs WHERE id = '{run_id}'"
    ((at_first,),) = await rows(database, statement)
    async with asyncio.timeout(PATIENCE):
        while await rows(database, statement) == [(at_first,)]:
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("pieces", [0, 2], ids=["before the reply", "amid the reply"])
def test_a_process_whose_run_was_deleted_as_dead_goes_on_with_the_others(
    start_server: StartServer, scripted_model: ScriptedModel, database_url: str, pieces: int
) -> None:
    """It was silent for too long, and comes back with the end of a run that nobody knows any more."""
    here, there = start_server(), start_server()
    with (
        plain_client(here.url) as http,
        plain_client(there.url) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        lost, beside = (ok(http.post("/v1/agents", json={"model": MODEL}))["id"] for _ in range(2))
        with scripted_model.hold(matching="to be lost", after=pieces) as held:
            run_id = start(http, lost, "ECHO to be lost", stream_tokens=True)
            held.wait_for(1)
            following = pool.submit(post, other, lost, "ECHO the next")  # who waits looks for the dead
            end_lease_until_over(other, database_url, run_id)
            assert ok(following.result(60))["messages"][-1]["content"] == "the next"
            assert ok(other.get(f"/v1/runs/{run_id}"))["error"]["type"] == "process_died"
            ok(other.delete(f"/v1/runs/{run_id}"))
            held.release()
            assert say(http, lost, "ECHO and on")["messages"][-1]["content"] == "and on"
        said = [m["content"] for m in whole(http, lost) if m["message_type"] == "assistant_message"]
        assert said == ["the next", "and on"], "nothing of the lost run"
        assert http.get(f"/v1/runs/{run_id}").status_code == 404
        with scripted_model.hold(matching="for long") as held:
            long = start(http, beside, "ECHO for long")
            held.wait_for(1)
            assert say(http, lost, "ECHO beside it")["messages"][-1]["content"] == "beside it"
            asyncio.run(lease_is_extended(database_url, long))
            held.release()
            assert kinds(read(followed(http, long)))[-2:] == ["stop_reason", "usage_statistics"]
        assert ok(other.get(f"/v1/runs/{long}"))["status"] == "completed"
    assert "Traceback" not in here.log()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_run_that_is_deleted_while_its_pieces_are_stored_is_no_fault(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server()
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    connection = await asyncpg.connect(server.database)
    try:
        with plain_client(server.url) as http, scripted_model.hold(matching="to be lost") as held:
            agent = ok(http.post("/v1/agents", json={"model": MODEL}))["id"]
            run_id = start(http, agent, "ECHO to be lost", stream_tokens=True)
            held.wait_for(1)
            async with connection.transaction():  # as another process deletes it
                await connection.execute("DELETE FROM runs WHERE id = $1", run_id)
                held.release()
                while len(await rows(server.database, waiting)) < 2:  # its pieces, and its step
                    await asyncio.sleep(0.02)
            assert say(http, agent, "ECHO and on")["messages"][-1]["content"] == "and on"
            assert http.get(f"/v1/runs/{run_id}").status_code == 404
    finally:
        await connection.close()
    assert "Traceback" not in server.log()


# -- runs that ended early -----------------------------------------------------------------------------------


def assert_one_step(http: httpx.Client, run_id: str) -> None:
    usage = ok(http.get(f"/v1/runs/{run_id}/usage"))
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (100, 10, 110)
    metrics = ok(http.get(f"/v1/runs/{run_id}/metrics"))
    assert (metrics["num_steps"], metrics["tools_used"]) == (1, ["conversation_search"])
    assert metrics["run_ns"] > 0
    (step,) = (each for each in ok(http.get(f"/v1/runs/{run_id}/steps")) if each["status"] == "success")
    assert (step["total_tokens"], step["stop_reason"]) == (110, None)


@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
def test_usage_of_a_run_that_was_cancelled_is_that_of_its_steps(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, tokens: bool
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held:
        run_id = start(http, agent.id, ASKED, stream_tokens=tokens)
        held.wait_for(1)
        held.release(1)
        held.wait_for(2)
        ok(http.post(f"/v1/agents/{agent.id}/messages/cancel"))
    assert ok(http.get(f"/v1/runs/{run_id}"))["status"] == "cancelled"
    assert_one_step(http, run_id)


def test_usage_of_a_run_whose_model_failed_is_that_of_its_steps(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held:
        run_id = start(http, agent.id, ASKED)
        held.wait_for(1)
        scripted_model.fail_next(400)
        held.release()
        followed(http, run_id)
    assert ok(http.get(f"/v1/runs/{run_id}"))["status"] == "failed"
    assert_one_step(http, run_id)


def test_a_run_that_ended_before_its_first_step_took_nothing(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    scripted_model.fail_next(400)
    run_id = start(http, agent.id, ASKED)
    followed(http, run_id)
    assert ok(http.get(f"/v1/runs/{run_id}/usage"))["total_tokens"] == 0
    metrics = ok(http.get(f"/v1/runs/{run_id}/metrics"))
    assert (metrics["num_steps"], metrics["tools_used"]) == (0, None)


# -- a conversation's stream ---------------------------------------------------------------------------------


class Thread:
    """A conversation, and its runs under the client's own identifiers of what was said."""

    def __init__(self, http: httpx.Client, agent_id: str) -> None:
        self.http = http
        self.id = ok(http.post("/v1/conversations", params={"agent_id": agent_id}, json={}))["id"]

    def start(self, text: str, otid: str) -> str:
        """Say something in the background, and return the run as soon as the stream has named it."""
        body = {"messages": [{"role": "user", "content": text, "otid": otid}], "background": True}
        with self.http.stream("POST", f"/v1/conversations/{self.id}/messages", json=body) as response:
            run_id: str = json.loads(Reading(response).next())["run_id"]
        return run_id

    def resume(self, **body: Any) -> list[str]:
        with self.http.stream("POST", f"/v1/conversations/{self.id}/stream", json=body) as response:
            return Reading(response).rest()


def test_a_stream_is_resumed_by_what_was_said_while_its_first_step_is_under_way(
    http: httpx.Client, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    """Nothing of the message is stored yet; only the run knows the client's identifier."""
    thread = Thread(http, new_agent().id)
    first, second = uuid4().hex, uuid4().hex
    with scripted_model.hold() as held:
        runs = [thread.start("ECHO one", first), thread.start("ECHO two", second)]
        held.wait_for(1)
        url = f"/v1/conversations/{thread.id}/stream"
        with (
            http.stream("POST", url, json={"otid": first}) as one,
            http.stream("POST", url, json={"otid": second, "starting_after": 1}) as two,
        ):
            reading = Reading(one)
            ping = json.loads(reading.next())
            assert (ping["message_type"], ping["run_id"]) == ("ping", runs[0])
            held.release()
            reading.rest()
            assert reading.seen == followed(http, runs[0])
            assert Reading(two).rest() == followed(http, runs[1], after=1)
    assert [event.get("content") for event in read(reading.seen)][1] == "one"
    by_client: list[Any] = list(client.conversations.messages.stream(thread.id, otid=second))
    assert {chunk.run_id for chunk in by_client[:-2]} == {runs[1]}


def test_a_stream_is_found_by_what_was_said_when_it_is_over(http: httpx.Client, new_agent: NewAgent) -> None:
    thread, otid = Thread(http, new_agent().id), uuid4().hex
    run_id = thread.start("ECHO one", otid)
    everything = followed(http, run_id)
    assert thread.resume(otid=otid) == thread.resume(run_id=run_id) == everything
    assert thread.resume(otid=otid, starting_after=1) == everything[1:]
    answer = http.post(f"/v1/conversations/{thread.id}/stream", json={"otid": "never said"})
    assert answer.status_code == 400


def test_a_stream_of_a_deleted_run_is_refused_before_it_begins(http: httpx.Client, new_agent: NewAgent) -> None:
    thread, otid = Thread(http, new_agent().id), uuid4().hex
    run_id = thread.start("ECHO one", otid)
    assert followed(http, run_id)[-1] == DONE
    ok(http.delete(f"/v1/runs/{run_id}"))
    for body in ({"run_id": run_id}, {"otid": otid}):
        answer = http.post(f"/v1/conversations/{thread.id}/stream", json=body)
        assert answer.status_code in (400, 404), answer.text


def test_a_run_of_another_conversation_is_refused(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent, otid = new_agent(), uuid4().hex
    thread, beside = Thread(http, agent.id), Thread(http, agent.id)
    with scripted_model.hold() as held:
        run_id = thread.start("ECHO one", otid)
        held.wait_for(1)
        for conversation in (beside.id, agent.id):
            answer = http.post(f"/v1/conversations/{conversation}/stream", json={"run_id": run_id})
            assert answer.status_code == 404, answer.text
            assert run_id in answer.json()["detail"]
            assert http.post(f"/v1/conversations/{conversation}/stream", json={"otid": otid}).status_code == 400
    assert followed(http, run_id)[-1] == DONE


# -- what somebody thinks of a step --------------------------------------------------------------------------


def test_steps_are_found_by_feedback_and_its_tags(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    good, bad, plain = (say(http, agent.id, f"ECHO {number}")["messages"][0]["step_id"] for number in range(3))
    odd = ['50% "off"', "Grüße_aus"]
    assert client.steps.feedback.create(good, feedback="positive", tags=["short", *odd]).feedback == "positive"
    client.steps.feedback.create(bad, feedback="negative", tags=["short", "wrong"])

    def found(**wanted: Any) -> list[str]:
        return [step.id for step in client.steps.list(agent_id=agent.id, order="asc", **wanted)]

    assert client.steps.retrieve(good).tags == ["short", *odd]
    assert client.steps.retrieve(plain).tags == []
    assert found(feedback="positive") == [good]
    assert found(feedback="negative") == [bad]
    assert found(has_feedback=True) == [good, bad]
    assert found(has_feedback=False) == [plain]
    assert found(tags=["short"]) == [good, bad]
    assert found(tags=["wrong", "no such tag"]) == [bad]
    for tag in odd:
        assert found(tags=[tag]) == [good]
    assert found(tags=["shor"]) == found(tags=["50%"]) == found(tags=["%"]) == found(tags=["Grüße%aus"]) == []
    assert found(tags=["short"], feedback="negative", limit=1) == [bad]


def test_feedback_that_is_given_again_replaces_its_tags(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    step_id = say(http, agent.id, "ECHO hello")["messages"][0]["step_id"]
    client.steps.feedback.create(step_id, feedback="positive", tags=["first"])
    client.steps.feedback.create(step_id, feedback="negative", tags=["second"])
    step = client.steps.retrieve(step_id)
    assert (step.feedback, step.tags) == ("negative", ["second"])
    client.steps.feedback.create(step_id, feedback=None)
    step = client.steps.retrieve(step_id)
    assert (step.feedback, step.tags) == (None, [])
    assert list(client.steps.list(agent_id=agent.id, tags=["second"])) == []
    assert http.patch(f"/v1/steps/{step_id}/feedback", json={"tags": ["\0"]}).status_code == 422
