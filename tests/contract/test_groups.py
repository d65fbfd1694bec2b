"""The recorded calls about groups and sleep-time agents, made again in their order; what differs is meant.

An agent's answer is recorded with the fields that tell of groups, and is compared in those.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from comparing import differences
from expectations import Allowed
from recordings import Ids, Recording, make_again

from runs.talking import followed, ok
from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.openapi import schema_of, violations

LINES = [json.loads(line) for line in (Path(__file__).parent / "groups.jsonl").read_text().splitlines()]

AGENTS = {
    "agent-9cceed9c-f8d5-4f4b-bf07-beee8465b89b": "member a",
    "agent-6df09b8e-1e3e-465a-8823-873779c50fcf": "member b",
    "agent-9144b72d-6990-43ac-a98a-d1df84d40c2c": "manager m",
    "agent-a662e425-9d8b-45f0-828f-ccacf2ce8c81": "manager d",
    "agent-fd8237b9-75a1-4bec-8275-c39ff4958e25": "manager s",
}
"""Those that were there before."""

BLOCK = "block-dff503a7-e676-40d8-a66c-af44b8634cb5"

OTHER_STATUS: Mapping[str, tuple[int, str]] = {
    "group message send": (200, "a group answers here"),
    "group message stream": (200, "the same"),
    "manager agent delete": (200, "a manager may go; its groups go with it"),
    "group after manager delete": (404, "the same"),
}

MEANT = (
    Allowed("*", "$*shared_block_ids[]: *", "the blocks that a group shares are told"),
    Allowed("sleeptime group after messages", "$.turns_counter: *", "who tends a memory does, whoever made the group"),
    Allowed("sleeptime group after messages", "$.last_processed_message_id: *", "the same"),
    Allowed("sleeptime manager message *", "$.usage.run_ids: *", "the same"),
    Allowed("sleeptime group after", "$.last_processed_message_id: *", "of the turn that is made again"),
    Allowed("group after member delete", "$.agent_ids[]: *", "who is gone is in no group"),
)


def test_recorded_calls_about_groups_are_answered_as_recorded(start_server: StartServer) -> None:
    server, ids = start_server(), Ids()
    found: list[tuple[str, str]] = []
    with plain_client(server.url) as http:
        for recorded, name in AGENTS.items():
            ids.pair(recorded, ok(http.post("/v1/agents", json={"name": name, "model": MODEL}))["id"])
        ids.pair(BLOCK, ok(http.post("/v1/blocks", json={"label": "board", "value": "shared board"}))["id"])
        for line in LINES:
            found += [(line["name"], difference) for difference in _made_again(line, ids, http)]
    unmeant = [each for each in found if not any(allowed.covers(*each) for allowed in MEANT)]
    assert not unmeant, "\n".join(f"{name}: {difference}" for name, difference in unmeant)
    assert [allowed for allowed in MEANT if not any(allowed.covers(*each) for each in found)] == []


def _made_again(line: dict[str, Any], ids: Ids, http: httpx.Client) -> list[str]:
    name, wanted = line["name"], line["status"]
    recording = Recording(
        name, line["method"], line["path"], line.get("query") or {}, line.get("request"), None, wanted, line["response"]
    )
    status, body = make_again(recording, ids, http)
    other, _ = OTHER_STATUS.get(name, (wanted, ""))
    if status != other:
        return [f"status {status} instead of {other}: {str(body)[:300]}"]
    if isinstance(body, dict) and "usage" in body:  # the calls that follow look at what came of it
        for run_id in body["usage"]["run_ids"] or ():
            _wait_for_run(http, run_id)
    if wanted != 200 or other != 200:
        return []
    broken = [f"openapi: {each}" for each in violations(schema_of(line["method"], line["path"]), body)]
    return [*broken, *differences(line["response"], _as_recorded(line["response"], body), ids)]


def _as_recorded(recorded: Any, live: Any) -> Any:
    """Return of agents and blocks, whose other fields are compared elsewhere, those that are recorded here."""
    if isinstance(recorded, list) and isinstance(live, list):
        return [_as_recorded(recorded[0] if recorded else None, each) for each in live]
    if isinstance(recorded, dict) and ("agent_type" in recorded or "label" in recorded):
        return {name: live[name] for name in recorded}
    return live


def _wait_for_run(http: httpx.Client, run_id: str) -> None:
    while http.get(f"/v1/runs/{run_id}").status_code == 404:
        """It is stored a moment behind the turn that set it off."""
    followed(http, run_id)


@pytest.mark.parametrize("name", [*OTHER_STATUS])
def test_every_call_that_is_answered_otherwise_is_a_recorded_one(name: str) -> None:
    assert name in {line["name"] for line in LINES}
