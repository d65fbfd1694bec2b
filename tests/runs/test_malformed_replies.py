"""Whatever a model answers, whole or as a stream: the turn ends in a valid state, and the next message is answered.

The scripted model checks every later request for calls without an answer, odd names and ids taken twice, as OpenAI and
Anthropic do; a history that is not whole shows there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from runs.talking import SEARCH, Event, answered, call, calling, decide, kinds, post, read, say, whole
from support.fixtures import NewAgent, each_wire, one_store
from support.scripted_model import ScriptedModel

TOOL = "conversation_search"

TEXTS: dict[str, Event] = {
    "nothing at all": {},
    "empty text": {"content": ""},
    "null content": {"content": None},
    "white space": {"content": " \n\t "},
    "content of parts": {"content": [{"type": "text", "text": "in parts"}]},
    "content is a number": {"content": 7},
    "content is an object": {"content": {"text": "x"}},
    "NUL": {"content": "a\0b"},
    "half a surrogate pair": {"content": "a\ud800b"},
    "the other half": {"content": "\udc00"},
    "control characters": {"content": "\x01\x02\x7f\x1b[31m"},
    "a tool call as text": {"content": '<tool_call>{"name": "conversation_search", "arguments": {}}</tool_call>'},
    "a tool call as JSON": {"content": '{"name": "conversation_search", "parameters": {}}'},
    "a tool call in a fence": {"content": "```json\n{}\n```"},
    "a megabyte of text": {"content": "x" * 1_000_000},
    "another role": {"role": "user", "content": "I am you."},
    "refusal": {"content": None, "refusal": "I cannot help with that."},
    "tool_calls null": {"content": "fine", "tool_calls": None},
    "tool_calls empty": {"content": "fine", "tool_calls": []},
    "unknown fields": {"content": "fine", "annotations": [{"x": 1}], "audio": None, "reasoning": None},
}

CALLS: dict[str, Event] = {
    "broken JSON": calling(call(TOOL, '{"query": broken')),
    "cut off": calling(call(TOOL, '{"query": "x')),
    "empty arguments": calling(call(TOOL, "")),
    "white space as arguments": calling(call(TOOL, "  ")),
    "a list": calling(call(TOOL, "[1]")),
    "a string": calling(call(TOOL, '"x"')),
    "null": calling(call(TOOL, "null")),
    "a number": calling(call(TOOL, "7")),
    "NaN": calling(call(TOOL, '{"limit": NaN}')),
    "doubled JSON": calling(call(TOOL, "{}{}")),
    "a huge number": calling(call(TOOL, '{"limit": 1' + "0" * 5000 + "}")),
    "deep nesting": calling(call(TOOL, "[" * 50_000)),
    "deep objects": calling(call(TOOL, '{"query":' * 20_000)),
    "huge arguments": calling(call(TOOL, json.dumps({"query": "x " * 200_000}))),
    "missing arguments": calling(call("memory_insert", "{}")),
    "unknown arguments": calling(call(TOOL, '{"colour": "red"}')),
    "arguments of other types": calling(call(TOOL, '{"query": {"a": 1}, "limit": "many", "roles": 7}')),
    "one key twice": calling(call(TOOL, '{"query": "a", "query": "b"}')),
    "NUL in arguments": calling(call(TOOL, '{"query": "a\0b"}')),
    "escaped NUL in arguments": calling(call(TOOL, '{"query": "a\\u0000b"}')),
    "half a pair in arguments": calling(call(TOOL, '{"query": "\ud800"}')),
    "escaped half a pair in arguments": calling(call(TOOL, '{"query": "\\ud800"}')),
    "unknown tool": calling(call("not_a_tool", '{"x": 1}')),
    "a tool of another agent": calling(call("memory_rethink", "{}")),
    "no name": calling(call("", "{}")),
    "a name with spaces": calling(call("not a tool!", "{}")),
    "a name in other letters": calling(call("ünknown", "{}")),
    "a name with a dot": calling(call("functions.conversation_search", "{}")),
    "a long name": calling(call("t" * 200, "{}")),
    "NUL in the name": calling(call("nul\0", "{}")),
    "half a pair in the name": calling(call("half\ud800", "{}")),
    "no id": calling(call(TOOL, "{}", "")),
    "a long id": calling(call(TOOL, "{}", "i" * 300)),
    "an odd id": calling(call(TOOL, "{}", "id with spaces/and\nlines")),
    "NUL in the id": calling(call(TOOL, "{}", "nul\0")),
    "half a pair in the id": calling(call(TOOL, "{}", "half\ud800")),
    "one id twice": calling(call(TOOL), call(TOOL)),
    "one id twice, two tools": calling(call(TOOL), call("memory_insert")),
    "one id three times and another": calling(call(TOOL), call(TOOL), call(TOOL, "{}", "call_2"), call(TOOL)),
    "fifty calls": calling(*(call(TOOL, "{}", f"call_{number}") for number in range(50))),
    "text and calls": calling(call(TOOL), content="Let me look."),
    "text with NUL and a broken call": calling(call("x y", "{", ""), content="a\0"),
}

ODD: dict[str, Event] = {
    "arguments are an object": calling(call(TOOL, {"query": "x"})),
    "arguments are null": calling(call(TOOL, None)),
    "a call of no function": calling({"id": "call_1", "type": "function"}),
    "a call of another type": calling({"id": "call_1", "type": "custom", "custom": {"name": TOOL, "input": "x"}}),
    "an empty call": calling({}),
    "a call that is a text": calling("conversation_search"),  # type: ignore[arg-type]
    "tool_calls is an object": {"content": None, "tool_calls": {"name": TOOL}},
    "name is null": calling(call(None)),  # type: ignore[arg-type]
    "id is null": calling(call(TOOL, "{}", None)),  # type: ignore[arg-type]
    "id is a number": calling(call(TOOL, "{}", 7)),  # type: ignore[arg-type]
}
"""What cannot be streamed in pieces by the scripted model, or has no sound shape at all."""

HARD_TO_STORE = (
    *("NUL", "half a surrogate pair", "the other half", "control characters", "a megabyte of text"),
    *("a huge number", "deep nesting", "deep objects", "huge arguments", "fifty calls"),
    *("NUL in arguments", "escaped NUL in arguments", "half a pair in arguments", "escaped half a pair in arguments"),
    *("a long name", "NUL in the name", "half a pair in the name", "a long id", "an odd id", "NUL in the id"),
    *("half a pair in the id", "text with NUL and a broken call"),
)
"""What a database may refuse; that it is stored is shown on PostgreSQL too, whose texts and numbers are narrower."""


def each_reply(*names: str) -> pytest.MarkDecorator:
    """Run a test for each reply with each API, and on the other store those that are hard to store."""
    wires = [(name, "sqlite", provider) for name in names for provider in ("openai", "anthropic")]
    stores = [(name, "postgres", "openai") for name in names if name in HARD_TO_STORE]
    return pytest.mark.parametrize(("name", "store", "provider"), [*wires, *stores], indirect=["store", "provider"])


def assert_goes_on(http: httpx.Client, agent_id: str) -> None:
    """The conversation is whole, and a message is answered, by way of a tool call."""
    before = len(whole(http, agent_id))
    assert say(http, agent_id, SEARCH)["messages"][-1]["content"] == "done"
    assert len(whole(http, agent_id)) == before + 4


@each_reply(*TEXTS, *CALLS, *ODD)
def test_a_malformed_reply_ends_in_a_valid_state(
    http: httpx.Client,
    new_agent: NewAgent,
    scripted_model: ScriptedModel,
    name: str,
) -> None:
    """Whole, then as a stream, then as if nothing had been; what was before is in the context of what comes."""
    reply = {**TEXTS, **CALLS, **ODD}[name]
    agent = new_agent(max_tokens=4000)  # without a limit pydantic-ai has Anthropic stream every answer
    scripted_model.reply_next(reply)
    answer = post(http, agent.id, "hello")
    assert answer.status_code in (200, 502), answer.text
    if answer.status_code == 502:
        assert name in {**TEXTS, **ODD}, answer.text
        assert isinstance(answer.json()["detail"], str)
        assert answer.json()["detail"]
        assert kinds(whole(http, agent.id)) == ["system_message"]
    else:
        assert answer.json()["stop_reason"]["stop_reason"] == "end_turn"
        assert answer.json()["messages"][-1]["message_type"] == "assistant_message"
    if name not in ODD and isinstance(reply.get("content") or "", str):  # the scripted model streams texts only
        scripted_model.reply_next(reply)
        events = read(answered(http, agent.id, "hello", stream_tokens=True))
        assert "error_message" not in kinds(events), events
        assert kinds(events)[-2:] == ["stop_reason", "usage_statistics"]
        stored = {message["id"] for message in whole(http, agent.id)}
        assert {event["id"] for event in events[1:] if "id" in event} <= stored, (
            "pieces of a message that is not stored"
        )
    assert_goes_on(http, agent.id)


@each_wire
@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls", "function_call", "stop", "unheard_of"])
@pytest.mark.parametrize("name", ["text", "calls", "nothing"])
def test_any_finish_reason_ends_in_a_valid_state(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, reason: str, name: str
) -> None:
    replies: dict[str, Event] = {"text": {"content": "so far"}, "calls": calling(call(TOOL)), "nothing": {}}
    agent = new_agent()
    scripted_model.reply_next(replies[name], finish_reason=reason)
    answer = post(http, agent.id, "hello")
    assert answer.status_code in (200, 502), answer.text
    assert_goes_on(http, agent.id)


@each_wire
@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([calling(call("", "{", "")), {"content": None}], id="two kinds"),
        pytest.param([calling(call(TOOL, "{}", "same"))] * 3, id="the same id in every step"),
        pytest.param([calling(call("x y"), call("x y"))] * 4, id="the same mistakes in every step"),
        pytest.param([{}] * 1, id="silence"),
    ],
)
def test_one_malformed_reply_after_the_other(
    http: httpx.Client,
    new_agent: NewAgent,
    scripted_model: ScriptedModel,
    replies: Sequence[Event],
) -> None:
    agent = new_agent()
    for reply in replies:
        scripted_model.reply_next(reply)
    assert post(http, agent.id, "hello").status_code == 200
    scripted_model.reset()
    assert_goes_on(http, agent.id)


@each_wire
def test_two_calls_where_one_is_allowed(http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    agent = new_agent(parallel_tool_calls=False)
    for tokens in (False, True):
        scripted_model.reply_next(calling(*(call(TOOL, "{}", f"call_{number}_{tokens}") for number in range(2))))
        events = read(answered(http, agent.id, "hello", stream_tokens=tokens))
        statuses = [event["status"] for event in events if event["message_type"] == "tool_return_message"]
        assert statuses == ["success", "error"]
    assert_goes_on(http, agent.id)


@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
@each_reply("broken JSON", "deep nesting", "no id", "one id twice", "NUL in arguments", "half a pair in the id")
def test_a_malformed_call_that_waits_can_be_denied(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, name: str, tokens: bool
) -> None:
    agent = new_agent(tool_rules=[{"type": "requires_approval", "tool_name": TOOL}])
    scripted_model.reply_next(CALLS[name])
    events = read(answered(http, agent.id, "hello", stream_tokens=tokens))
    assert events[-2]["stop_reason"] == "requires_approval", events
    request = whole(http, agent.id)[-1]
    ids = dict.fromkeys(each["tool_call_id"] for each in request["tool_calls"])
    denied = [{"type": "approval", "tool_call_id": call_id, "approve": False} for call_id in ids]
    answer = decide(http, agent.id, *denied)
    assert answer.status_code == 200, answer.text
    whole(http, agent.id)
    assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"


class TestBodies:
    """Answers whose body as a whole is not what OpenAI's API sends."""

    @pytest.fixture(params=["no choices", "empty choices", "null choices", "a list", "no usage", "odd usage", "html"])
    def answer(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
        """Let the scripted model answer once with such a body; it runs in this process, so its words can be changed."""
        from support import openai_wire

        name: str = request.param
        real = openai_wire.completion
        left = [1]

        def completion(*arguments: Any, **named: Any) -> Any:
            body = real(*arguments, **named)
            if not left:
                return body
            left.pop()
            match name:
                case "no choices":
                    del body["choices"]
                case "empty choices":
                    body["choices"] = []
                case "null choices":
                    body["choices"] = None
                case "a list":
                    return [body]
                case "no usage":
                    del body["usage"]
                case "odd usage":
                    body["usage"] = {"prompt_tokens": None, "completion_tokens": -3, "total_tokens": "many"}
                case "html":
                    return "<html>"
            return body

        monkeypatch.setattr(openai_wire, "completion", completion)
        return name

    @one_store
    def test_a_malformed_body_ends_in_a_valid_state(
        self, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, answer: str
    ) -> None:
        agent = new_agent()
        reply = post(http, agent.id, "hello")
        assert reply.status_code in (200, 502), reply.text
        if answer == "no usage":
            assert reply.status_code == 200
        if reply.status_code == 502:
            assert kinds(whole(http, agent.id)) == ["system_message"]
        assert_goes_on(http, agent.id)
