"""The pages about the past as they are served from either store; in a browser they are tested on one."""

from __future__ import annotations

import json

import httpx

from support.fixtures import NewAgent, NewBlock


def test_what_happened_is_told_from_either_store(http: httpx.Client, new_block: NewBlock, new_agent: NewAgent) -> None:
    block = new_block(value="first")
    rule = {"type": "requires_approval", "tool_name": "memory_replace"}
    agent = new_agent(block_ids=[block.id], tools=["memory_insert", "memory_replace"], tool_rules=[rule])
    for tool, given in (
        ("memory_insert", {"new_string": "a heron was seen"}),
        ("memory_replace", {"old_string": "heron", "new_string": "kite"}),
    ):
        script = f"CALL {tool} {json.dumps({'label': block.label, **given})}"
        http.post(f"/v1/agents/{agent.id}/messages", json={"input": script}).raise_for_status()
    newest, run = http.get("/v1/runs", params={"agent_id": agent.id}).json()
    like = {"tool_name": "memory_insert", "arguments": {"label": block.label}}
    http.post(f"/v1/agents/{agent.id}/standing-approvals", json=like).raise_for_status()
    for path, words in (
        ("/inbox", f"memory_insert with label “{block.label}”"),
        ("/inbox", "<ins>a kite was seen</ins>"),
        (f"/runs?agent={agent.id}&status=waiting", newest["id"]),
        (f"/runs/{run['id']}", "+1 line"),
        (f"/runs/{run['id']}/steps/1", "memory_insert(label, new_string, insert_line)"),
        (f"/runs/{run['id']}/steps/2?compare=1", f"{block.label} v2"),
        (f"/blocks/{block.id}/why?line=2", "CALL memory_insert"),
        (f"/blocks/{block.id}/compare?first=1&last=2", "<mark>a heron was seen</mark>"),
        (f"/blocks/{block.id}/history", "+1 line"),
        (f"/blocks/{block.id}/reach?version=2", agent.name),
        (f"/search?q=heron&agent={agent.id}&since=day", "<mark>heron</mark>"),
        (f"/activity?agent={agent.id}", "waits for you"),
        (f"/activity?agent={agent.id}&kind=edit", "a heron was seen"),
    ):
        response = http.get(path)
        assert response.status_code == 200, path
        assert words in response.text.replace("&#34;", '"'), path
