"""The scripted model speaks Anthropic's API: the official client reads what it says, and the scripts are the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from support.anthropic_rules import signature_of
from support.clients import plain_client
from support.scripted_model import ScriptedModel

if TYPE_CHECKING:  # two seconds of who collects the tests
    import anthropic

QUESTION = {"role": "user", "content": "hi"}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": list(messages), **more}


def user(*texts: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def results(message: Any) -> list[dict[str, Any]]:
    return [
        {"type": "tool_result", "tool_use_id": block.id, "content": "3"}
        for block in message.content
        if block.type == "tool_use"
    ]


@pytest.fixture
def claude(scripted_model: ScriptedModel) -> Iterator[anthropic.Anthropic]:
    """Anthropic's own client; it does not retry, so that a fault shows."""
    import anthropic

    address = scripted_model.base_url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=address, api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture(params=["whole", "streamed"])
def ask(request: pytest.FixtureRequest, claude: anthropic.Anthropic) -> Any:
    """Ask for a message, whole or put together from its events."""

    def asked(*messages: Any, **more: Any) -> Any:
        body = chat(*messages, **more)
        if request.param == "whole":
            return claude.messages.create(**body)
        with claude.messages.stream(**body) as stream:
            return stream.get_final_message()

    return asked


def said(message: Any) -> list[dict[str, Any]]:
    wanted = {"text": ["text"], "tool_use": ["name", "input"], "thinking": ["thinking", "signature"]}
    return [{key: getattr(block, key) for key in wanted[block.type]} for block in message.content]


def test_a_text(ask: Any) -> None:
    message = ask(user("ECHO one two  three\nfour"))
    assert said(message) == [{"text": "one two  three\nfour"}]
    assert (message.role, message.stop_reason) == ("assistant", "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (100, 10)


def test_a_script_is_followed_step_by_step(ask: Any) -> None:
    history: list[Any] = [user('Please:\nCALL add {"a": "a text in pieces"}\nTHEN CALLS [["add", {}], ["sub", {}]]')]
    first = ask(*history)
    assert (said(first), first.stop_reason) == ([{"name": "add", "input": {"a": "a text in pieces"}}], "tool_use")
    history += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results(first)}]
    second = ask(*history)
    assert [block["name"] for block in said(second)] == ["add", "sub"]
    memory = {"type": "text", "text": "<now>CALL nothing {}</now>"}
    history += [
        {"role": "assistant", "content": second.content},
        {"role": "user", "content": [*results(second), memory]},
    ]
    assert said(ask(*history)) == [{"text": "done"}]


def test_memory_and_system_messages_are_no_scripts(ask: Any) -> None:
    texts = ("ECHO this", "<system>\nECHO that\n</system>", "<now>ECHO something else")
    assert said(ask(user(*texts), system="ECHO nothing")) == [{"text": "this"}]


def test_thoughts_are_signed_and_taken_back(ask: Any) -> None:
    history: list[Any] = [user("THINK three and four\nCALL add {}\nTHEN THINK seven\nTHEN ECHO 7")]
    first = ask(*history)
    assert said(first)[0] == {"thinking": "three and four", "signature": signature_of("three and four")}
    history += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results(first)}]
    assert said(ask(*history)) == [{"thinking": "seven", "signature": signature_of("seven")}, {"text": "7"}]


def test_a_conversation_is_shown_in_one_form(ask: Any, scripted_model: ScriptedModel) -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "3"}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "So:"}, call]}
    memory = {"type": "text", "text": "<now>"}
    ask(QUESTION, answer, {"role": "user", "content": [result, memory]}, system="be kind")
    function = {"name": "add", "arguments": '{"a": 1}'}
    assert scripted_model.conversations == [
        [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": "So:",
                "tool_calls": [{"id": "toolu_1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "toolu_1", "content": "3"},
            {"role": "system", "content": "<now>"},
        ]
    ]


def test_a_given_message_with_blocks_of_its_own(ask: Any, scripted_model: ScriptedModel) -> None:
    hidden = {"type": "redacted_thinking", "data": "sealed"}
    scripted_model.reply_next({"content": [hidden, {"type": "text", "text": "so far"}]}, finish_reason="length")
    message = ask(QUESTION)
    assert [block.type for block in message.content] == ["redacted_thinking", "text"]
    assert message.stop_reason == "max_tokens"


def test_arguments_are_streamed_as_they_were_written(scripted_model: ScriptedModel) -> None:
    body = chat(user('CALL add {"a": '), stream=True)
    with plain_client(scripted_model.base_url) as http:
        text = http.post("/messages", json=body).text
    kinds = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert list(dict.fromkeys(kinds)) == [
        *("message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    assert r'"partial_json": "{\"a\":"' in text


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (429, "rate_limit_error"), (529, "overloaded_error")]
)
def test_errors(ask: Any, scripted_model: ScriptedModel, status: int, kind: str) -> None:
    import anthropic

    scripted_model.fail_next(status, message="no such luck")
    with pytest.raises(anthropic.APIStatusError) as failed:
        ask(QUESTION)
    assert failed.value.status_code == status
    assert failed.value.body["error"] == {"type": kind, "message": "no such luck"}  # type: ignore[index]


def test_a_prompt_that_is_too_long(ask: Any, scripted_model: ScriptedModel) -> None:
    import anthropic

    scripted_model.window = 10
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 10 maximum"):
        ask(user("word " * 20))


def test_a_stream_that_breaks_off(claude: anthropic.Anthropic, scripted_model: ScriptedModel) -> None:
    import anthropic

    scripted_model.break_next(after=2)
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        claude.messages.stream(**chat(user("ECHO one two"))) as stream,
    ):
        assert "".join(stream.text_stream) == "one "


def test_a_held_stream_stops_at_the_same_word_as_openais(
    claude: anthropic.Anthropic, scripted_model: ScriptedModel
) -> None:
    with scripted_model.hold(after=2) as held, claude.messages.stream(**chat(user("ECHO one two"))) as stream:
        texts = stream.text_stream
        assert next(texts) == "one "
        held.wait_for(1)
        held.release()
        assert list(texts) == ["two"]


def test_models_are_listed_for_who_speaks_this_api(claude: anthropic.Anthropic) -> None:
    assert "claude-haiku-4-5" in [model.id for model in claude.models.list()]


def test_a_violation_is_recorded_and_refused() -> None:
    with ScriptedModel() as model, plain_client(model.base_url) as http:
        response = http.post("/messages", json=chat({"role": "user", "content": " "}))
        assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
        assert "must contain non-whitespace text" in response.json()["error"]["message"]
        assert len(model.violations) == 1
