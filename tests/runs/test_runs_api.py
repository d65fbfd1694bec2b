"""Runs read back: lists, one run, its messages, steps, usage, metrics; and deleting one."""

from __future__ import annotations

import itertools
from typing import Any

import httpx
import pytest
from letta_client import AsyncLetta, Letta, NotFoundError

from runs.talking import SEARCH, followed, kinds, ok, say, whole
from support.fixtures import NewAgent, one_store
from support.scripted_model import ScriptedModel

pytestmark = pytest.mark.filterwarnings("ignore:deprecated")

ASKED = "CALL conversation_search {}\nTHEN ECHO one two three"
UNKNOWN = "run-123e4567-e89b-42d3-8456-426614174999"


def run_id_of(turn: dict[str, Any]) -> str:
    run_id: str = turn["messages"][0]["run_id"]
    return run_id


def test_a_run_tells_what_it_was(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    run = client.runs.retrieve(run_id_of(say(http, agent.id, ASKED, use_assistant_message=False)))
    assert (run.agent_id, run.status, run.stop_reason, run.background) == (agent.id, "completed", "end_turn", False)
    assert run.request_config is not None
    assert run.request_config.use_assistant_message is False
    assert run.total_duration_ns is not None
    assert run.total_duration_ns > 0
    assert run.conversation_id is None


def test_messages_steps_usage_and_metrics_of_a_run(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    say(http, agent.id, "ECHO before")
    run_id = run_id_of(say(http, agent.id, ASKED))
    messages = client.runs.messages.list(run_id).items
    assert [m.message_type for m in messages] == [
        *("user_message", "tool_call_message", "tool_return_message", "assistant_message")
    ]
    assert [m.id for m in messages] == [m["id"] for m in whole(http, agent.id)[-4:]]
    usage = client.runs.usage.retrieve(run_id)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (200, 20, 220)
    steps = list(client.runs.steps.list(run_id))
    assert [step.stop_reason for step in steps] == ["end_turn", None]
    assert [step.id for step in steps] == list(dict.fromkeys(m.step_id for m in messages))[::-1]
    assert {step.run_id for step in steps} == {run_id}
    assert {step.llm_handle if hasattr(step, "llm_handle") else step.model_handle for step in steps} == {
        "openai/gpt-4o-mini"
    }
    metrics = ok(http.get(f"/v1/runs/{run_id}/metrics"))
    assert (metrics["id"], metrics["num_steps"], metrics["tools_used"]) == (run_id, 2, ["conversation_search"])
    assert metrics["run_ns"] > 0


def test_the_messages_of_a_run_are_paged_to_their_end(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    run_id = run_id_of(say(http, new_agent().id, ASKED))
    for limit in (1, 3, 100):
        found = [m.id for m in itertools.islice(client.runs.messages.list(run_id, limit=limit), 20)]
        assert found == [m["id"] for m in ok(http.get(f"/v1/runs/{run_id}/messages"))]
        assert len(found) == 4
    newest = [m.id for m in itertools.islice(client.runs.messages.list(run_id, order="desc", limit=2), 20)]
    assert newest == found[::-1]


def test_the_messages_of_a_run_newest_first(http: httpx.Client, new_agent: NewAgent) -> None:
    run_id = run_id_of(say(http, new_agent().id, ASKED))
    path = f"/v1/runs/{run_id}/messages"
    assert ok(http.get(path, params={"order": "desc"})) == ok(http.get(path))[::-1]
    assert len(ok(http.get(path, params={"limit": 2}))) == 2


def test_the_steps_of_a_run_are_paged(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    run_id = run_id_of(say(http, new_agent().id, "\n".join([SEARCH] * 4)))
    for limit in (1, 2, 100):
        steps = [step.id for step in itertools.islice(client.runs.steps.list(run_id, limit=limit), 20)]
        assert len(steps) == len(set(steps)) == 5


def test_runs_are_listed_and_filtered(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent, other = new_agent(), new_agent()
    first = run_id_of(say(http, agent.id, "ECHO first"))
    second = client.agents.messages.create_async(agent.id, input="ECHO second").id
    followed(http, second)
    scripted_model.fail_next(400)
    third = client.agents.messages.create_async(agent.id, input="lost").id
    followed(http, third)
    run_id_of(say(http, other.id, "ECHO other"))

    def listed(**wanted: Any) -> list[str]:
        return [run.id for run in client.runs.list(agent_id=agent.id, **wanted)]

    assert listed() == listed(order="desc") == [third, second, first]
    assert listed(order="asc") == listed(ascending=True) == [first, second, third]
    assert listed(limit=1) == [third, second, first], "page by page"
    assert listed(background=True) == [third, second]
    assert listed(statuses=["completed"]) == [second, first]
    assert listed(stop_reason="llm_api_error") == [third]
    assert listed(active=True) == []
    assert listed(after=third) == [second, first]
    assert listed(before=second, order="asc") == [first]
    assert [run.id for run in client.runs.list(agent_ids=[agent.id, other.id], limit=2).items][1] == third


def test_runs_of_a_span_of_time_are_listed_with_whose_key_asked(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    say(http, agent.id, "ECHO early")
    say(http, agent.id, "ECHO late")
    late, early = ok(http.get("/v1/runs", params={"agent_id": agent.id}))

    def spanned(**span: str) -> list[str]:
        return [run["id"] for run in ok(http.get("/v1/runs", params={"agent_id": agent.id, **span}))]

    assert spanned(start_date=early["created_at"]) == [late["id"], early["id"]]
    assert spanned(start_date=late["created_at"]) == [late["id"]]
    assert spanned(end_date=late["created_at"]) == [early["id"]]
    assert http.get("/v1/runs", params={"start_date": "last night"}).status_code == 422
    assert [late["asked_by"], early["asked_by"]] == ["local", "local"]


def test_active_runs_are_those_that_are_not_over(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    done = run_id_of(say(http, agent.id, "ECHO done"))
    with scripted_model.hold() as held:
        running = client.agents.messages.create_async(agent.id, input="ECHO running").id
        held.wait_for(1)
        waiting = client.agents.messages.create_async(agent.id, input="ECHO waiting").id
        active = ok(http.get("/v1/runs/active", params={"agent_ids": [agent.id]}))
        assert {run["id"]: run["status"] for run in active} == {running: "running", waiting: "created"}
        assert [run.id for run in client.runs.list(agent_id=agent.id, active=True)] == [waiting, running]
    followed(http, waiting)
    assert ok(http.get("/v1/runs/active", params={"agent_ids": [agent.id]})) == []
    assert client.runs.retrieve(done).status == "completed"


def test_a_deleted_run_leaves_its_messages(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    run_id = run_id_of(say(http, agent.id, ASKED))
    before = whole(http, agent.id)
    ok(http.delete(f"/v1/runs/{run_id}"))
    with pytest.raises(NotFoundError):
        client.runs.retrieve(run_id)
    assert http.delete(f"/v1/runs/{run_id}").status_code == 404
    assert [m["id"] for m in whole(http, agent.id)] == [m["id"] for m in before]
    assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"


@pytest.mark.parametrize("part", ["", "/messages", "/usage", "/steps", "/metrics", "/stream"])
def test_an_unknown_run_is_a_404(http: httpx.Client, part: str) -> None:
    answer = http.get(f"/v1/runs/{UNKNOWN}{part}")
    assert answer.status_code == 404
    assert UNKNOWN in answer.json()["detail"]


@pytest.mark.parametrize("part", ["", "/messages", "/usage", "/steps", "/metrics", "/stream"])
@one_store
def test_a_malformed_id_is_refused(http: httpx.Client, part: str) -> None:
    assert http.get(f"/v1/runs/nonsense{part}").status_code == 422


@pytest.mark.parametrize("query", [{"limit": "x"}, {"limit": -1}, {"order": "sideways"}])
@one_store
def test_a_list_of_messages_that_cannot_be_is_refused(
    http: httpx.Client, new_agent: NewAgent, query: dict[str, Any]
) -> None:
    run_id = run_id_of(say(http, new_agent().id, "ECHO hello"))
    assert http.get(f"/v1/runs/{run_id}/messages", params=query).status_code == 422


async def test_the_asynchronous_client_reads_runs_back(
    async_client: AsyncLetta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    run_id = run_id_of(say(http, agent.id, ASKED))
    assert [run.id async for run in async_client.runs.list(agent_id=agent.id)] == [run_id]
    assert (await async_client.runs.usage.retrieve(run_id)).total_tokens == 220
    assert kinds(ok(http.get(f"/v1/runs/{run_id}/messages")))[0] == "user_message"
