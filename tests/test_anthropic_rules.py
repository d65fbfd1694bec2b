"""Each rule of `support.anthropic_rules` refuses what breaks it, and nothing that Anthropic takes."""

from __future__ import annotations

from typing import Any

import pytest

from support.anthropic_rules import signature_of, violations_of

USE = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}
OTHER = {**USE, "id": "toolu_2"}
TOOL = {"name": "add", "input_schema": {"type": "object"}}
MARK = {"type": "ephemeral"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": signature_of("Hm.")}
HIDDEN = {"type": "redacted_thinking", "data": "sealed"}


def text(said: Any = "hi", **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def result(call_id: Any = "toolu_1", content: Any = "3", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks) or "hi"}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def request(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "claude-haiku-4-5", "max_tokens": 4096, "messages": list(messages), **more}


ASKED = [user(), assistant(USE)]
ENABLED = {"type": "enabled", "budget_tokens": 1024}


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([user(), assistant(text("3")), user(text("more"))], id="texts"),
        pytest.param([*ASKED, user(result(), text("<now>"))], id="a result before a text"),
        pytest.param(
            [*ASKED, user({"type": "tool_result", "tool_use_id": "toolu_1"})], id="a result that says nothing"
        ),
        pytest.param([user(), assistant(USE, OTHER), user(result("toolu_2"), result())], id="two calls"),
        pytest.param([user(), assistant(THOUGHT, HIDDEN, text(), USE), user(result())], id="thoughts"),
        pytest.param([user(), user(text("more")), assistant(text("3")), assistant(text("4")), user()], id="one role"),
        pytest.param([user(), {"role": "assistant", "content": []}], id="an empty last answer"),
        pytest.param([user(), assistant(text("so far"))], id="an answer begun"),
        pytest.param([user({"type": "image", "source": {"type": "url", "url": "http://x"}})], id="a picture"),
    ],
)
def test_sound_requests_have_no_violations(messages: list[Any]) -> None:
    system = [text("be kind", cache_control=MARK)]
    assert violations_of(request(*messages, system=system, tools=[TOOL], thinking=ENABLED)) == []


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        pytest.param([], "at least one message", id="no messages"),
        pytest.param(["hi"], "Unexpected role None", id="a message that is a text"),
        pytest.param([{"role": "system", "content": "hi"}], 'Unexpected role "system"', id="system"),
        pytest.param([user(), {"role": "tool", "content": "3"}], "Unexpected role 'tool'", id="role"),
        pytest.param([assistant(text()), user()], 'first message must use the "user" role', id="the model first"),
        pytest.param([{"role": "user", "content": None}], "valid string or list", id="no content"),
        pytest.param([{"role": "user", "content": ""}], "must have non-empty content", id="empty content"),
        pytest.param([{"role": "user", "content": []}], "must have non-empty content", id="no blocks"),
        pytest.param([user(), assistant(), user()], "must have non-empty content", id="an empty answer amid"),
        pytest.param([user(), assistant(text("so far "))], "trailing whitespace", id="an answer begun with a blank"),
        pytest.param([user(text(""))], "must be non-empty", id="empty text"),
        pytest.param([user(text(" \n"))], "must contain non-whitespace text", id="blank text"),
        pytest.param([{"role": "user", "content": " "}], "must contain non-whitespace text", id="blank content"),
        pytest.param([user(), assistant(text("\t")), user()], "non-whitespace text", id="blank answer"),
        pytest.param([user(text(7))], "text: Input should be a valid string", id="text of another type"),
        pytest.param([user("hi")], "Input tag None", id="a block that is a text"),
        pytest.param([user({"type": "input_text", "text": "hi"})], "Input tag 'input_text'", id="an unknown block"),
        pytest.param([user(USE)], "Input tag 'tool_use'", id="a call of the user"),
        pytest.param([user(THOUGHT)], "Input tag 'thinking'", id="a thought of the user"),
        pytest.param([user(), assistant(result())], "Input tag 'tool_result'", id="a result of the model"),
        pytest.param([user(text(extra=1))], "text.extra: Extra inputs", id="an unknown field"),
        pytest.param([user(text("\ud800"))], "no low surrogate", id="half a pair"),
    ],
)
def test_messages_that_anthropic_refuses(messages: list[Any], told: str) -> None:
    assert told in "; ".join(violations_of(request(*messages)))


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        pytest.param(ASKED, "messages.1: `tool_use` ids were found without", id="no result"),
        pytest.param([*ASKED, user()], "messages.1: `tool_use` ids were found without", id="a text instead"),
        pytest.param([*ASKED, assistant(text()), user(result())], "were found without", id="an answer between"),
        pytest.param([*ASKED, user(text()), user(result())], "were found without", id="a message between"),
        pytest.param([*ASKED, user(text(), result())], "were found without", id="a text before the result"),
        pytest.param(
            [user(), assistant(USE, OTHER), user(result(), text(), result("toolu_2"))],
            "blocks immediately after: toolu_2.",
            id="a text between the results",
        ),
        pytest.param(
            [user(), assistant(USE, OTHER), user(result())], "immediately after: toolu_2.", id="one of two results"
        ),
        pytest.param([user(result())], "unexpected `tool_use_id` found", id="a result first"),
        pytest.param([user(), assistant(text()), user(result())], "unexpected `tool_use_id`", id="a result of no call"),
        pytest.param([*ASKED, user(result(), result("toolu_9"))], "blocks: toolu_9.", id="a result too many"),
        pytest.param([*ASKED, user(result()), user(result())], "messages.3: unexpected", id="a result again, later"),
        pytest.param([*ASKED, user(result(), result())], "must have a single result", id="a result twice"),
        pytest.param([user(), assistant(USE, USE), user(result())], "ids must be unique", id="one id twice"),
        pytest.param(
            [*ASKED, user(result()), assistant(USE), user(result())], "messages.3: `tool_use` ids", id="an id again"
        ),
    ],
)
def test_calls_and_results_that_do_not_pair(messages: list[Any], told: str) -> None:
    assert told in "; ".join(violations_of(request(*messages)))


@pytest.mark.parametrize(
    ("block", "told"),
    [
        pytest.param({**USE, "id": "call 1"}, "tool_use.id: String should match", id="id"),
        pytest.param({**USE, "id": ""}, "tool_use.id: String should match", id="empty id"),
        pytest.param({**USE, "id": None}, "tool_use.id: String should match", id="no id"),
        pytest.param({**USE, "name": "not a tool!"}, "tool_use.name: String should match", id="name"),
        pytest.param({**USE, "name": "n" * 129}, "tool_use.name: String should match", id="long name"),
        pytest.param({**USE, "input": "{}"}, "input: Input should be a valid dictionary", id="input"),
        pytest.param({**USE, "input": [1]}, "input: Input should be a valid dictionary", id="a list"),
        pytest.param({**THOUGHT, "signature": ""}, "signature: Field required", id="no signature"),
        pytest.param({**THOUGHT, "thinking": None}, "thinking.thinking: Input should", id="no thought"),
        pytest.param({**THOUGHT, "thinking": "Hm!"}, "Invalid `signature`", id="a thought that was changed"),
        pytest.param({**THOUGHT, "cache_control": MARK}, "Extra inputs", id="a mark on a thought"),
    ],
)
def test_blocks_of_the_model_that_anthropic_refuses(block: dict[str, Any], told: str) -> None:
    assert told in "; ".join(violations_of(request(user(), assistant(block), user(result()))))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param("", "must be non-empty", id="empty"),
        pytest.param(" ", "non-whitespace", id="blank"),
        pytest.param([], "with something in it", id="no blocks"),
        pytest.param(7, "valid string or list", id="a number"),
        pytest.param([text("")], "content.0: text content blocks must be non-empty", id="an empty text"),
        pytest.param([result()], "Input tag 'tool_result'", id="a result in a result"),
    ],
)
def test_results_that_anthropic_refuses(content: Any, told: str) -> None:
    assert told in "; ".join(violations_of(request(*ASKED, user(result(content=content)))))


def test_a_results_id_is_refused_that_no_call_can_have() -> None:
    assert "tool_use_id: String should match" in "; ".join(violations_of(request(*ASKED, user(result("call 1")))))


@pytest.mark.parametrize(
    ("blocks", "told"),
    [
        pytest.param([text(), THOUGHT, USE], "must come before", id="behind a text"),
        pytest.param([USE, HIDDEN, OTHER], "must come before", id="behind a call"),
        pytest.param([text(), THOUGHT], "final block in an assistant message cannot be", id="last"),
        pytest.param([THOUGHT], "final block in an assistant message cannot be", id="alone"),
    ],
)
def test_thoughts_have_their_place(blocks: list[Any], told: str) -> None:
    messages = [user(), assistant(*blocks), user(result(), result("toolu_2"))]
    assert told in "; ".join(violations_of(request(*messages)))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(None, "not a JSON object", id="no JSON"),
        pytest.param(request(user(), model=""), "model: Field required", id="no model"),
        pytest.param({"model": "claude", "messages": [user()]}, "max_tokens: Field required", id="no max_tokens"),
        pytest.param(request(user(), max_tokens=0), "max_tokens", id="no tokens"),
        pytest.param(request(user(), max_tokens=True), "max_tokens", id="max_tokens of another type"),
        pytest.param(request(user(), temperature=1.5), "temperature", id="temperature"),
        pytest.param(request(user(), parallel_tool_calls=True), "Extra inputs are not permitted", id="OpenAI's field"),
        pytest.param(request(user(), system=7), "system: Input should be a valid list", id="system"),
        pytest.param(request(user(), system=[USE]), "only text blocks", id="a call as system"),
        pytest.param(request(user(), system=[text(" ")]), "system.0: text content blocks", id="blank system"),
        pytest.param(request(user(), tools={}), "tools: Input should be a valid list", id="tools"),
        pytest.param(request(user(), tools=[{**TOOL, "name": "a b"}]), "custom.name: String", id="a tool's name"),
        pytest.param(request(user(), tools=[{"name": "add"}]), "input_schema.type", id="no schema"),
        pytest.param(request(user(), tools=[TOOL, TOOL]), "Tool names must be unique", id="one tool twice"),
        pytest.param(request(user(), tool_choice={"type": "auto"}), "while providing tools", id="a choice of nothing"),
        pytest.param(
            request(user(), tools=[TOOL], tool_choice={"type": "tool", "name": "sub"}), "'sub' not found", id="choice"
        ),
        pytest.param(
            request(user(), thinking={"type": "enabled", "budget_tokens": 10}), "greater than or equal", id="budget"
        ),
        pytest.param(request(user(), max_tokens=1000, thinking=ENABLED), "must be greater than", id="no room to think"),
        pytest.param(request(user(), temperature=0.5, thinking=ENABLED), "may only be set to 1", id="cool thoughts"),
        pytest.param(
            request(user(), tools=[TOOL], tool_choice={"type": "any"}, thinking=ENABLED), "forces", id="forced thought"
        ),
    ],
)
def test_requests_that_anthropic_refuses(body: Any, told: str) -> None:
    assert told in "; ".join(violations_of(body))


def test_more_than_four_cache_marks_are_refused_wherever_they_are() -> None:
    marked = text(cache_control=MARK)
    written_by_the_model = {**USE, "input": {"cache_control": {"a": 1}}}
    messages = [user(marked), assistant(written_by_the_model), user(result(cache_control=MARK))]
    tools = [{**TOOL, "cache_control": MARK}]
    assert violations_of(request(*messages, system=[marked], tools=tools)) == []
    told = violations_of(request(*messages, user(marked), system=[marked], tools=tools))
    assert told == ["A maximum of 4 blocks with cache_control may be provided. Found 5."]
