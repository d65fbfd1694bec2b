"""What the tests of runs share: saying something, reading a stream, and what must hold of a stored conversation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import httpx

from support.streams import lines_of

Event: TypeAlias = dict[str, Any]

DONE = "[DONE]"
SEARCH = "CALL conversation_search {}"
"""A tool call that every agent of the tests can make, and that changes nothing."""


class Reading:
    """A stream that is being read; `seen` is what came so far, the data of each event as it was sent."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        self._lines = lines_of(response.iter_lines())
        self.seen: list[str] = []

    def next(self) -> str:
        """Return the next event's data; comments are passed over."""
        for line in self._lines:
            if line.startswith("data: "):
                self.seen.append(line.removeprefix("data: "))
                return self.seen[-1]
        raise AssertionError(f"the stream ended behind {self.seen[-1:]}")

    def take(self, count: int) -> list[str]:
        """Return the next `count` events."""
        return [self.next() for _ in range(count)]

    def rest(self) -> list[str]:
        """Return everything up to the end of the response."""
        taken = [line.removeprefix("data: ") for line in self._lines if line.startswith("data: ")]
        self.seen += taken
        return taken


@contextmanager
def streaming(http: httpx.Client, agent_id: str, text: str, **more: Any) -> Iterator[Reading]:
    """Say something and read the answer as a stream; leaving the block closes the connection."""
    path = f"/v1/agents/{agent_id}/messages/stream"
    with http.stream("POST", path, json={"input": text, **more}) as response:
        yield Reading(response)


@contextmanager
def following(http: httpx.Client, run_id: str, after: int | None = None) -> Iterator[Reading]:
    """Follow a run."""
    params = {} if after is None else {"starting_after": after}
    with http.stream("GET", f"/v1/runs/{run_id}/stream", params=params) as response:
        yield Reading(response)


def followed(http: httpx.Client, run_id: str, after: int | None = None) -> list[str]:
    """Return what a run's stream shows, to its end, which must be there."""
    with following(http, run_id, after) as reading:
        entries = reading.rest()
    assert entries[-1:] == [DONE], entries[-2:]
    assert entries.count(DONE) == 1
    return entries


def last_number(entries: Sequence[str]) -> int:
    """Return the number of the last of these entries that has one, as a client would resume behind it; 0 for none."""
    numbers = [entry["seq_id"] for entry in read(entries) if "seq_id" in entry]
    return max(numbers, default=0)


def behind(entries: Sequence[str], number: int) -> list[str]:
    """Return the entries that come behind the one with this number."""
    places = [
        place for place, entry in enumerate(entries) if entry != DONE and json.loads(entry).get("seq_id") == number
    ]
    return list(entries[places[0] + 1 :] if places else entries)


def answered(http: httpx.Client, agent_id: str, text: str, **more: Any) -> list[str]:
    """Say something and return the whole stream, which must have its end."""
    with streaming(http, agent_id, text, **more) as reading:
        entries = reading.rest()
    assert entries[-1:] == [DONE], entries[-2:]
    return entries


def read(entries: Sequence[str]) -> list[Event]:
    """Return a stream's events, without its last line."""
    return [json.loads(entry) for entry in entries if entry != DONE]


def kinds(events: Sequence[Event]) -> list[str]:
    """Return the events' types."""
    return [event["message_type"] for event in events]


def run_of(entry: str) -> str:
    """Return the run of a stream's first event."""
    run_id: str = json.loads(entry)["run_id"]
    return run_id


def last_run(http: httpx.Client, agent_id: str) -> Event:
    """Return the agent's last run."""
    run: Event = ok(http.get("/v1/runs", params={"agent_id": agent_id, "limit": 1}))[0]
    return run


def ok(response: httpx.Response) -> Any:
    """Return the body of a 200."""
    assert response.status_code == 200, f"{response.status_code} {response.text}"
    return response.json()


def post(http: httpx.Client, agent_id: str, text: str, **more: Any) -> httpx.Response:
    """Say something and return the answer, whatever it is."""
    return http.post(f"/v1/agents/{agent_id}/messages", json={"input": text, **more})


def say(http: httpx.Client, agent_id: str, text: str, **more: Any) -> Event:
    """Say something and return the turn, which must succeed."""
    turn: Event = ok(post(http, agent_id, text, **more))
    return turn


def decide(http: httpx.Client, agent_id: str, *decisions: Event, **more: Any) -> httpx.Response:
    """Answer an approval request."""
    body = {"messages": [{"type": "approval", "approvals": list(decisions)}], **more}
    return http.post(f"/v1/agents/{agent_id}/messages", json=body)


def approval(call_id: str, approve: bool = True, **more: Any) -> Event:
    """Return the decision about one call."""
    return {"type": "approval", "tool_call_id": call_id, "approve": approve, **more}


def kept(http: httpx.Client, agent_id: str) -> list[Event]:
    """Return every stored message of the agent's main conversation, oldest first."""
    path = f"/v1/agents/{agent_id}/messages"
    messages: list[Event] = []
    while page := ok(
        http.get(
            path,
            params={
                "conversation_id": "default",
                "order": "asc",
                "limit": 200,
                "use_assistant_message": False,
                **({"after": messages[-1]["id"]} if messages else {}),
            },
        )
    ):
        messages += page
    return messages


def whole(http: httpx.Client, agent_id: str) -> list[Event]:
    """Check that the conversation is whole, and return its messages: each call has one return, or waits at the end."""
    messages = kept(http, agent_id)
    waiting: list[tuple[str, int]] = []
    for place, message in enumerate(messages):
        kind = message["message_type"]
        if kind in ("tool_call_message", "approval_request_message"):
            waiting += [(each["tool_call_id"], place) for each in message["tool_calls"]]
        elif kind == "tool_return_message":
            answered_call = next((one for one in waiting if one[0] == message["tool_call_id"]), None)
            assert answered_call is not None, "a return without a call"
            waiting.remove(answered_call)
        elif kind in ("user_message", "assistant_message") and waiting:
            steps = {messages[place]["step_id"] for _, place in waiting}
            assert steps == {message["step_id"]}, "a message between a call and its return"
    for _, place in waiting:
        assert messages[place]["message_type"] == "approval_request_message", "a call without a return"
    assert len({message["id"] for message in messages}) == len(messages)
    return messages


def call(name: str, arguments: Any = "{}", call_id: str = "call_1") -> Event:
    """Return a tool call as OpenAI's API writes one."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: Event, content: str | None = None) -> Event:
    """Return a model's reply that makes these calls."""
    return {"content": content, "tool_calls": list(calls)}
