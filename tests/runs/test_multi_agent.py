"""Agents that talk to each other: answers, messages without waiting, tags; and what would wait on itself."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import Letta

from runs.talking import followed, kinds, ok, say, whole
from support.fixtures import NewAgent, one_store
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel

ASK = "send_message_to_agent_and_wait_for_reply"
TELL = "send_message_to_agent_async"
TAGGED = "send_message_to_agents_matching_tags"


@pytest.fixture
def talker(client: Letta, new_agent: NewAgent) -> Any:
    """Make an agent that can talk to others."""

    def make(**fields: Any) -> Any:
        return new_agent(tools=[ASK, TELL, TAGGED], include_base_tools=False, **fields)

    return make


def ask(other: str, message: str) -> str:
    return f"CALL {ASK} {json.dumps({'message': message, 'other_agent_id': other})}"


def returned(turn: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(m for m in turn["messages"] if m["message_type"] == "tool_return_message")
    return found


def test_an_agent_asks_another_and_gets_its_answer(http: httpx.Client, talker: Any) -> None:
    one, other = talker(), talker()
    turn = say(http, one.id, ask(other.id, "hello\nECHO I am the other"))
    assert returned(turn)["status"] == "success"
    assert "I am the other" in returned(turn)["tool_return"]
    said = whole(http, other.id)[1]
    assert said["message_type"] == "user_message"
    assert one.id in said["content"]
    assert said["sender_id"] == one.id
    runs = ok(http.get("/v1/runs", params={"agent_id": other.id}))
    assert [run["status"] for run in runs] == ["completed"]
    whole(http, one.id)


@one_store
def test_the_answer_of_an_agent_that_speaks_by_a_tool_is_what_it_says(
    http: httpx.Client, talker: Any, new_agent: NewAgent
) -> None:
    one, other = talker(), new_agent(agent_type="memgpt_agent")
    turn = say(http, one.id, ask(other.id, 'hello\nCALL send_message {"message": "I am the older one."}'))
    assert (returned(turn)["status"], returned(turn)["tool_return"]) == ("success", "I am the older one.")


def test_a_message_without_waiting_is_answered_in_its_own_time(
    http: httpx.Client, talker: Any, scripted_model: ScriptedModel
) -> None:
    one, other = talker(), talker()
    with scripted_model.hold(matching="[Message from agent") as held:
        message = json.dumps({"message": "take your time\nECHO I did", "other_agent_id": other.id})
        turn = say(http, one.id, f"CALL {TELL} {message}\nTHEN ECHO told")
        assert (returned(turn)["status"], turn["messages"][-1]["content"]) == ("success", "told")
        held.wait_for(1)
        (run,) = ok(http.get("/v1/runs", params={"agent_id": other.id}))
        assert run["status"] == "running"
        held.release()
    followed(http, run["id"])
    assert whole(http, other.id)[-1]["content"] == "I did"


@pytest.mark.parametrize("kind", ["all", "some"])
def test_every_agent_with_the_tags_is_asked(http: httpx.Client, talker: Any, kind: str) -> None:
    red, blue = f"red{uuid4().hex}", f"blue{uuid4().hex}"
    one = talker(tags=[red, blue])
    both, first, second, neither = talker(tags=[red, blue]), talker(tags=[red]), talker(tags=[blue]), talker()
    tags = {"match_all": [], "match_some": [], f"match_{kind}": [red, blue]}
    message = json.dumps({"message": "hello\nECHO here", **tags})
    turn = say(http, one.id, f"CALL {TAGGED} {message}")
    answers = json.loads(returned(turn)["tool_return"])
    asked = {both.id} if kind == "all" else {both.id, first.id, second.id}
    assert {each["agent_id"] for each in answers} == asked
    assert {each["answer"] for each in answers} == {"here"}
    for agent in (both, first, second, neither):
        assert (len(whole(http, agent.id)) == 3) == (agent.id in asked)
    assert kinds(whole(http, one.id))[-1] == "assistant_message"


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"other_agent_id": "agent-123e4567-e89b-42d3-8456-426614174999"}, id="unknown"),
        pytest.param({"other_agent_id": "nonsense"}, id="malformed"),
        pytest.param({"other_agent_id": ""}, id="empty"),
        pytest.param({}, id="missing"),
    ],
)
@pytest.mark.parametrize("tool", [ASK, TELL])
def test_an_agent_that_does_not_exist_is_a_readable_error(
    http: httpx.Client, talker: Any, tool: str, arguments: dict[str, str]
) -> None:
    one = talker()
    turn = say(http, one.id, f"CALL {tool} {json.dumps({'message': 'hello', **arguments})}\nTHEN ECHO a pity")
    assert returned(turn)["status"] == "error"
    assert turn["messages"][-1]["content"] == "a pity"


def test_no_tags_are_a_readable_error(http: httpx.Client, talker: Any) -> None:
    turn = say(http, talker().id, f'CALL {TAGGED} {{"message": "hello", "match_all": [], "match_some": []}}')
    assert returned(turn)["status"] == "error"


def test_an_agent_that_asks_itself_is_refused(http: httpx.Client, talker: Any) -> None:
    one = talker()
    turn = say(http, one.id, ask(one.id, "hello"))
    assert returned(turn)["status"] == "error"
    whole(http, one.id)


def test_a_circle_is_refused_where_it_would_close(http: httpx.Client, talker: Any) -> None:
    one, two, three = talker(), talker(), talker()
    last = ask(one.id, "hello")
    middle = ask(three.id, f"and back\n{last}")
    turn = say(http, one.id, ask(two.id, f"pass it on\n{middle}"))
    assert returned(turn)["status"] == "success"
    refused = [m for m in whole(http, three.id) if m["message_type"] == "tool_return_message"]
    assert [m["status"] for m in refused] == ["error"]
    assert "waiting" in refused[0]["tool_return"]
    for agent in (one, two, three):
        assert whole(http, agent.id)[-1]["message_type"] == "assistant_message"
        assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"


def test_a_chain_has_an_end(http: httpx.Client, talker: Any) -> None:
    agents = [talker() for _ in range(8)]
    script = "ECHO the last"
    for agent in agents[:0:-1]:
        script = ask(agent.id, f"go on\n{script}")
    turn = say(http, agents[0].id, script)
    assert turn["stop_reason"]["stop_reason"] == "end_turn"
    reached = [len(whole(http, agent.id)) > 1 for agent in agents]
    assert reached == sorted(reached, reverse=True)
    assert sum(reached) == 6, "one who asks, five who are asked"


async def test_two_agents_that_ask_each_other_at_once_both_come_to_an_end(
    async_http: httpx.AsyncClient, http: httpx.Client, talker: Any, scripted_model: ScriptedModel
) -> None:
    one, two = talker(), talker()
    with scripted_model.hold(matching="both at once") as held:
        turns = [
            asyncio.create_task(
                async_http.post(
                    f"/v1/agents/{asker.id}/messages", json={"input": f"both at once\n{ask(other.id, 'hello')}"}
                )
            )
            for asker, other in ((one, two), (two, one))
        ]
        await asyncio.to_thread(held.wait_for, 2)
        held.release()
        answers = await asyncio.gather(*turns)
    assert [answer.status_code for answer in answers] == [200, 200]
    statuses = {returned(answer.json())["status"] for answer in answers}
    assert "error" in statuses, "one of them at least was told that it cannot wait"
    for agent in (one, two):
        whole(http, agent.id)
        assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"


def test_an_agent_whose_model_fails_is_a_readable_error(
    http: httpx.Client, talker: Any, scripted_model: ScriptedModel
) -> None:
    one, other = talker(), talker()
    with scripted_model.hold(matching="you will fail") as held:
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(say(http, one.id, ask(other.id, "you will fail"))))
        asking.start()
        held.wait_for(1)  # the asker's own words hold the script too
        scripted_model.fail_next(400, message="no such luck")
        held.release()
        asking.join(PATIENCE)
    assert returned(answers[0])["status"] == "error"
    whole(http, other.id)


def test_an_agent_that_waits_for_approval_cannot_answer(http: httpx.Client, talker: Any) -> None:
    one = talker()
    other = talker(tool_rules=[{"type": "requires_approval", "tool_name": TELL}])
    message = json.dumps({"message": "x", "other_agent_id": one.id})
    say(http, other.id, f"CALL {TELL} {message}")
    turn = say(http, one.id, ask(other.id, "hello"))
    assert returned(turn)["status"] == "error"
    whole(http, one.id)


def test_an_asker_that_is_cancelled_does_not_stay_waiting(
    http: httpx.Client, talker: Any, scripted_model: ScriptedModel
) -> None:
    one, other = talker(), talker()
    with scripted_model.hold(matching="[Message from agent") as held:
        run = ok(http.post(f"/v1/agents/{one.id}/messages/async", json={"input": ask(other.id, "hello")}))
        held.wait_for(1)
        ok(http.post(f"/v1/agents/{one.id}/messages/cancel", json={"run_ids": [run["id"]]}))
        followed(http, run["id"])
        assert say(http, one.id, "ECHO and on")["messages"][-1]["content"] == "and on"
        held.release()
    turn = say(http, other.id, ask(one.id, "hello\nECHO I am free"))
    assert "I am free" in returned(turn)["tool_return"]
