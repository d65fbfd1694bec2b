"""What an agent does with its archives: its tools, and what it is told of them."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import Letta

from support.fixtures import NewAgent
from support.scripted_model import ScriptedModel

TOOLS = ["archival_memory_insert", "archival_memory_search"]


def call(http: httpx.Client, agent_id: str, tool: str, **arguments: Any) -> dict[str, Any]:
    """Let the agent call a tool, and return the message of what came of it."""
    said = {"input": f"CALL {tool} {json.dumps(arguments)}"}
    answer = http.post(f"/v1/agents/{agent_id}/messages", json=said)
    assert answer.status_code == 200, answer.text
    returned: dict[str, Any] = next(
        each for each in answer.json()["messages"] if each["message_type"] == "tool_return_message"
    )
    return returned


def found(returned: dict[str, Any]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = json.loads(returned["tool_return"])["results"]
    return results


def test_an_agent_keeps_and_finds_passages(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(tools=TOOLS)
    kept = call(http, agent.id, "archival_memory_insert", content="Ada keeps bees.", tags=["hobby", "bees"])
    assert (kept["status"], f"{agent.name}'s Archive" in kept["tool_return"]) == ("success", True)
    call(http, agent.id, "archival_memory_insert", content="Ada lives in Bergen.")
    (bees,) = found(call(http, agent.id, "archival_memory_search", query="bees"))
    assert (bees["content"], bees["tags"]) == ("Ada keeps bees.", ["hobby", "bees"])
    assert bees["written_by"] == f'agent "{agent.name}"'
    assert found(call(http, agent.id, "archival_memory_search", query="Ada", tags=["hobby"], tag_match_mode="all"))
    assert found(call(http, agent.id, "archival_memory_search", query="bees", end_datetime="2020-01-01")) == []
    newest = found(call(http, agent.id, "archival_memory_search", query="", top_k=1))
    assert [each["content"] for each in newest] == ["Ada lives in Bergen."]
    passage = client.agents.passages.list(agent.id)[0]
    shown = http.get(f"/v1/archives/{passage.archive_id}/passages").json()[0]
    assert (shown["author"]["type"], shown["author"]["id"]) == ("agent", agent.id)
    assert shown["author"]["run_id"].startswith("run-") and shown["author"]["step_id"].startswith("step-")


@pytest.mark.parametrize(
    ("tool", "arguments", "word"),
    [
        ("archival_memory_search", {"query": "x", "start_datetime": "whenever"}, "start_datetime"),
        ("archival_memory_insert", {"content": "  "}, "content"),
        ("archival_memory_insert", {"content": "x" * 100_001}, "100,000"),
        ("archival_memory_insert", {"content": "x", "tags": [""]}, "tags"),
    ],
)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_call_that_cannot_be_done_says_why(
    http: httpx.Client, new_agent: NewAgent, tool: str, arguments: dict[str, Any], word: str
) -> None:
    returned = call(http, new_agent(tools=TOOLS).id, tool, **arguments)
    assert (returned["status"], word in returned["tool_return"]) == ("error", True)


def test_agents_share_an_archive_within_their_access(http: httpx.Client, new_agent: NewAgent) -> None:
    writer, reader, stranger = new_agent(tools=TOOLS), new_agent(tools=TOOLS), new_agent(tools=TOOLS)
    names = [f"{name}_{uuid4().hex[:8]}" for name in ("shared", "other")]
    shared, other = (http.post("/v1/archives", json={"name": name}).json()["id"] for name in names)
    for agent, archive, access in (
        (writer, shared, "append"),
        (writer, other, "write"),
        (reader, shared, "read"),
    ):
        path = f"/v1/agents/{agent.id}/archives/attach/{archive}"
        assert http.patch(path, json={"access": access}).status_code == 200
    call(http, writer.id, "archival_memory_insert", content="The heron left.", archive=names[0])
    call(http, writer.id, "archival_memory_insert", content="A secret heron.", archive=names[1])
    (seen,) = found(call(http, reader.id, "archival_memory_search", query="heron"))
    assert (seen["content"], seen["archive"]) == ("The heron left.", names[0])
    assert found(call(http, stranger.id, "archival_memory_search", query="heron")) == []
    refused = call(http, reader.id, "archival_memory_insert", content="no", archive=names[0])
    assert (refused["status"], "only search" in refused["tool_return"]) == ("error", True)
    assert call(http, reader.id, "archival_memory_insert", content="no")["status"] == "error"
    unknown = call(http, writer.id, "archival_memory_insert", content="no", archive="nowhere")
    assert names[0] in unknown["tool_return"]


def test_an_agent_is_told_what_its_archives_hold(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent, name = new_agent(), f"library_{uuid4().hex[:8]}"
    archive = http.post("/v1/archives", json={"name": name, "description": "Of bees"}).json()["id"]
    body = {"passages": [{"text": "a", "tags": ["bees", "combs"]}, {"text": "b", "tags": ["bees"]}]}
    made = http.post(f"/v1/archives/{archive}/passages/batch", json=body).json()

    def told() -> str:
        http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO ok"}).raise_for_status()
        return json.dumps(scripted_model.requests[-1]["messages"][-1], ensure_ascii=False)

    assert name not in told()
    http.patch(f"/v1/agents/{agent.id}/archives/attach/{archive}", json={"access": "read"}).raise_for_status()
    shown = told()
    for words in (name, "Of bees", 'passages=\\"2\\"', 'access=\\"read\\"', "bees (2), combs (1)"):
        assert words in shown, words
    http.delete(f"/v1/archives/{archive}/passages/{made[0]['id']}")
    assert "bees (1)" in (shown := told()) and "combs" not in shown
    overview = http.get(f"/v1/agents/{agent.id}/context").json()
    assert (overview["num_archival_memory"], name in overview["external_memory_summary"]) == (1, True)
    http.delete(f"/v1/archives/{archive}")
    assert name not in told()


def test_what_a_step_keeps_lands_with_it_or_not_at_all(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    """An insertion is part of the step: a call of the same reply that is refused changes nothing of it."""
    agent = new_agent(tools=TOOLS)
    call(http, agent.id, "archival_memory_insert", content="kept once")
    call(http, agent.id, "archival_memory_insert", content="kept once")
    listed = http.get(f"/v1/agents/{agent.id}/archival-memory").json()
    assert [each["text"] for each in listed] == ["kept once", "kept once"]
    steps = {each["author"]["step_id"] for each in listed}
    assert len(steps) == 2
    for step in steps:
        assert http.get(f"/v1/steps/{step}").status_code == 200
