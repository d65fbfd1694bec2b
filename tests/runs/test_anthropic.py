"""What OpenAI takes and Anthropic refuses must not leave the server: each later request would be refused for it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from runs.talking import SEARCH, call, calling, kinds, ok, say, whole
from support.fixtures import MODELS, NewAgent, with_anthropic
from support.scripted_model import ScriptedModel

pytestmark = with_anthropic

THINKS = {"reasoning": {"reasoning_effort": "low"}}
RUN_FIRST = {"type": "run_first", "tool_name": "conversation_search"}

BLANK = [
    pytest.param("", id="empty"),
    pytest.param(" \n", id="blank"),
    pytest.param([{"type": "text", "text": " "}], id="a blank part"),
    pytest.param([{"type": "text", "text": "ECHO ok"}, {"type": "text", "text": ""}], id="an empty part"),
]


def send(http: httpx.Client, agent_id: str, *messages: dict[str, Any]) -> httpx.Response:
    return http.post(f"/v1/agents/{agent_id}/messages", json={"messages": list(messages)})


def assert_goes_on(http: httpx.Client, agent_id: str) -> None:
    assert say(http, agent_id, "ECHO and on")["messages"][-1]["content"] == "and on"
    whole(http, agent_id)


@pytest.mark.parametrize("content", BLANK)
@pytest.mark.parametrize("role", ["user", "system"])
def test_a_message_with_nothing_in_it(http: httpx.Client, new_agent: NewAgent, role: str, content: Any) -> None:
    agent = new_agent()
    assert send(http, agent.id, {"role": role, "content": content}).status_code in (200, 422)
    assert_goes_on(http, agent.id)


@pytest.mark.parametrize("content", BLANK)
def test_an_answer_with_nothing_in_it_that_somebody_gives(
    http: httpx.Client, new_agent: NewAgent, content: Any
) -> None:
    agent = new_agent()
    given = send(http, agent.id, {"role": "assistant", "content": content}, {"role": "user", "content": "ECHO on"})
    assert given.status_code in (200, 422), given.text
    assert_goes_on(http, agent.id)


def test_a_conversation_that_begins_with_an_answer(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    ok(send(http, agent.id, {"role": "assistant", "content": "Welcome."}, {"role": "user", "content": "ECHO thanks"}))
    assert_goes_on(http, agent.id)


@pytest.mark.parametrize("system", ["", " "])
def test_an_agent_without_instructions(http: httpx.Client, new_agent: NewAgent, system: str) -> None:
    assert_goes_on(http, new_agent(system=system).id)


def test_ids_that_another_provider_used_again(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    """Some servers that speak OpenAI's API number the calls of each answer from nought."""
    agent = new_agent(model=MODELS["openai"])
    for _ in range(2):
        scripted_model.reply_next(calling(call("conversation_search", call_id="call_0")))
        say(http, agent.id, "ECHO found")
    ok(http.patch(f"/v1/agents/{agent.id}", json={"model": MODELS["anthropic"]}))
    assert_goes_on(http, agent.id)


@pytest.mark.parametrize("rule", ["init", "exit"])
def test_rules_that_speak_as_the_system(http: httpx.Client, new_agent: NewAgent, rule: str) -> None:
    rules = {
        "init": {"type": "run_first", "tool_name": "conversation_search"},
        "exit": {"type": "required_before_exit", "tool_name": "conversation_search"},
    }
    agent = new_agent(tool_rules=[rules[rule]])
    say(http, agent.id, f"ECHO not yet\n{SEARCH}", max_steps=3)
    say(http, agent.id, SEARCH)
    assert "tool_return_message" in kinds(whole(http, agent.id))


def test_many_calls_at_once_are_answered_in_one_message(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    calls = [call("conversation_search", call_id=f"call {number}") for number in range(5)]
    scripted_model.reply_next(calling(*calls, call("no such tool!", "[1]", "i" * 300), content="Let me look."))
    say(http, agent.id, "hello")
    results = scripted_model.requests[-1]["messages"][-1]["content"][:6]
    assert [block["type"] for block in results] == ["tool_result"] * 6
    assert_goes_on(http, agent.id)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"model_settings": {"temperature": 1.5}}, id="warm"),
        pytest.param({"model_settings": {"temperature": 0.2, **THINKS}}, id="a cool thought"),
        pytest.param({"model_settings": {"max_output_tokens": 500, **THINKS}}, id="no room to think"),
        pytest.param({"tool_rules": [RUN_FIRST], "model_settings": THINKS}, id="a forced thought"),
        pytest.param({"tool_rules": [RUN_FIRST], "parallel_tool_calls": False}, id="one forced call"),
        pytest.param({"include_base_tools": False, "parallel_tool_calls": False}, id="no tools"),
    ],
)
def test_settings_that_openai_takes(http: httpx.Client, new_agent: NewAgent, fields: dict[str, Any]) -> None:
    agent = new_agent(**fields)
    for _ in range(2):
        assert say(http, agent.id, f"{SEARCH}\nTHEN ECHO found")["messages"][-1]["content"] == "found"
    whole(http, agent.id)
