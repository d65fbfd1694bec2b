"""The recorded stream of a conversation, made again: the same events, each of the same type, in the same order."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from comparing import shape_differences
from letta_client import Letta
from recordings import Recording, events_of, load_recordings

from support.fixtures import NewAgent

RECORDINGS = {recording.name: recording for recording in load_recordings()}
RECORDED = RECORDINGS["conversation message stream"]
NUMBERED = ["$.seq_id: 1 instead of null", "$.seq_id: 2 instead of null"]
"""Folkmoot numbers the events of every stream, the recorded server only those of background runs."""


@pytest.fixture
def conversation(new_agent: NewAgent, http: httpx.Client) -> str:
    """A conversation in which the turn that was recorded before has been taken."""
    created = RECORDINGS["conversation create"]
    answer = http.request(created.method, created.path, params={"agent_id": new_agent().id}, json=created.request)
    assert answer.status_code == created.status, answer.text
    conversation_id: str = answer.json()["id"]
    first = again(RECORDINGS["conversation message"], conversation_id, http)
    assert first.headers["content-type"].startswith("application/json")
    return conversation_id


def again(recording: Recording, conversation_id: str, http: httpx.Client) -> httpx.Response:
    """Make a recorded call on this conversation, which must be answered with the recorded status."""
    path = recording.path.split("/")
    path[3] = conversation_id
    answer = http.request(recording.method, "/".join(path), json=recording.request)
    assert answer.status_code == recording.status, answer.text
    return answer


def kind(event: Any) -> str:
    return event if isinstance(event, str) else str(event["message_type"])


def test_the_recorded_stream_of_a_conversation_is_matched_event_by_event(conversation: str, http: httpx.Client) -> None:
    answer = again(RECORDED, conversation, http)
    assert answer.headers["content-type"].startswith("text/event-stream")
    live = events_of(answer.text)
    assert [kind(event) for event in live] == [kind(event) for event in RECORDED.response]
    found = [
        difference
        for ours, theirs in zip(live, RECORDED.response, strict=True)
        for difference in shape_differences(theirs, ours)
    ]
    assert found == NUMBERED
    for field in ("content", "stop_reason", "step_count"):
        assert [e.get(field) for e in live[:-1]] == [e.get(field) for e in RECORDED.response[:-1]]


def test_the_streams_messages_are_those_that_are_stored(conversation: str, http: httpx.Client) -> None:
    """As in the recordings, where the list that follows the stream begins with its message, same id and otid."""
    events = events_of(again(RECORDED, conversation, http).text)
    listed = again(RECORDINGS["conversation messages"], conversation, http).json()
    recorded = RECORDINGS["conversation messages"].response
    assert [kind(message) for message in listed] == [kind(message) for message in recorded]
    (streamed,) = [event for event in events[:-1] if event["message_type"] == "assistant_message"]
    assert {**streamed, "seq_id": None} == listed[0]
    assert {event["run_id"] for event in events[:-3]} == {listed[0]["run_id"], listed[1]["run_id"]}


def test_the_official_client_reads_the_recorded_stream(conversation: str, client: Letta) -> None:
    stream = client.conversations.messages.create(conversation, messages=RECORDED.request["messages"])
    chunks: list[Any] = list(stream)
    recorded = [kind(event) for event in RECORDED.response[:-1]]
    assert [chunk.message_type for chunk in chunks] == recorded
