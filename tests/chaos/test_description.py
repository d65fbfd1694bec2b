"""The API's description is true: whatever is sent, no answer is a server's fault or one that the description lacks.

Schemathesis makes requests from `/openapi.json`, good and bad ones, and they name what is there as often as not.
"""

from __future__ import annotations

import random
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from support.fixtures import StartServer
from support.polling import PATIENCE

EXAMPLES = 60
"""Requests for each operation."""

ENDLESS = frozenset({"/v1/blocks/{block_id}/watch", "/v1/agents/{agent_id}/core-memory/watch", "/events"})
"""Streams that go on for ever; their refusals are tested elsewhere."""

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
NOT_BUILT = 501


def things(http: httpx.Client) -> dict[str, str]:
    """Make one of everything and return the identifiers, by the names of path parameters."""
    block = http.post("/v1/blocks", json={"label": "notes", "value": "one\ntwo"}).json()
    agent = http.post("/v1/agents", json={"name": "fuzzed", "block_ids": [block["id"]], "tags": ["a"]}).json()
    turn = http.post(f"/v1/agents/{agent['id']}/messages", json={"input": "hello"}).json()
    conversation = http.post("/v1/conversations", params={"agent_id": agent["id"]}, json={}).json()
    message = turn["messages"][0]
    return {
        "block_id": block["id"],
        "block_label": "notes",
        "agent_id": agent["id"],
        "conversation_id": conversation["id"],
        "message_id": message["id"],
        "run_id": message["run_id"],
        "step_id": message["step_id"],
        "tool_id": agent["tools"][0]["id"],
        "tool_name": agent["tools"][0]["name"],
        "version": "1",
    }


@pytest.mark.chaos
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_no_answer_is_a_fault_or_missing_in_the_description(start_server: StartServer) -> None:
    server = start_server()
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as http:
        schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        schema.config.generation.with_security_parameters = False
        operations = [result.ok() for result in schema.get_all_operations()]
        finite = [operation for operation in operations if operation.path not in ENDLESS]
        assert len(finite) > 80
        faults = [fault for operation in finite for fault in _faults(operation, http, server.url)]
    assert not faults, "\n\n".join(faults)


def _faults(operation: Any, http: httpx.Client, url: str) -> list[str]:
    """Return the first fault of an operation, if it has one."""
    found = things(http)
    chance = random.Random(operation.label)

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Any) -> None:
        for name in case.path_parameters or {}:
            if name in found and chance.random() < 0.7:
                case.path_parameters[name] = found[name]
        response = case.call(base_url=url, timeout=PATIENCE)
        if response.status_code == NOT_BUILT:
            return
        streamed = response.headers.get("content-type", [""])[0].startswith("text/event-stream")
        case.validate_response(response, checks=CHECKS[:2] if streamed else CHECKS)

    try:
        run()
    except (Exception, FailureGroup) as error:  # every operation is looked at before the test fails
        return [f"{operation.label}: {error}"]
    return []
