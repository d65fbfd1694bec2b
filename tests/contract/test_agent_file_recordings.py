"""Agent files of the retired server, and its recorded answers to them: statuses, agents, and the form of a file."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.fixtures import MODEL

RECORDED = {
    recording["name"]: recording
    for line in lzma.decompress((Path(__file__).parent / "agent_files.jsonl.xz").read_bytes()).decode().splitlines()
    for recording in [json.loads(line)]
}
IMPORTS = [name for name, recording in RECORDED.items() if recording["path"] == "/v1/agents/import"]
FILE = RECORDED["export"]["response"]
FOLDER_FILE = RECORDED["export with folder and passages"]["response"]


def changed(**changes: Any) -> dict[str, Any]:
    """Return the file with other fields of its agent."""
    return {**FILE, "agents": [{**FILE["agents"][0], **changes}]}


def without(field: str) -> dict[str, Any]:
    """Return the file without a field of its agent."""
    return {**FILE, "agents": [{name: value for name, value in FILE["agents"][0].items() if name != field}]}


SENT: dict[str, Any] = {
    "import not json": b"this is no json",
    "import double encoded": json.dumps(FILE),
    "import legacy shape": {"agent_type": "memgpt_agent", "core_memory": []},
    "import empty object": {},
    "import empty agents": {**FILE, "agents": []},
    "import missing llm_config": without("llm_config"),
    "import dangling tool id": changed(tool_ids=["tool-99"]),
    "import dangling block id": changed(block_ids=["block-99"]),
    "import dangling message id": changed(in_context_message_ids=["message-99"]),
    "import duplicate entity id": {**FILE, "blocks": [*FILE["blocks"], FILE["blocks"][0]]},
    "import without created_at": {name: value for name, value in FILE.items() if name != "created_at"},
    "import unknown fields": {**changed(strange=1), "stranger": [2]},
    "import unknown agent_type": changed(agent_type="king"),
    "import rule of missing tool": {**changed(tool_ids=[]), "tools": []},
    "import with folder": FOLDER_FILE,
}
"""What a recording sent where that was not the plain file."""


@pytest.mark.parametrize("name", IMPORTS)
def test_a_file_is_answered_as_recorded(http: httpx.Client, name: str) -> None:
    recording = RECORDED[name]
    fields = {n: v for n, v in (recording.get("multipart") or {}).items() if n not in ("file", "bytes")}
    if "model" in fields and recording["status"] == 200:
        fields["model"] = MODEL
    sent = SENT.get(name, FILE)
    data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    files = {} if name == "import no file" else {"file": ("a.af", data)}
    answer = http.post("/v1/agents/import", files=files, data=fields, headers=recording.get("headers") or {})
    assert answer.status_code == recording["status"], answer.text
    if answer.status_code != 200:
        assert answer.json()["detail"], "and says why"
        return
    made = answer.json()["agent_ids"]
    assert len(made) == len(recording["response"]["agent_ids"])
    follower = _looked_at_after(name)
    if follower is None or not made:
        return
    there = http.get(
        f"/v1/agents/{made[0]}", params={"include": ["agent.blocks", "agent.tools", "agent.secrets"]}
    ).json()
    for field in ("name", "agent_type", "system", "description", "metadata", "timezone", "project_id", "tags"):
        assert there[field] == follower[field], field
    for things, field in (("blocks", "label"), ("blocks", "value"), ("tools", "name")):
        assert sorted(each[field] for each in there[things]) == sorted(each[field] for each in follower[things])
    here = {secret["key"]: secret["value"] for secret in there["secrets"]}
    for secret in follower["secrets"] or ():
        assert secret["value"] in ("<encrypted>", here[secret["key"]])


def _looked_at_after(name: str) -> dict[str, Any] | None:
    """Return the agent that the retired server showed after an import."""
    names = list(RECORDED)
    following = names[names.index(name) + 1 :][:1]
    recording = RECORDED[following[0]] if following else None
    shown = recording is not None and recording["path"].count("/") == 3 and recording["status"] == 200
    if recording is None or not shown or "system" not in recording["response"]:
        return None
    found: dict[str, Any] = recording["response"]
    return found


def test_a_file_of_ours_has_all_that_theirs_has(http: httpx.Client) -> None:
    """So that the retired server, and others that read its files, take it."""
    answer = http.post("/v1/agents/import", files={"file": ("a.af", json.dumps(FOLDER_FILE).encode())})
    (agent_id,) = answer.json()["agent_ids"]
    ours = http.get(f"/v1/agents/{agent_id}/export").json()
    assert ours.keys() - {"folkmoot"} == FOLDER_FILE.keys()
    for section in ("agents", "blocks", "tools", "sources", "files"):
        for theirs, own in zip(FOLDER_FILE[section], ours[section], strict=True):
            assert theirs.keys() - own.keys() == set(), section
            assert {name: type(value) for name, value in own.items() if name in theirs and value is not None}
    wanted = FOLDER_FILE["agents"][0]["messages"]
    assert [row["role"] for row in ours["agents"][0]["messages"]] == [row["role"] for row in wanted]
    for theirs, own in zip(wanted, ours["agents"][0]["messages"], strict=True):
        assert theirs.keys() - own.keys() == set()
    with_skills = RECORDED["export post with skills"]
    sent = http.post(f"/v1/agents/{agent_id}/export", json=with_skills["request"]).json()
    assert (sent["skills"], sent["agents"][0]["messages"]) == (with_skills["response"]["skills"], [])
    bad = http.post(f"/v1/agents/{agent_id}/export", json=RECORDED["export post bad skill"]["request"])
    assert bad.status_code == RECORDED["export post bad skill"]["status"]
    legacy = http.get(f"/v1/agents/{agent_id}/export", params={"use_legacy_format": True})
    assert legacy.status_code == RECORDED["export legacy format"]["status"]
