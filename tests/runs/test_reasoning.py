"""What a model thinks before it answers: stored, streamed, and brought back to the provider that signed it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from runs.talking import (
    Event,
    answered,
    approval,
    call,
    calling,
    decide,
    kinds,
    ok,
    post,
    read,
    run_of,
    say,
    streaming,
    whole,
)
from support.anthropic_rules import signature_of
from support.anthropic_wire import thought
from support.fixtures import MODELS, NewAgent, each_provider, with_anthropic
from support.scripted_model import ScriptedModel

THINKS = {"reasoning": {"reasoning_effort": "low"}}
SCRIPT = "THINK I had better look\nCALL conversation_search {}\nTHEN THINK there is nothing\nTHEN ECHO nothing"
FIRST, SECOND = "I had better look", "there is nothing"
SEARCH = "conversation_search"


def thoughts(messages: list[Event]) -> dict[str, str]:
    """Return what was thought, by the ids of the messages, pieces put together."""
    found: dict[str, str] = {}
    for message in messages:
        if message["message_type"] == "reasoning_message":
            found[message["id"]] = found.get(message["id"], "") + message["reasoning"]
    return found


def thinking_blocks(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the thoughts that a request to Anthropic brings back."""
    blocks = [block for message in request["messages"] for block in message["content"]]
    return [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]


@each_provider
@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
def test_thoughts_of_several_turns_are_stored_and_streamed(
    http: httpx.Client, new_agent: NewAgent, tokens: bool
) -> None:
    agent = new_agent(model_settings=THINKS)
    for turn in range(1, 3):
        events = read(answered(http, agent.id, SCRIPT, stream_tokens=tokens))
        assert list(dict.fromkeys(kinds(events[1:-2]))) == [
            *("reasoning_message", "tool_call_message", "tool_return_message", "assistant_message")
        ]
        streamed = thoughts(events)
        assert list(streamed.values()) == [FIRST, SECOND]
        assert (kinds(events).count("reasoning_message") > 2) == tokens
        stored = thoughts(whole(http, agent.id))
        assert list(stored.values()) == [FIRST, SECOND] * turn
        assert streamed.items() <= stored.items()


@with_anthropic
@pytest.mark.parametrize("way", ["plain", "messages", "tokens"])
def test_signed_thoughts_of_several_turns_go_back_unchanged(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, way: str
) -> None:
    agent = new_agent(model_settings=THINKS)
    for _ in range(3):
        if way == "plain":
            say(http, agent.id, SCRIPT)
        else:
            answered(http, agent.id, SCRIPT, stream_tokens=way == "tokens")
    both = [thought(FIRST), thought(SECOND)]
    assert [thinking_blocks(request) for request in scripted_model.requests] == [
        *([], both[:1]),
        *(both, [*both, *both[:1]]),
        *(both * 2, [*both * 2, *both[:1]]),
    ]
    assert scripted_model.requests[0]["thinking"]["type"] == "enabled"
    answer = scripted_model.requests[-1]["messages"][-2]
    assert (answer["role"], [block["type"] for block in answer["content"]]) == ("assistant", ["thinking", "tool_use"])
    signatures = [m["signature"] for m in whole(http, agent.id) if m["message_type"] == "reasoning_message"]
    assert signatures == [signature_of(FIRST), signature_of(SECOND)] * 3


@with_anthropic
@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
def test_thoughts_that_are_hidden_go_back_in_their_order(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, tokens: bool
) -> None:
    agent = new_agent(model_settings=THINKS)
    hidden = {"type": "redacted_thinking", "data": "sealed"}
    use = {"type": "tool_use", "id": "toolu_1", "name": SEARCH, "input": {}}
    blocks = [thought("one"), hidden, thought("two"), {"type": "text", "text": "Let me look."}, use]
    scripted_model.reply_next({"content": blocks})
    answered(http, agent.id, "hello", stream_tokens=tokens)
    assert scripted_model.requests[-1]["messages"][1]["content"] == blocks
    whole(http, agent.id)


@with_anthropic
def test_two_thoughts_are_streamed_under_ids_of_their_own(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(model_settings=THINKS)
    scripted_model.reply_next({"content": [thought("one"), thought("two"), {"type": "text", "text": "Three."}]})
    streamed = thoughts(read(answered(http, agent.id, "hello", stream_tokens=True)))
    assert streamed == thoughts(whole(http, agent.id))


@with_anthropic
def test_a_call_that_waits_goes_back_behind_its_thought(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(model_settings=THINKS, tool_rules=[{"type": "requires_approval", "tool_name": SEARCH}])
    request = say(http, agent.id, SCRIPT)["messages"][-1]
    turn = ok(decide(http, agent.id, approval(request["tool_calls"][0]["tool_call_id"])))
    assert turn["messages"][-1]["content"] == "nothing"
    assert thinking_blocks(scripted_model.requests[-1]) == [thought(FIRST)]
    whole(http, agent.id)


@each_provider
@pytest.mark.parametrize("pieces", [1, 3])
def test_a_turn_that_is_cancelled_in_a_thought_leaves_nothing(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, pieces: int
) -> None:
    agent = new_agent(model_settings=THINKS)
    script = "THINK one two three four\nTHEN ECHO five"
    with (
        scripted_model.hold(after=pieces) as held,
        streaming(http, agent.id, script, stream_tokens=True) as reading,
    ):
        run_id = run_of(reading.next())
        held.wait_for(1)
        ok(http.post(f"/v1/agents/{agent.id}/messages/cancel", json={"run_ids": [run_id]}))
        assert read(reading.rest())[-1]["stop_reason"] == "cancelled"
    assert kinds(whole(http, agent.id)) == ["system_message"]
    assert say(http, agent.id, SCRIPT)["messages"][-1]["content"] == "nothing"


@with_anthropic
@pytest.mark.parametrize("content", [[thought("Hm.")], [{"type": "redacted_thinking", "data": "sealed"}]])
def test_a_thought_without_an_answer_does_not_stop_the_agent(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, content: Any
) -> None:
    agent = new_agent(model_settings=THINKS)
    scripted_model.reply_next({"content": content}, finish_reason="length")
    assert post(http, agent.id, "hello").status_code == 200
    assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"


@with_anthropic
@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
def test_a_thought_that_its_provider_hides_is_shown_as_hidden(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, tokens: bool
) -> None:
    agent = new_agent(model_settings=THINKS)
    content = [{"type": "redacted_thinking", "data": "sealed"}, {"type": "text", "text": "hello"}]
    scripted_model.reply_next({"content": content})
    events = read(answered(http, agent.id, "hi", stream_tokens=tokens))
    hidden = next(event for event in events if event["message_type"] == "hidden_reasoning_message")
    assert (hidden["state"], hidden["hidden_reasoning"]) == ("omitted", None)
    assert hidden["id"] in [message["id"] for message in whole(http, agent.id)]
    assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"


@with_anthropic
@pytest.mark.parametrize("names", [("openai", "anthropic"), ("anthropic", "openai")], ids=" to ".join)
def test_a_conversation_goes_on_with_another_providers_model(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, names: tuple[str, str]
) -> None:
    """The other provider gets the calls with their returns, and no thoughts that it has not signed."""
    one, other = (MODELS[name] for name in names)
    rules = [{"type": "requires_approval", "tool_name": SEARCH}]
    agent = new_agent(model=one, model_settings=THINKS, tool_rules=rules)
    scripted_model.reply_next(calling(call("memory_insert", "{broken", "functions.x:0"), content="So:"))
    assert say(http, agent.id, "THINK so\nTHEN ECHO before")["messages"][-1]["content"] == "before"
    request = say(http, agent.id, SCRIPT)["messages"][-1]
    ok(http.patch(f"/v1/agents/{agent.id}", json={"model": other}))
    turn = ok(decide(http, agent.id, approval(request["tool_calls"][0]["tool_call_id"])))
    assert turn["messages"][-1]["content"] == "nothing"
    sent = scripted_model.conversations[-1]
    assert not any({"thinking_blocks", "reasoning_content"} & message.keys() for message in sent)
    ok(http.patch(f"/v1/agents/{agent.id}", json={"model": one}))
    assert say(http, agent.id, "ECHO and back")["messages"][-1]["content"] == "and back"
    if one == MODELS["anthropic"]:
        assert thinking_blocks(scripted_model.requests[-1]) == [thought("so"), thought(FIRST)]
    whole(http, agent.id)


@with_anthropic
def test_thinking_as_the_official_client_asks_for_it(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    settings = {"provider_type": "anthropic", "thinking": {"type": "enabled", "budget_tokens": 2048}}
    say(http, new_agent(model_settings=settings).id, "ECHO hello")
    assert scripted_model.requests[0]["thinking"] == {"type": "enabled", "budget_tokens": 2048}
