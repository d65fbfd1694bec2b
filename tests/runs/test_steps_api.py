"""Steps read back: lists, one step, its metrics, messages and feedback."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from letta_client import Letta, NotFoundError

from runs.talking import ok, say
from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, StartServer, one_store
from support.scripted_model import ScriptedModel

ASKED = "CALL conversation_search {}\nTHEN ECHO one two three"
UNKNOWN = "step-123e4567-e89b-42d3-8456-426614174999"


def steps_of(turn: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(message["step_id"] for message in turn["messages"]))


def test_a_step_tells_what_it_took(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    turn = say(http, agent.id, ASKED)
    first, second = (client.steps.retrieve(step_id) for step_id in steps_of(turn))
    assert (first.prompt_tokens, first.completion_tokens, first.total_tokens) == (100, 10, 110)
    assert (first.agent_id, first.run_id) == (agent.id, turn["messages"][0]["run_id"])
    assert (first.stop_reason, second.stop_reason) == (None, "end_turn")
    assert (first.model, first.provider_name, first.status) == ("gpt-4o-mini", "openai", "success")
    metrics = client.steps.metrics.retrieve(first.id)
    assert metrics.id == first.id
    assert metrics.llm_request_ns is not None
    assert metrics.llm_request_ns > 0


def test_steps_are_listed_filtered_and_paged(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    began = datetime.now(UTC)
    first, second = say(http, agent.id, ASKED), say(http, agent.id, ASKED)
    wanted = [*steps_of(first), *steps_of(second)]

    def listed(**filters: Any) -> list[str]:
        return [step.id for step in itertools.islice(client.steps.list(agent_id=agent.id, **filters), 20)]

    assert listed(order="asc") == wanted
    assert listed() == listed(limit=1) == listed(limit=3) == wanted[::-1]
    assert listed(extra_query={"run_id": first["messages"][0]["run_id"]}, order="asc") == steps_of(first)
    assert listed(after=wanted[1], order="asc") == wanted[2:]
    assert listed(start_date=began.isoformat()) == wanted[::-1]
    assert listed(end_date=began.isoformat()) == []
    assert listed(start_date=(began + timedelta(days=1)).isoformat()) == []


def test_the_messages_of_a_step(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    turn = say(http, new_agent().id, ASKED)
    found = client.steps.messages.list(steps_of(turn)[0]).items
    assert [m.message_type for m in found] == ["user_message", "tool_call_message", "tool_return_message"]


def test_the_messages_of_a_step_are_paged_to_their_end(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    turn = say(http, new_agent().id, ASKED)
    for limit in (1, 100):
        found = list(itertools.islice(client.steps.messages.list(steps_of(turn)[0], limit=limit), 20))
        assert len(found) == 3


def test_feedback_is_kept_changed_and_taken_back(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    (step_id,) = steps_of(say(http, new_agent().id, "ECHO hello"))
    assert client.steps.retrieve(step_id).feedback is None
    for feedback in ("positive", "negative", None):
        client.steps.feedback.create(step_id, feedback=feedback)  # type: ignore[arg-type]
        assert client.steps.retrieve(step_id).feedback == feedback
    assert http.patch(f"/v1/steps/{step_id}/feedback", json={"feedback": "meh"}).status_code == 422


def test_a_model_call_that_failed_is_a_step_that_says_why(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    search = {"name": "conversation_search", "arguments": "{}"}
    scripted_model.reply_next({"content": None, "tool_calls": [{"id": "c", "type": "function", "function": search}]})
    scripted_model.fail_next(400, message="no such luck")
    assert http.post(f"/v1/agents/{agent.id}/messages", json={"input": "lost"}).status_code == 502
    (run,) = client.runs.list(agent_id=agent.id)
    whole, failed = client.runs.steps.list(run.id, order="asc")
    assert (whole.status, whole.error_type, whole.error_data) == ("success", None, None)
    assert (failed.status, failed.stop_reason, failed.error_type) == ("failed", "llm_api_error", "ProviderRejected")
    assert failed.error_data is not None
    assert "no such luck" in str(failed.error_data["message"])
    assert (failed.model, failed.total_tokens) == ("gpt-4o-mini", 0)
    assert client.steps.retrieve(failed.id) == failed
    assert next(iter(client.steps.list(agent_id=agent.id))) == failed
    assert client.steps.messages.list(failed.id).items == []
    trace = http.get(f"/v1/steps/{failed.id}/trace").json()
    assert trace["request_json"] == {**scripted_model.requests[-1], **trace["request_json"]}
    assert {"role": "user", "content": "lost"} in trace["request_json"]["messages"]
    assert "no such luck" in trace["response_json"]["error"]["message"]
    assert client.runs.usage.retrieve(run.id).total_tokens == whole.total_tokens
    assert http.delete(f"/v1/runs/{run.id}").status_code == 200
    kept = client.steps.retrieve(failed.id)
    assert (kept.status, kept.error_type, kept.error_data) == ("failed", "ProviderRejected", None), "no words stay"


@one_store
def test_pieces_of_an_answer_that_broke_off_name_the_step_that_failed(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    scripted_model.break_next(after=3)
    stream = client.agents.messages.create(
        agent.id, input="ECHO one two three four", streaming=True, stream_tokens=True
    )
    named = {piece.step_id for piece in stream if piece.message_type == "assistant_message"}
    (failed,) = client.steps.list(agent_id=agent.id)
    assert (failed.status, named) == ("failed", {failed.id})


@pytest.mark.parametrize("part", ["", "/messages", "/metrics"])
def test_an_unknown_step_is_a_404(client: Letta, http: httpx.Client, part: str) -> None:
    assert http.get(f"/v1/steps/{UNKNOWN}{part}").status_code == 404
    with pytest.raises(NotFoundError):
        client.steps.retrieve(UNKNOWN)


def test_a_step_without_a_run_of_its_own_settings_is_listed_by_model(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    say(http, agent.id, "ECHO hello", override_model="openai/gpt-4.1")
    say(http, agent.id, "ECHO hello")
    handles = [step["model_handle"] for step in ok(http.get("/v1/steps", params={"agent_id": agent.id}))]
    assert handles == ["openai/gpt-4o-mini", "openai/gpt-4.1"]
    for model in ("openai/gpt-4.1", "gpt-4.1"):
        (found,) = client.steps.list(agent_id=agent.id, model=model)
        assert (found.model, found.model_handle) == ("gpt-4.1", "openai/gpt-4.1"), "by either of what it shows"
    assert list(client.steps.list(agent_id=agent.id, model="gpt-4_1")) == []


def test_a_trace_shows_what_the_model_was_sent_unless_it_is_not_to_be_kept(
    start_server: StartServer, http: httpx.Client, scripted_model: ScriptedModel
) -> None:
    untraced = start_server(env={"FOLKMOOT_TRACE": "off"})
    for address, kept in ((str(http.base_url), True), (untraced.url, False)):
        with plain_client(address) as client:
            wanted = {"type": "json_object"}
            agent = client.post("/v1/agents", json={"model": MODEL, "response_format": wanted}).json()
            turn = client.post(f"/v1/agents/{agent['id']}/messages", json={"input": "ECHO traced"}).json()
            step_id, run_id = turn["messages"][0]["step_id"], turn["messages"][0]["run_id"]
            trace = client.get(f"/v1/steps/{step_id}/trace").json()
            metrics = client.get(f"/v1/steps/{step_id}/metrics").json()
            of_run = client.get(f"/v1/runs/{run_id}/trace").json()
        assert (trace is not None) == kept
        assert len(of_run) == (1 if kept else 0)
        if kept:
            assert {"role": "user", "content": "ECHO traced"} in trace["request_json"]["messages"]
            assert trace["response_json"]["choices"][0]["message"]["content"] == "traced"
            assert (trace["call_type"], trace["org_id"]) == ("agent_step", metrics["organization_id"])
            assert trace["latency_ms"] == metrics["llm_request_ns"] // 1_000_000
            assert trace["created_at"] == trace["updated_at"] >= turn["messages"][0]["date"][:19]
        assert scripted_model.requests[-1]["response_format"] == wanted


def test_a_long_request_is_told_whole_although_it_is_kept_as_what_it_adds_to_another(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(system="Be kind. " * 3000)
    for words in ("one", "two", "three"):
        say(http, agent.id, f"ECHO {words}")
    steps = ok(http.get("/v1/steps", params={"agent_id": agent.id, "order": "asc"}))
    told = [ok(http.get(f"/v1/steps/{step['id']}/trace"))["request_json"]["messages"] for step in steps]
    assert told == [request["messages"] for request in scripted_model.requests]
    ok(http.delete(f"/v1/runs/{steps[0]['run_id']}"))
    assert ok(http.get(f"/v1/steps/{steps[2]['id']}/trace")) is None
    assert ok(http.get(f"/v1/runs/{steps[2]['run_id']}/trace")) == []
