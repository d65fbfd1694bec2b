"""Approvals given beforehand: calls like one that was approved do not wait, and no others."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from folkmoot.agents.standing_approvals import MOST
from folkmoot.memory.edits import apply
from folkmoot.tools.builtin.proposed import proposal_of, shared_arguments
from support.fixtures import NewAgent, NewBlock, one_store


def asking_agent(http: httpx.Client, new_agent: NewAgent, *block_ids: str) -> str:
    """Return an agent whose calls of memory_insert and core_memory_append wait."""
    tools = ["memory_insert", "core_memory_append"]
    rules = [{"type": "requires_approval", "tool_name": tool} for tool in tools]
    return new_agent(block_ids=list(block_ids), tools=tools, tool_rules=rules).id


def insert(http: httpx.Client, agent_id: str, label: str, text: str) -> dict[str, Any]:
    """Let the agent call memory_insert; return its turn."""
    arguments = json.dumps({"label": label, "new_string": text})
    response = http.post(f"/v1/agents/{agent_id}/messages", json={"input": f"CALL memory_insert {arguments}"})
    answer: dict[str, Any] = response.raise_for_status().json()
    return answer


def test_calls_like_one_that_was_approved_do_not_wait_until_it_is_revoked(
    http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block, other = new_block(value=""), new_block(value="")
    agent_id = asking_agent(http, new_agent, block.id, other.id)
    approvals = f"/v1/agents/{agent_id}/standing-approvals"
    like = {"tool_name": "memory_insert", "arguments": {"label": block.label}}
    given = http.post(approvals, json=like).raise_for_status().json()
    assert http.post(approvals, json=like).json()["id"] == given["id"]
    assert [each["id"] for each in http.get(approvals).json()] == [given["id"]]

    assert insert(http, agent_id, block.label, "a heron")["stop_reason"]["stop_reason"] == "end_turn"
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "a heron"
    waits = insert(http, agent_id, other.label, "a kite")
    assert waits["stop_reason"]["stop_reason"] == "requires_approval"
    assert http.get(f"/v1/blocks/{other.id}").json()["value"] == ""
    http.post(f"/v1/agents/{agent_id}/messages/cancel").raise_for_status()
    script = f"CALL core_memory_append {json.dumps({'label': block.label, 'content': 'a kite'})}"
    waits = http.post(f"/v1/agents/{agent_id}/messages", json={"input": script}).json()
    assert waits["stop_reason"]["stop_reason"] == "requires_approval", "it was another tool that was approved"
    http.post(f"/v1/agents/{agent_id}/messages/cancel").raise_for_status()

    http.delete(f"{approvals}/{given['id']}").raise_for_status()
    assert http.delete(f"{approvals}/{given['id']}").status_code == 404
    assert insert(http, agent_id, block.label, "a crow")["stop_reason"]["stop_reason"] == "requires_approval"
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "a heron"


@one_store
def test_a_stream_shows_such_a_call_as_what_it_is(http: httpx.Client, new_agent: NewAgent, new_block: NewBlock) -> None:
    block, other = new_block(value=""), new_block(value="")
    agent_id = asking_agent(http, new_agent, block.id, other.id)
    like = {"tool_name": "memory_insert", "arguments": {"label": block.label}}
    http.post(f"/v1/agents/{agent_id}/standing-approvals", json=like).raise_for_status()
    calls = json.dumps(
        [["memory_insert", {"label": label, "new_string": "said"}] for label in (block.label, other.label)]
    )
    body = {"input": f"CALLS {calls}", "stream_tokens": True}
    seen: dict[str, str] = {}
    with http.stream("POST", f"/v1/agents/{agent_id}/messages/stream", json=body) as stream:
        for line in stream.iter_lines():
            event = json.loads(line.removeprefix("data: ")) if line.startswith("data: {") else {}
            call = event.get("tool_call") or {}
            if call.get("arguments"):
                seen[event["message_type"]] = seen.get(event["message_type"], "") + call["arguments"]
    assert json.loads(seen["tool_call_message"])["label"] == block.label
    assert json.loads(seen["approval_request_message"])["label"] == other.label
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "said"
    assert http.get(f"/v1/blocks/{other.id}").json()["value"] == ""


@one_store
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"tool_name": "memory_insert", "arguments": {}}, "arguments: name at least one"),
        ({"tool_name": "memory_insert", "arguments": {"label": "x" * 20_000}}, "arguments: have more than 10,000"),
        ({"tool_name": "", "arguments": {"label": "a"}}, "tool_name"),
    ],
)
def test_what_would_approve_too_much_is_refused(
    http: httpx.Client, new_agent: NewAgent, body: dict[str, Any], field: str
) -> None:
    answer = http.post(f"/v1/agents/{new_agent().id}/standing-approvals", json=body)
    assert answer.status_code == 422
    assert field in answer.json()["detail"]


@one_store
def test_an_exact_approval_lets_no_other_argument_pass(
    http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="")
    agent_id = asking_agent(http, new_agent, block.id)
    exact = {"label": block.label, "new_string": "a heron"}
    like = {"tool_name": "memory_insert", "arguments": exact, "exact": True}
    http.post(f"/v1/agents/{agent_id}/standing-approvals", json=like).raise_for_status()
    assert insert(http, agent_id, block.label, "a heron")["stop_reason"]["stop_reason"] == "end_turn"
    more = json.dumps({**exact, "insert_line": 0})
    waits = http.post(f"/v1/agents/{agent_id}/messages", json={"input": f"CALL memory_insert {more}"}).json()
    assert waits["stop_reason"]["stop_reason"] == "requires_approval"


@one_store
def test_an_agent_has_no_more_of_them_than_it_may(http: httpx.Client, new_agent: NewAgent) -> None:
    path = f"/v1/agents/{new_agent().id}/standing-approvals"
    for number in range(MOST):
        http.post(path, json={"tool_name": "memory_insert", "arguments": {"label": str(number)}}).raise_for_status()
    refused = http.post(path, json={"tool_name": "memory_insert", "arguments": {"label": "one more"}})
    assert (refused.status_code, f"has {MOST} standing approvals" in refused.text) == (409, True)
    known = http.post(path, json={"tool_name": "memory_insert", "arguments": {"label": "0"}})
    assert (known.status_code, len(http.get(path).json())) == (200, MOST), "one that it has is no more"


EDITS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("memory_insert", {"new_string": "new", "insert_line": 1}),
    ("memory_replace", {"old_string": "two", "new_string": "2"}),
    ("memory_rethink", {"new_memory": "all new"}),
    ("memory_apply_patch", {"patch": "@@\n one\n-two\n+2\n"}),
    ("core_memory_append", {"content": "new"}),
    ("core_memory_replace", {"old_content": "two", "new_content": "2"}),
    ("memory", {"command": "insert", "insert_text": "new"}),
    ("memory", {"command": "str_replace", "old_string": "two", "new_string": "2"}),
    ("memory", {"command": "str_replace", "old_string": "two"}),
)


@one_store
def test_what_a_call_is_said_to_do_is_what_it_does(
    http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    for tool, given in EDITS:
        block = new_block(value="one\ntwo\n")
        agent_id = new_agent(block_ids=[block.id], tools=[tool]).id
        arguments = {**given, **({"path": f"/memories/{block.label}"} if tool == "memory" else {"label": block.label})}
        proposal = proposal_of(tool, arguments)
        assert proposal is not None
        assert proposal.label == block.label
        script = f"CALL {tool} {json.dumps(arguments)}"
        http.post(f"/v1/agents/{agent_id}/messages", json={"input": script}).raise_for_status()
        now = http.get(f"/v1/blocks/{block.id}").json()
        assert (now["version"], now["value"]) == (2, apply("one\ntwo\n", proposal.edit)), tool
        shared = shared_arguments(tool, arguments)
        assert shared is not None
        assert set(shared) <= {"label", "path", "command"}
