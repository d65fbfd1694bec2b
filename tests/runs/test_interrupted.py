"""Runs that are interrupted between a tool call and its return, decisions that never were, and what settles them.

The tool that takes so long is a question to another agent, whose model is held.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from chaos.moot import rows
from runs.talking import SEARCH, Event, approval, decide, kinds, ok, post, say, whole
from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, StartServer
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

ASK = "send_message_to_agent_and_wait_for_reply"
FROM = "[Message from agent"
"""What a message to the other agent begins with, so that its model can be held and the asker's not."""

NEEDS_APPROVAL = [{"type": "requires_approval", "tool_name": ASK}]
IMPATIENT = {"FOLKMOOT_SHUTDOWN_WAIT": "0.2"}


@dataclass
class Moot:
    """A server of the test's own with two agents on it, of which `one` can ask the `other`."""

    server: ServerProcess
    database: str
    http: httpx.Client
    one: str = ""
    other: str = ""

    def make(self, **fields: Any) -> str:
        """Make an agent."""
        body = {"model": MODEL, "tools": [ASK], "include_base_tools": False, **fields}
        agent_id: str = ok(self.http.post("/v1/agents", json=body))["id"]
        return agent_id

    @property
    def question(self) -> str:
        """What lets the one ask the other."""
        return f"CALL {ASK} {json.dumps({'message': 'hello', 'other_agent_id': self.other})}"

    def begin(self, **body: Any) -> str:
        """Say or decide something in the background and return the run."""
        run_id: str = ok(self.http.post(f"/v1/agents/{self.one}/messages/async", json=body))["id"]
        return run_id

    def kill_and_restart(self) -> None:
        """Kill the server and start it again; no lease of the dead process has to be waited for."""
        self.server.kill()
        if self.database.startswith("postgres"):
            every = "UPDATE runs SET lease_expires_at = 1 WHERE status IN ('created', 'running')"
            asyncio.run(rows(self.database, every))
        self.server.start()

    def stop_and_restart(self) -> None:
        """Ask the server to end, which waits for its runs a moment only, and start it again."""
        self.server.restart()

    def cancel(self) -> None:
        """Cancel what the one is at."""
        (outcome,) = ok(self.http.post(f"/v1/agents/{self.one}/messages/cancel")).values()
        assert outcome == "cancelled"

    def status(self, run_id: str) -> tuple[str, str | None]:
        """Return how a run ended, if it has."""
        run = ok(self.http.get(f"/v1/runs/{run_id}"))
        return run["status"], run["stop_reason"]


@contextmanager
def _moot(start_server: StartServer, database: str, **fields: Any) -> Iterator[Moot]:
    server = start_server(env=IMPATIENT)
    limits = httpx.Limits(max_keepalive_connections=0)  # a kept connection would not outlive its server
    with plain_client(server.url, limits=limits) as http:
        moot = Moot(server, database, http)
        moot.one, moot.other = moot.make(**fields), moot.make()
        yield moot


@pytest.fixture
def moot(start_server: StartServer, database_url: str) -> Iterator[Moot]:
    """Two agents, of which the one asks the other as it likes."""
    with _moot(start_server, database_url) as made:
        yield made


@pytest.fixture
def careful_moot(start_server: StartServer, database_url: str) -> Iterator[Moot]:
    """Two agents, of which the one asks the other when somebody has approved it."""
    with _moot(start_server, database_url, tool_rules=NEEDS_APPROVAL) as made:
        yield made


Interrupt = Callable[[Moot], None]
KILLED = pytest.param(Moot.kill_and_restart, id="killed")
STOPPED = pytest.param(Moot.stop_and_restart, id="stopped")
CANCELLED = pytest.param(Moot.cancel, id="cancelled")
RESTARTS = [KILLED, STOPPED]
AT_ONCE = [KILLED, CANCELLED]
"""Ended by whoever comes after a dead process, and by the process itself."""


def open_calls(turn: Event) -> list[str]:
    """Return the calls that a turn ended with."""
    assert turn["stop_reason"]["stop_reason"] == "requires_approval"
    return [each["tool_call_id"] for each in turn["messages"][-1]["tool_calls"]]


def decisions(*each: Event) -> dict[str, Any]:
    return {"messages": [{"type": "approval", "approvals": list(each)}]}


def questions_put(model: ScriptedModel) -> int:
    """Return how often the other agent's model was asked."""
    last_words = [next(m for m in reversed(messages) if m["role"] == "user") for messages in model.conversations]
    return sum(FROM in json.dumps(message["content"]) for message in last_words)


def assert_answers(moot: Moot, agent_id: str) -> None:
    assert say(moot.http, agent_id, "ECHO and on")["messages"][-1]["content"] == "and on"
    whole(moot.http, agent_id)


# -- between a call and its return ---------------------------------------------------------------------------


@pytest.mark.parametrize("interrupt", [KILLED, STOPPED, CANCELLED])
def test_a_call_that_is_interrupted_before_its_return_leaves_whole_steps(
    moot: Moot, scripted_model: ScriptedModel, interrupt: Interrupt
) -> None:
    with scripted_model.hold(matching=FROM) as held:
        run_id = moot.begin(input=f"CALL {ASK} {{}}\nTHEN {moot.question}")
        held.wait_for(1)
        interrupt(moot)
        assert moot.status(run_id)[0] == ("cancelled" if interrupt is Moot.cancel else "failed")
        before = whole(moot.http, moot.one)
        assert kinds(before) == ["system_message", "user_message", "tool_call_message", "tool_return_message"]
        assert_answers(moot, moot.one)
    assert_answers(moot, moot.other)
    assert questions_put(scripted_model) == 1, "nothing is run again by itself"


@pytest.mark.parametrize(
    ("interrupt", "way"),
    [
        pytest.param(Moot.kill_and_restart, "async", id="killed, in the background"),
        pytest.param(Moot.stop_and_restart, "stream", id="stopped, in a stream"),
        pytest.param(Moot.cancel, "", id="cancelled, in a plain request"),
    ],
)
def test_an_approved_call_that_is_interrupted_before_its_return_is_settled(
    careful_moot: Moot, scripted_model: ScriptedModel, interrupt: Interrupt, way: str
) -> None:
    """An error that says that the tool may have run or not; else the agent could never be talked to again."""
    moot = careful_moot
    (call_id,) = open_calls(say(moot.http, moot.one, moot.question))
    path = f"/v1/agents/{moot.one}/messages/{way}".rstrip("/")
    with scripted_model.hold(matching=FROM) as held, ThreadPoolExecutor(1) as pool:
        deciding = pool.submit(moot.http.post, path, json=decisions(approval(call_id)))
        held.wait_for(1)
        interrupt(moot)
        deciding.exception(60)
        *earlier, returned = whole(moot.http, moot.one)
        assert kinds(earlier)[1:3] == ["user_message", "approval_request_message"]
        assert (returned["message_type"], returned["status"]) == ("tool_return_message", "error")
        assert returned["tool_call_id"] == call_id
        assert "may have run or not" in returned["tool_return"]
        assert decide(moot.http, moot.one, approval(call_id)).status_code == 400
        assert_answers(moot, moot.one)
        assert decide(moot.http, moot.one, approval(call_id)).status_code == 400
    assert_answers(moot, moot.other)
    assert questions_put(scripted_model) == 1, "the tool was not run twice"


@pytest.mark.parametrize("interrupt", AT_ONCE)
def test_every_call_of_an_interrupted_request_is_settled(
    careful_moot: Moot, scripted_model: ScriptedModel, interrupt: Interrupt
) -> None:
    moot = careful_moot
    calls = [[ASK, {"message": "hello", "other_agent_id": moot.other}], [ASK, {"message": "twice"}]]
    first, second = open_calls(say(moot.http, moot.one, f"CALLS {json.dumps(calls)}"))
    with scripted_model.hold(matching=FROM) as held:
        moot.begin(**decisions(approval(first), approval(second, approve=False)))
        held.wait_for(1)
        interrupt(moot)
        returned = whole(moot.http, moot.one)[-2:]
        assert [(each["tool_call_id"], each["status"]) for each in returned] == [(first, "error"), (second, "error")]
        assert_answers(moot, moot.one)


@pytest.mark.parametrize("interrupt", AT_ONCE)
def test_what_was_decided_and_done_stays_when_a_later_step_is_interrupted(
    careful_moot: Moot, scripted_model: ScriptedModel, interrupt: Interrupt
) -> None:
    moot = careful_moot
    (call_id,) = open_calls(say(moot.http, moot.one, f"{moot.question}\nTHEN ECHO held"))
    with scripted_model.hold(matching="THEN ECHO held") as held:
        moot.begin(**decisions(approval(call_id)))
        held.wait_for(1)
        interrupt(moot)
    *_, response, returned = whole(moot.http, moot.one)
    assert response["message_type"] == "approval_response_message"
    assert (returned["tool_call_id"], returned["status"]) == (call_id, "success")
    assert_answers(moot, moot.one)


# -- decisions that come to nothing --------------------------------------------------------------------------


@pytest.mark.parametrize("restart", RESTARTS)
def test_refused_decisions_leave_the_call_open(
    careful_moot: Moot, scripted_model: ScriptedModel, restart: Interrupt
) -> None:
    moot = careful_moot
    (call_id,) = open_calls(say(moot.http, moot.one, moot.question))
    before = whole(moot.http, moot.one)
    for wrong in ([approval("call_unknown")], [approval(call_id), approval("call_unknown")]):
        assert decide(moot.http, moot.one, *wrong).status_code == 400
        assert whole(moot.http, moot.one) == before
    restart(moot)
    assert whole(moot.http, moot.one) == before
    assert post(moot.http, moot.one, "hello?").status_code == 409
    turn = ok(decide(moot.http, moot.one, approval(call_id)))
    assert turn["messages"][0]["status"] == "success"
    assert questions_put(scripted_model) == 1


@pytest.mark.parametrize("restart", RESTARTS)
def test_decisions_that_wait_for_their_turn_when_the_server_ends_leave_the_call_open(
    careful_moot: Moot, scripted_model: ScriptedModel, restart: Interrupt
) -> None:
    """Nothing of them was carried out, so they can be made again.

    No turn goes on in a conversation that waits for decisions. To make some wait, the database is told that the turn
    is that of another agent's run.
    """
    moot = careful_moot
    (call_id,) = open_calls(say(moot.http, moot.one, moot.question))
    before = whole(moot.http, moot.one)
    with scripted_model.hold(matching="takes its time") as held:
        busy = ok(moot.http.post(f"/v1/agents/{moot.other}/messages/async", json={"input": "takes its time"}))["id"]
        held.wait_for(1)
        asyncio.run(rows(moot.database, f"UPDATE conversations SET locked_by_run = '{busy}' WHERE id = '{moot.one}'"))
        waiting = moot.begin(**decisions(approval(call_id)))
        assert moot.status(waiting) == ("created", None)
        restart(moot)
    assert moot.status(waiting) == ("failed", "error")
    assert whole(moot.http, moot.one) == before
    assert post(moot.http, moot.one, "hello?").status_code == 409
    turn = ok(decide(moot.http, moot.one, approval(call_id)))
    assert turn["messages"][0]["status"] == "success"
    assert questions_put(scripted_model) == 1


# -- settling by cancel --------------------------------------------------------------------------------------


class Threads:
    """An agent with several conversations, its main one first, in each of which a call waits for approval."""

    def __init__(self, http: httpx.Client, agent_id: str) -> None:
        self.http, self.agent_id = http, agent_id
        made = [ok(http.post("/v1/conversations", params={"agent_id": agent_id}, json={}))["id"] for _ in range(2)]
        self.conversations = [agent_id, *made]
        self.runs = [self.ask(each) for each in self.conversations]

    def send(self, conversation: str, **body: Any) -> httpx.Response:
        return self.http.post(f"/v1/conversations/{conversation}/messages", json={"streaming": False, **body})

    def ask(self, conversation: str) -> str:
        """Let a call wait in the conversation, and return the run that it ended."""
        turn = ok(self.send(conversation, input=SEARCH))
        assert turn["stop_reason"]["stop_reason"] == "requires_approval"
        run_id: str = turn["messages"][-1]["run_id"]
        return run_id

    def cancel(self, **body: Any) -> dict[str, str]:
        answer: dict[str, str] = ok(self.http.post(f"/v1/agents/{self.agent_id}/messages/cancel", json=body))
        return answer

    def newest(self, conversation: str) -> Event:
        message: Event = ok(self.http.get(f"/v1/conversations/{conversation}/messages", params={"limit": 1}))[0]
        return message

    def waits(self, conversation: str) -> bool:
        """Whether decisions are awaited, which a message would be told."""
        return bool(self.newest(conversation)["message_type"] == "approval_request_message")

    def assert_answers(self, conversation: str) -> None:
        turn = ok(self.send(conversation, input="ECHO and on"))
        assert turn["messages"][-1]["content"] == "and on"


@pytest.fixture
def threads(http: httpx.Client, new_agent: NewAgent) -> Threads:
    """Three conversations of one agent that wait for approval."""
    agent = new_agent(tool_rules=[{"type": "requires_approval", "tool_name": "conversation_search"}])
    return Threads(http, agent.id)


def test_cancelling_an_agent_settles_what_waits_in_all_its_conversations(threads: Threads) -> None:
    assert all(threads.waits(each) for each in threads.conversations)
    assert threads.cancel() == {}, "every run was over"
    for each in threads.conversations:
        settled = threads.newest(each)
        assert (settled["message_type"], settled["status"]) == ("tool_return_message", "error")
        assert "not run" in settled["tool_return"]
        threads.assert_answers(each)
    whole(threads.http, threads.agent_id)


@pytest.mark.parametrize("place", [0, 1], ids=["the main one", "another one"])
def test_cancelling_named_runs_settles_what_waits_because_of_them(threads: Threads, place: int) -> None:
    named = threads.runs[place]
    assert threads.cancel(run_ids=[named]) == {named: "already over"}
    assert [threads.waits(each) for each in threads.conversations] == [number != place for number in range(3)]
    for number, each in enumerate(threads.conversations):
        if number == place:
            threads.assert_answers(each)
        else:
            assert threads.send(each, input="hello?").status_code == 409
    threads.cancel()
    for each in threads.conversations:
        threads.assert_answers(each)


def test_cancelling_a_run_whose_call_was_decided_leaves_a_later_one_open(threads: Threads) -> None:
    """What waits now, waits because of the run that came after the named one."""
    conversation, earlier = threads.conversations[1], threads.runs[1]
    (call_id,) = [each["tool_call_id"] for each in threads.newest(conversation)["tool_calls"]]
    ok(threads.send(conversation, **decisions(approval(call_id))))
    later = threads.ask(conversation)
    assert threads.cancel(run_ids=[earlier]) == {earlier: "already over"}
    assert threads.waits(conversation)
    threads.cancel(run_ids=[later])
    threads.assert_answers(conversation)


def test_cancelling_another_agents_run_settles_nothing(threads: Threads, new_agent: NewAgent) -> None:
    stranger = new_agent().id
    answer = ok(threads.http.post(f"/v1/agents/{stranger}/messages/cancel", json={"run_ids": threads.runs}))
    assert set(answer.values()) == {"not a run of this agent"}
    assert all(threads.waits(each) for each in threads.conversations)


def test_cancelling_an_agent_settles_what_a_deleted_run_left(threads: Threads) -> None:
    for run_id in threads.runs:
        ok(threads.http.delete(f"/v1/runs/{run_id}"))
    threads.cancel()
    for each in threads.conversations:
        threads.assert_answers(each)


def test_cancelling_an_agent_settles_what_waits_in_a_fork(threads: Threads) -> None:
    """A fork of a conversation that waits for decisions waits for them too, though no run of its own does."""
    forked = ok(threads.http.post(f"/v1/conversations/{threads.conversations[1]}/fork"))["id"]
    assert threads.waits(forked)
    threads.cancel()
    threads.assert_answers(forked)


def test_cancelling_a_conversation_settles_what_waits_in_it_alone(threads: Threads) -> None:
    ok(threads.http.post(f"/v1/conversations/{threads.conversations[1]}/cancel"))
    assert [threads.waits(each) for each in threads.conversations] == [True, False, True]
    threads.assert_answers(threads.conversations[1])
