"""Agents that ask and tell each other in rounds, at once and in long rows; and tools that end an asker's turn."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from folkmoot.runs.messenger import FARTHEST
from runs.talking import SEARCH, Event, approval, call, calling, decide, followed, kinds, ok, post, say, whole
from support.fixtures import NewAgent
from support.polling import until
from support.scripted_model import ScriptedModel

ASK = "send_message_to_agent_and_wait_for_reply"
TELL = "send_message_to_agent_async"
TAGGED = "send_message_to_agents_matching_tags"


@pytest.fixture
def talker(new_agent: NewAgent) -> Any:
    """Make an agent that can talk to others, and return its identifier."""

    def make(**fields: Any) -> str:
        return new_agent(**{"tools": [ASK, TELL, TAGGED], "include_base_tools": False, **fields}).id

    return make


def to(agent_id: str, message: str = "hello") -> dict[str, str]:
    return {"message": message, "other_agent_id": agent_id}


def calls(*pairs: tuple[str, dict[str, Any]]) -> str:
    return f"CALLS {json.dumps(pairs)}"


def returns(messages: list[Event]) -> list[Event]:
    return [message for message in messages if message["message_type"] == "tool_return_message"]


def assert_goes_on(http: httpx.Client, *agents: str) -> None:
    for agent in agents:
        whole(http, agent)
        assert say(http, agent, "ECHO and on")["messages"][-1]["content"] == "and on"


def runs_of(http: httpx.Client, agent_id: str) -> list[Event]:
    """Return the agent's runs, the newest first."""
    runs: list[Event] = ok(http.get("/v1/runs", params={"agent_id": agent_id, "limit": 100}))
    return runs


# -- in rounds -----------------------------------------------------------------------------------------------


def test_agents_that_were_asked_by_tag_and_ask_back_are_refused_readably(http: httpx.Client, talker: Any) -> None:
    tag = f"tag{uuid4().hex}"
    one = talker(tags=[tag])
    asked = [talker(tags=[tag]) for _ in range(3)]
    message = f"ask me back\n{calls((ASK, to(one)))}\nTHEN ECHO I could not ask"
    turn = say(http, one, f"CALL {TAGGED} {json.dumps({'message': message, 'match_all': [tag], 'match_some': []})}")
    (returned,) = returns(turn["messages"])
    answers = json.loads(returned["tool_return"])
    assert sorted(each["agent_id"] for each in answers) == sorted(asked)
    assert {each["answer"] for each in answers} == {"I could not ask"}
    for agent in asked:
        (refused,) = returns(whole(http, agent))
        assert (refused["status"], one in refused["tool_return"]) == ("error", True)
        assert "waiting for your own answer" in refused["tool_return"]
    assert_goes_on(http, one, *asked)


def test_agents_that_were_asked_at_once_and_ask_back_are_refused_readably(http: httpx.Client, talker: Any) -> None:
    one, two, three = talker(), talker(), talker()
    back = f"ask me back\n{calls((ASK, to(one)))}\nTHEN ECHO I could not ask"
    turn = say(http, one, calls((ASK, to(two, back)), (ASK, to(three, back))))
    assert [each["status"] for each in returns(turn["messages"])] == ["success"] * 2
    for each in returns(turn["messages"]):
        assert "I could not ask" in each["tool_return"]
    for agent in (two, three):
        (refused,) = returns(whole(http, agent))
        assert "waiting for your own answer" in refused["tool_return"]
    assert_goes_on(http, one, two, three)


def test_agents_that_were_asked_at_once_and_ask_each_other_come_to_an_end(
    http: httpx.Client, talker: Any, scripted_model: ScriptedModel
) -> None:
    """Both are busy with the one's question when they ask, so neither could ever answer the other."""
    one, two, three = talker(), talker(), talker()
    script = calls(
        (ASK, to(two, f"both at once\n{calls((ASK, to(three)))}")),
        (ASK, to(three, f"both at once\n{calls((ASK, to(two)))}")),
    )
    with scripted_model.hold(matching="\nboth at once") as held, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(say, http, one, script)
        held.wait_for(2)
        held.release()
        turn = asking.result(60)
    assert [each["status"] for each in returns(turn["messages"])] == ["success"] * 2
    refused = [each for agent in (two, three) for each in returns(whole(http, agent)) if each["status"] == "error"]
    assert refused, "one of them at least was told that it cannot wait"
    assert all("waiting for you" in each["tool_return"] for each in refused)
    assert_goes_on(http, one, two, three)


def test_one_agent_that_is_asked_twice_at_once_answers_twice(http: httpx.Client, talker: Any) -> None:
    one, two = talker(), talker()
    turn = say(http, one, calls(*((ASK, to(two, f"hello\nECHO answer {number}")) for number in range(3))))
    assert [each["status"] for each in returns(turn["messages"])] == ["success"] * 3
    for number, each in enumerate(returns(turn["messages"])):
        assert f"answer {number}" in each["tool_return"]
    assert len(whole(http, two)) == 1 + 3 * 2


# -- without waiting -----------------------------------------------------------------------------------------


def test_messages_that_set_each_other_off_come_to_an_end(
    http: httpx.Client, talker: Any, scripted_model: ScriptedModel
) -> None:
    """Two agents tell each other something, again and again; a told call ends the turn, so that they take turns."""
    pair = [talker(tool_rules=[{"type": "exit_loop", "tool_name": TELL}]) for _ in range(2)]
    for number in range(FARTHEST + 1):
        arguments = json.dumps(to(pair[(number + 1) % 2], f"message {number + 1}"))
        scripted_model.reply_next(calling(call(TELL, arguments, f"call_{number:08d}")))
    say(http, pair[0], "tell the other")
    scripted_model.wait_for_requests(FARTHEST + 2)
    refusing = pair[FARTHEST % 2]
    last = followed(http, runs_of(http, refusing)[0]["id"])
    (refused,) = returns([json.loads(entry) for entry in last[:-1]])
    assert (refused["status"], str(FARTHEST) in refused["tool_return"]) == ("error", True)
    assert "tell your user" in refused["tool_return"]
    told = [each for agent in pair for each in returns(whole(http, agent))]
    assert [each["status"] for each in told].count("success") == FARTHEST
    assert sum(len(runs_of(http, agent)) for agent in pair) == 1 + FARTHEST
    assert ok(http.get("/v1/runs/active", params={"agent_ids": pair})) == []
    assert len(scripted_model.requests) == FARTHEST + 2
    fresh = say(http, refusing, f"CALL {TELL} {json.dumps(to(pair[FARTHEST % 2 - 1]))}")
    assert returns(fresh["messages"])[0]["status"] == "success", "what a person says begins a new row"
    followed(http, runs_of(http, pair[FARTHEST % 2 - 1])[0]["id"])


def test_who_was_told_something_may_ask_the_teller_and_wait(
    http: httpx.Client, talker: Any, scripted_model: ScriptedModel
) -> None:
    """The teller does not wait for an answer, so its own turn, which goes on, comes to an end."""
    one, two = talker(), talker()
    question = calls((ASK, to(one, "and?\nECHO yes")))
    message = f"ask me\n{question}\nTHEN ECHO thanks"
    with scripted_model.hold(matching="begin here") as held, ThreadPoolExecutor(1) as pool:
        telling = pool.submit(say, http, one, f"begin here\n{calls((TELL, to(two, message)))}\nTHEN ECHO told")
        held.wait_for(1)
        held.release(1)
        held.wait_for(2)
        until(lambda: len(ok(http.get("/v1/runs/active", params={"agent_id": one}))) == 2)
        runs = ok(http.get("/v1/runs/active", params={"agent_id": one}))
        assert [run["status"] for run in runs] == ["created", "running"]
        held.release()
        assert telling.result(60)["messages"][-1]["content"] == "told"
    (run,) = runs_of(http, two)
    followed(http, run["id"])
    (returned,) = returns(whole(http, two))
    assert returned["status"] == "success"
    assert "yes" in returned["tool_return"]
    assert whole(http, two)[-1]["content"] == "thanks"
    assert_goes_on(http, one, two)


def test_a_message_that_was_told_is_listed_before_its_turn_begins(
    http: httpx.Client, talker: Any, scripted_model: ScriptedModel
) -> None:
    one, two = talker(), talker()
    with scripted_model.hold(matching="busy") as held, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, http, two, "busy\nECHO free now")
        held.wait_for(1)
        say(http, one, calls((TELL, to(two, "when you can\nECHO here"))))
        waiting, running = runs_of(http, two)
        assert (waiting["status"], running["status"]) == ("created", "running")
        held.release()
        ok(first.result(60))
    followed(http, waiting["id"])
    assert [m["content"] for m in whole(http, two) if m["message_type"] == "assistant_message"] == ["free now", "here"]


def test_a_message_that_was_told_can_be_cancelled_before_its_turn_begins(
    http: httpx.Client, talker: Any, scripted_model: ScriptedModel
) -> None:
    one, two = talker(), talker()
    with scripted_model.hold(matching="busy") as held, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, http, two, "busy\nECHO free now")
        held.wait_for(1)
        say(http, one, calls((TELL, to(two))))
        told = runs_of(http, two)[0]["id"]
        answer = ok(http.post(f"/v1/agents/{two}/messages/cancel", json={"run_ids": [told]}))
        assert answer == {told: "cancelled"}
        held.release()
        ok(first.result(60))
    assert kinds(whole(http, two)) == ["system_message", "user_message", "assistant_message"]


# -- tools that end a turn, and limits, under approval -------------------------------------------------------


def waiting(turn: Event) -> str:
    """Return the call that a turn ended with."""
    assert turn["stop_reason"]["stop_reason"] == "requires_approval"
    (open_call,) = turn["messages"][-1]["tool_calls"]
    call_id: str = open_call["tool_call_id"]
    return call_id


@pytest.mark.parametrize("kind", ["memgpt_agent", "memgpt_v2_agent"])
def test_an_approved_last_word_ends_the_turn(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, kind: Any
) -> None:
    agent = new_agent(agent_type=kind, tool_rules=[{"type": "requires_approval", "tool_name": "send_message"}]).id
    call_id = waiting(say(http, agent, 'CALL send_message {"message": "Hello, you."}'))
    turn = ok(decide(http, agent, approval(call_id)))
    assert turn["stop_reason"]["stop_reason"] == "tool_rule"
    assert len(scripted_model.requests) == 1, "the model is not asked what comes after its last word"
    assert [each["status"] for each in returns(whole(http, agent))] == ["success"]
    assert_goes_on(http, agent)


def test_a_last_word_that_was_denied_does_not_end_the_turn(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    rule = {"type": "requires_approval", "tool_name": "send_message"}
    agent = new_agent(agent_type="memgpt_v2_agent", tool_rules=[rule]).id
    script = 'CALL send_message {"message": "Rude."}\nTHEN CALL send_message {"message": "Polite."}'
    call_id = waiting(say(http, agent, script))
    call_id = waiting(ok(decide(http, agent, approval(call_id, approve=False))))
    assert ok(decide(http, agent, approval(call_id)))["stop_reason"]["stop_reason"] == "tool_rule"
    assert [each["status"] for each in returns(whole(http, agent))] == ["error", "success"]
    assert len(scripted_model.requests) == 2


def test_a_denied_call_does_not_count_as_one(http: httpx.Client, new_agent: NewAgent) -> None:
    """A limit is on how often the tool is run."""
    tool = "conversation_search"
    rules = [
        {"type": "requires_approval", "tool_name": tool},
        {"type": "max_count_per_step", "tool_name": tool, "max_count_limit": 1},
    ]
    agent = new_agent(tool_rules=rules).id
    call_id = waiting(say(http, agent, "\nTHEN ".join([SEARCH, SEARCH, SEARCH, "ECHO bye"])))
    call_id = waiting(ok(decide(http, agent, approval(call_id, approve=False))))
    turn = ok(decide(http, agent, approval(call_id)))
    assert [each["status"] for each in returns(turn["messages"])] == ["success", "error"]
    assert turn["messages"][-1]["content"] == "bye"
    whole(http, agent)
