"""Nothing said is lost: a turn in vain keeps what was said, why it failed, and what was answered so far."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from letta_client import Letta

from chaos.moot import rows
from runs.talking import SEARCH, Event, kinds, last_run, ok, read, run_of, say, streaming, whole
from runs.test_interrupted import AT_ONCE, KILLED, RESTARTS, Moot, moot
from support.fixtures import NewAgent, each_wire, one_store
from support.polling import until
from support.scripted_model import ScriptedModel

__all__ = ["moot"]

WORDS = "ECHO one two three four five"
SAID = [{"role": "user", "content": WORDS}]


def run(http: httpx.Client, run_id: str) -> Event:
    found: Event = ok(http.get(f"/v1/runs/{run_id}"))
    return found


def spoken(events: list[Event]) -> str:
    """Return the words of an answer, as a stream showed them."""
    return "".join(event["content"] for event in events if event["message_type"] == "assistant_message")


@each_wire
def test_a_turn_that_a_provider_fails_keeps_what_was_said(
    http: httpx.Client, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    scripted_model.fail_next(400, message="no such luck")
    assert http.post(f"/v1/agents/{agent.id}/messages", json={"input": WORDS}).status_code >= 400
    listed = last_run(http, agent.id)
    assert listed["input_messages"] is None, "a list does not carry what may be long"
    failed = run(http, listed["id"])
    assert (failed["status"], failed["input_messages"], failed["partial_answer"]) == ("failed", SAID, None)
    assert "no such luck" in failed["error"]["message"]
    assert kinds(whole(http, agent.id)) == ["system_message"]
    again = client.agents.messages.create(agent.id, messages=failed["input_messages"])
    assert again.messages[-1].content == "one two three four five"
    assert run(http, last_run(http, agent.id)["id"])["input_messages"] is None, "it is in the conversation now"


@each_wire
def test_what_a_stream_showed_before_it_failed_is_kept(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    scripted_model.break_next(after=3)
    with streaming(http, agent.id, WORDS, stream_tokens=True) as reading:
        events = read(reading.rest())
    failed = run(http, events[0]["run_id"])
    assert (failed["status"], failed["input_messages"]) == ("failed", SAID)
    assert failed["partial_answer"]
    assert failed["partial_answer"] == spoken(events)


@one_store
def test_words_that_are_in_the_conversation_are_not_kept_twice(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(http.post, f"/v1/agents/{agent.id}/messages", json={"input": SEARCH})
        held.wait_for(1)
        held.release(1)
        held.wait_for(2)
        ok(http.post(f"/v1/agents/{agent.id}/messages/cancel"))
        asking.result(30)
    cancelled = run(http, last_run(http, agent.id)["id"])
    assert (cancelled["status"], cancelled["input_messages"]) == ("cancelled", None)
    assert kinds(whole(http, agent.id))[1] == "user_message"


@pytest.mark.parametrize("interrupt", [*RESTARTS, AT_ONCE[1]])
def test_a_streamed_turn_that_is_interrupted_keeps_what_was_said_and_answered(
    moot: Moot, scripted_model: ScriptedModel, interrupt: Callable[[Moot], None]
) -> None:
    with (
        scripted_model.hold(after=3) as held,
        streaming(moot.http, moot.one, WORDS, stream_tokens=True) as reading,
    ):
        run_id = run_of(reading.next())
        held.wait_for(1)
        shown = ""
        while "two" not in shown:
            shown += spoken(read([reading.next()]))
        until(lambda: "two" in stored_words(moot, run_id))  # a moment after it was shown
        interrupt(moot)
        with suppress(httpx.TransportError):
            reading.rest()
    ended = run(moot.http, run_id)
    assert (ended["status"], ended["input_messages"]) in [("failed", SAID), ("cancelled", SAID)]
    assert ended["partial_answer"].startswith(shown.rstrip())
    assert WORDS.removeprefix("ECHO ").startswith(ended["partial_answer"].rstrip())
    assert kinds(whole(moot.http, moot.one)) == ["system_message"]
    assert say(moot.http, moot.one, "ECHO and on")["messages"][-1]["content"] == "and on"


def stored_words(moot: Moot, run_id: str) -> str:
    """Return the pieces of a run's answer that are in the database."""
    found = asyncio.run(rows(moot.database, f"SELECT data FROM run_events WHERE run_id = '{run_id}' ORDER BY sequence"))
    return "".join(json.loads(data).get("text", "") for (data,) in found)


@pytest.mark.parametrize("interrupt", [KILLED])
def test_a_plain_turn_that_never_waited_keeps_what_was_said_when_its_process_dies(
    moot: Moot, scripted_model: ScriptedModel, interrupt: Callable[[Moot], None]
) -> None:
    with scripted_model.hold() as held, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(httpx.post, f"{moot.server.url}/v1/agents/{moot.one}/messages", json={"input": WORDS})
        held.wait_for(1)
        interrupt(moot)
        with suppress(httpx.TransportError):
            asking.result(30)
    ended = run(moot.http, last_run(moot.http, moot.one)["id"])
    assert (ended["status"], ended["input_messages"]) == ("failed", SAID)
    assert ended["error"]["type"] == "process_died"
