"""A model's answer that is not whole fails its turn, with its provider's words; an odd one that is whole is told.

What makes an answer one or the other is in `tests/models/test_odd_answers.py`; here is what becomes of the turn.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from runs.talking import Event, answered, kinds, post, read, say, whole
from support.fixtures import NewAgent
from support.scripted_model import ScriptedModel

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

Chunk = dict[str, Any]


def chunk(finish: str | None = None, **delta: Any) -> Chunk:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


DONE = b"data: [DONE]\n\n"


def stream(*chunks: Chunk) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in chunks) + DONE


def completion(finish: str | None = "stop", **message: Any) -> Chunk:
    return {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}]}


ERROR = {"error": {"code": 402, "message": "your credit is used up"}}
CUT = {
    "no finish reason": (stream(chunk(content="so far")).removesuffix(DONE), "without a finish reason"),
    "finish reason error": (stream(chunk(content="so far"), chunk("error")), "broke off"),
    "an error amid it": (stream(chunk(content="so far"), ERROR), "your credit is used up"),
}


@pytest.mark.parametrize("name", CUT)
def test_a_stream_that_is_cut_fails_its_turn(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, name: str
) -> None:
    body, says = CUT[name]
    agent = new_agent()
    scripted_model.raw_next({}, body)
    events = read(answered(http, agent.id, "hello", stream_tokens=True))
    errors = [event for event in events if event["message_type"] == "error_message"]
    assert len(errors) == 1, events
    assert says in json.dumps(errors)
    assert http.get("/v1/runs/", params={"agent_id": agent.id, "limit": 1}).json()[0]["status"] == "failed"
    assert "assistant_message" not in kinds(whole(http, agent.id))
    assert len(scripted_model.requests) == 1, "words that were shown are not asked for again"
    assert say(http, agent.id, "ECHO on")["messages"][-1]["content"] == "on"


def test_an_error_with_status_200_is_an_error(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    scripted_model.raw_next(ERROR)
    refused = post(http, agent.id, "hello")
    assert refused.status_code == 429
    assert "your credit is used up" in refused.json()["detail"]
    for tokens in (False, True):
        scripted_model.raw_next({"error": {"code": 503, "message": "no GPU is free"}})
        events = read(answered(http, agent.id, "ECHO after all", stream_tokens=tokens))
        assert told(events) == "after all"


def test_a_refusal_reaches_who_reads_the_stream(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    refusing = stream(chunk(refusal="I cannot "), chunk(refusal="do that"), chunk("stop"))
    scripted_model.raw_next({}, refusing)
    assert told(read(answered(http, agent.id, "hello", stream_tokens=True))) == "I cannot do that"
    scripted_model.raw_next(completion(content=None, refusal="I cannot do that"))
    assert told(read(answered(http, agent.id, "hello"))) == "I cannot do that"
    said = [message for message in whole(http, agent.id) if message["message_type"] == "assistant_message"]
    assert [message["content"] for message in said] == ["I cannot do that"] * 2


def test_calls_a_little_off_are_carried_out(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(memory_blocks=[{"label": "human", "value": ""}])
    calls = [
        {"function": {"name": "memory_insert", "arguments": {"label": "human", "new_string": text}}}
        for text in ("one", "two")
    ]
    pieces = [{**call, "index": 0} for call in calls]
    usage = {"prompt_tokens": None, "completion_tokens": None}
    for tokens in (False, True):
        body = {**completion("tool_calls", content=None, tool_calls=calls), "usage": usage}
        scripted_model.raw_next(body, stream(*(chunk(tool_calls=[piece]) for piece in pieces), chunk("tool_calls")))
        events = read(answered(http, agent.id, "hello", stream_tokens=tokens))
        assert kinds(events).count("tool_return_message") == 2, events
    block = http.get(f"/v1/agents/{agent.id}/core-memory/blocks/human").json()
    assert sorted(block["value"].split()) == ["one", "one", "two", "two"]


def told(events: list[Event]) -> str:
    return "".join(event["content"] for event in events if event["message_type"] == "assistant_message")
