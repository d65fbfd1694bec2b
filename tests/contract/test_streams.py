"""The recorded streams, made again: the same events in the same order, each with the same fields and kinds of value."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import httpx
import pytest
from recordings import Recording, events_of, load_recordings

from support.fixtures import MODEL, NewAgent
from support.server import ServerProcess

RECORDINGS = {recording.name: recording for recording in load_recordings()}
STREAMS = [
    "stream steps",
    "stream tokens",
    "stream tokens tool",
    "stream via messages flag",
    "stream background",
]
NUMBERED = "seq_id"
"""Folkmoot numbers the events of every stream, the recorded server only those of background runs."""


def _kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _shape(event: Any) -> Any:
    """Return an event's keys, with the kinds of their values; a figure that may be unknown counts as a number."""
    if isinstance(event, dict):
        return {
            name: "number" if name.endswith("_tokens") else _shape(value)
            for name, value in event.items()
            if name not in (NUMBERED, "stderr", "stdout")
        }
    return [_shape(each) for each in event] if isinstance(event, list) else _kind(event)


def _type(event: Any) -> str:
    return event if isinstance(event, str) else str(event["message_type"])


def _runs_of_one_id(events: list[Any]) -> list[tuple[str, int]]:
    """Return which events share an id, as lengths of stretches: a message that came in pieces is one stretch."""
    stretches: list[tuple[str, int]] = []
    last: Any = object()
    for event in events:
        event_id = event.get("id") if isinstance(event, dict) else None
        if event_id is not None and event_id == last:
            stretches[-1] = (stretches[-1][0], stretches[-1][1] + 1)
        else:
            stretches.append((_type(event), 1))
        last = event_id
    return stretches


def _made_again(recording: Recording, agent_id: str, http: httpx.Client) -> list[Any]:
    path = recording.path.rstrip("/").split("/")
    path[3] = agent_id
    answer = http.request(recording.method, "/".join(path), json=recording.request)
    assert answer.status_code == recording.status, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    events: list[Any] = events_of(answer.text)
    return events


@pytest.fixture
def agent_id(new_agent: NewAgent, http: httpx.Client) -> str:
    """An agent with the block that the recordings write to, and something in it."""
    return new_agent(memory_blocks=[{"label": "organization", "value": "All new.\nx"}]).id


@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_is_matched_event_by_event(name: str, agent_id: str, http: httpx.Client) -> None:
    recording = RECORDINGS[name]
    live = _made_again(recording, agent_id, http)
    assert [_type(event) for event in live] == [_type(event) for event in recording.response]
    assert _runs_of_one_id(live) == _runs_of_one_id(recording.response)
    for ours, theirs in zip(live, recording.response, strict=True):
        assert _shape(ours) == _shape(theirs)
        assert _spoken(ours) == _spoken(theirs)


def _spoken(event: Any) -> Any:
    """Return what an event says in words of its own; the recorded model ended each text with a space."""
    if not isinstance(event, dict):
        return event
    call = event.get("tool_call") or {}
    arguments = call.get("arguments")
    with suppress(TypeError, ValueError):
        arguments = json.dumps(json.loads(arguments))
    text = event.get("content")
    return (text and text.strip(), call.get("name"), arguments, event.get("stop_reason"), event.get("status"))


@pytest.mark.parametrize("name", STREAMS)
def test_a_streams_events_belong_together(name: str, agent_id: str, http: httpx.Client) -> None:
    events = [event for event in _made_again(RECORDINGS[name], agent_id, http) if isinstance(event, dict)]
    told = [event for event in events if "run_id" in event]
    assert len({event["run_id"] for event in told}) == 1
    assert [event[NUMBERED] for event in told] == list(range(1, len(told) + 1))
    by_id: dict[str, set[Any]] = {}
    for event in told:
        by_id.setdefault(event["id"], set()).add((event["otid"], event["step_id"], event["message_type"]))
    assert all(len(each) == 1 for each in by_id.values())


def test_the_recorded_chat_stream_is_matched(agent_id: str, http: httpx.Client, server: ServerProcess) -> None:
    recording = RECORDINGS["chat completions stream"]
    answer = http.post("/v1/chat/completions", json={**recording.request, "model": agent_id})
    live = events_of(answer.text)
    assert len(live) == len(recording.response)
    assert live[-1] == recording.response[-1] == "[DONE]"
    for ours, theirs in zip(live[:-1], recording.response[:-1], strict=True):
        (choice,), (wanted,) = ours["choices"], theirs["choices"]
        assert ours["object"] == theirs["object"]
        assert ours["model"] == theirs["model"] == MODEL.partition("/")[2]
        assert ours["id"].startswith("chatcmpl-run-")
        assert (choice["index"], choice["finish_reason"]) == (wanted["index"], wanted["finish_reason"])
        assert (choice["delta"].get("content") or "").strip() == (wanted["delta"]["content"] or "").strip()


def test_no_recorded_stream_of_a_turn_is_left_out() -> None:
    recorded = {name for name, one in RECORDINGS.items() if isinstance(one.response, list) and "[DONE]" in one.response}
    beside = {"chat completions stream", "conversation message stream"}  # above, and test_conversation_stream.py
    assert recorded - set(STREAMS) <= beside
