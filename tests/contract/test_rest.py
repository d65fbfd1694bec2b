"""Recorded calls of providers, identities, tags and single questions, made again on a fresh server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

import httpx
import pytest
from comparing import differences
from recordings import HERE, Ids, Recording, make_again, read_recording

from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.openapi import schema_of, violations
from support.scripted_model import ScriptedModel

MODEL_THERE = "http://127.0.0.1:19971/v1"
"""Where the recorded server found its model."""

INSTEAD = {
    "identity upsert new": (200, "an upsert makes what is not there"),
    "provider retrieve after delete (again)": (404, "what is deleted is gone"),
    "provider check dead": (502, "the provider's fault, not the server's"),
}
"""Calls that are answered otherwise here: status, and why. Their answers are looked at for their status alone."""

ALLOWED = (
    ("provider*", "*.api_key_enc: null instead of a string", "a key is shown in no form"),
    (
        "provider*",
        "*.last_synced: null instead of a string",
        "a provider's models are asked for when somebody wants them",
    ),
    ("provider models vllm", "$[]: 4 elements instead of []", "the same"),
    ("agent generate", "$.usage.*: 0 instead of null", "what a provider counts as none"),
    ("identity block*", "*: added", "Folkmoot's own fields of a block"),
    ("identity * block", "*: added", "the same"),
    ("identity *block*", "*_by_id: a string instead of null", "a block's owner is the one user"),
    ("internal * list", "*", "what stands first is another thing; the answer's form is looked at"),
    ("internal agents count", "*", "other agents"),
    ("identity count", "$: 3 instead of 2", "the same as in the list"),
)
"""Differences that are meant: patterns of the call and the difference, and why."""


def load() -> list[Recording]:
    return [read_recording(json.loads(line)) for line in (HERE / "rest.jsonl").read_text().splitlines()]


def stand_ins(http: httpx.Client, recordings: list[Recording], ids: Ids) -> None:
    """Make the agents and blocks that calls name and none of them has made."""
    named = " ".join(json.dumps([each.path, each.request]) for each in recordings)
    for recorded in dict.fromkeys(re.findall(r"(?:agent|block)-[0-9a-f-]{36}", named)):
        if recorded.startswith("agent"):
            live = http.post("/v1/agents", json={"model": MODEL, "tags": ["t1", "x"]}).json()["id"]
        else:
            live = http.post("/v1/blocks", json={"label": "human", "value": "h"}).json()["id"]
        assert ids.pair(recorded, live) is None


def walk(http: httpx.Client, model_url: str) -> Iterator[tuple[str, str]]:
    """Make the calls and yield every difference, the meant ones too."""
    recordings, ids = load(), Ids()
    stand_ins(http, recordings, ids)
    for recording in recordings:
        here = read_recording(json.loads(json.dumps(recording.__dict__).replace(MODEL_THERE, model_url)))
        status, body = make_again(here, ids, http)
        wanted = INSTEAD.get(here.name, (here.status, ""))[0]
        if status != wanted:
            yield here.name, f"status {status} instead of {wanted}: {str(body)[:300]}"
        elif status == here.status:
            yield from ((here.name, each) for each in differences(here.response, body, ids))
        if status == 200:
            yield from ((here.name, f"openapi: {each}") for each in _violations(here, body))


def _violations(recording: Recording, body: object) -> list[str]:
    return [] if "_internal" in recording.path else list(violations(schema_of(recording.method, recording.path), body))


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_the_rest_of_the_recorded_calls(start_server: StartServer, scripted_model: ScriptedModel) -> None:
    server = start_server(env={"FOLKMOOT_PRIVATE_PROVIDERS": "true"})
    with plain_client(server.url) as http:
        found = list(walk(http, scripted_model.base_url))
    covered = [[rule for rule in ALLOWED if _covers(rule, *each)] for each in found]
    unmeant = [each for each, rules in zip(found, covered, strict=True) if not rules]
    assert not unmeant, "\n".join(f"{call}: {difference}" for call, difference in unmeant)
    unneeded = [rule for rule in ALLOWED if not any(rule in rules for rules in covered)]
    assert unneeded == [], "these differences are gone; take them out of the table"


def _covers(rule: tuple[str, str, str], call: str, difference: str) -> bool:
    return fnmatchcase(call, rule[0]) and fnmatchcase(difference, rule[1].replace("[", "[[]"))
