"""Each rule of `support.openai_rules` refuses what breaks it, and nothing that OpenAI takes."""

from __future__ import annotations

from typing import Any

import pytest

from support.openai_rules import violations_of

CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def user(text: Any = "hi") -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(*calls: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def tool(call_id: Any = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "3"}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": list(messages), **more}


def calling(name: Any = "add", arguments: Any = "{}", **more: Any) -> dict[str, Any]:
    return {**CALL, "function": {"name": name, "arguments": arguments}, **more}


@pytest.mark.parametrize(
    "messages",
    [
        [user(), assistant(CALL), tool(), {"role": "assistant", "content": "3"}, user("more")],
        [{"role": "system", "content": "be kind"}, user(), {"role": "system", "content": "<memory/>"}],
        [user(), assistant(CALL, {**CALL, "id": "call_2"}), tool("call_2"), tool("call_1")],
        [user(), assistant(CALL), tool(), user("again"), assistant(CALL), tool()],
        [user([{"type": "text", "text": "in parts"}])],
    ],
    ids=["a call", "memory", "two calls", "an id used again", "parts"],
)
def test_sound_requests_have_no_violations(messages: list[dict[str, Any]]) -> None:
    assert violations_of(chat(*messages, tools=[TOOL])) == []


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        pytest.param([user(), tool()], "which no call before it awaits", id="orphan answer"),
        pytest.param([user(), assistant(CALL)], "ends while ['call_1']", id="no answer"),
        pytest.param([user(), assistant(CALL), user("and?")], "a user message comes while", id="late answer"),
        pytest.param(
            [user(), assistant(CALL, {**CALL, "id": "call_2"}), tool(), user("and?"), tool("call_2")],
            "a user message comes while ['call_2'] are unanswered",
            id="one answer late",
        ),
        pytest.param([user(), assistant(CALL), tool(), tool()], "no call before it awaits", id="two answers"),
        pytest.param([user(), assistant(CALL, CALL), tool()], "two tool calls have one id", id="one id twice"),
        pytest.param([user(), assistant()], "no list with something in it", id="no calls"),
        pytest.param([user(), {"role": "assistant", "content": None}], "neither content", id="empty answer"),
        pytest.param([user(None)], "has no content", id="no content"),
        pytest.param([user(7)], "content is a int", id="content of another type"),
        pytest.param([{"role": "human", "content": "hi"}], "role 'human' is unknown", id="role"),
        pytest.param(["hi"], "role None is unknown", id="a message that is a text"),
        pytest.param([user(), {"role": "tool", "content": "3"}], "has no tool_call_id", id="an answer to nothing"),
        pytest.param([user(), assistant({**CALL, "id": ""}), tool("")], "a tool call has no id", id="no id"),
        pytest.param([user(), assistant({**CALL, "id": "i" * 41})], "more than 40 characters", id="a long id"),
        pytest.param([user(), assistant({**CALL, "type": "custom"})], "type is 'custom'", id="a call's type"),
        pytest.param([user(), assistant(calling("not a tool!"))], "name is 'not a tool!'", id="a call's name"),
        pytest.param([user(), assistant(calling(arguments={}))], "arguments is a dict, not a string", id="arguments"),
        pytest.param([user(), assistant(calling(arguments="{"))], "is no JSON object", id="broken arguments"),
        pytest.param([user(), assistant(calling(arguments="[]"))], "is no JSON object", id="arguments in a list"),
        pytest.param([user("\ud800")], "half a surrogate pair", id="half a pair"),
        pytest.param([], "missing or empty", id="no messages"),
    ],
)
def test_messages_that_openai_refuses(messages: list[Any], told: str) -> None:
    assert told in "; ".join(violations_of(chat(*messages)))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(None, "not a JSON object", id="no JSON"),
        pytest.param({"messages": [user()]}, "model is missing", id="no model"),
        pytest.param(chat(user(), tools=[]), "no list with something in it", id="no tools"),
        pytest.param(chat(user(), tools=[TOOL, TOOL]), "a name occurs twice", id="one name twice"),
        pytest.param(chat(user(), tools=[{"function": {"name": "n" * 65}}]), "is no tool name", id="a long name"),
        pytest.param(
            chat(user(), tools=[{"function": {"name": "add", "parameters": {"type": "string"}}}]),
            "no schema of an object",
            id="schema",
        ),
    ],
)
def test_requests_that_openai_refuses(body: Any, told: str) -> None:
    assert told in "; ".join(violations_of(body))
