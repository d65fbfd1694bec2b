"""The recorded calls of servers of tools, made again in their order, are answered as the contract says, or better."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx
import pytest
from comparing import differences
from expectations import ALLOWED, Allowed
from recordings import Ids, Recording, load_recordings, make_again

from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.openapi import schema_of, violations
from support.tool_servers import FORKED_TOOL_SERVER, TOOL_SERVER, running

RECORDINGS = load_recordings("mcp_recordings.jsonl")
AGENT = "agent-2e5b897d-da36-411d-8ae4-640ac062fac2"

ELSEWHERE = {
    "mcp create loopback literal": "this server may reach private addresses; tests/http/test_mcp_servers.py",
    "mcp create localhost": "the same",
    "mcp refresh with a new tool": "the recorded server had one more by then; tests/http/test_mcp_servers.py",
    "mcp update type change": "is done here, and was ignored; it would change what the calls behind it see",
    "mcp http tool run": "by the identifier of another server's tool, which was one row with this one's",
    "mcp sse tool run": "the same",
    "mcp tools list by type": "a page of two tools, where there are other ones",
}
"""Recorded calls that are not made here, and why."""

MEANT = (
    Allowed("*mcp*", "$*.env.K: '*' instead of '*'", "secrets are not shown"),
    Allowed("*mcp*", "$*.auth_token: 'Bearer ***' instead of *", "secrets are not shown"),
    Allowed("*mcp*", "$*.custom_headers.X-A: '*' instead of '1'", "secrets are not shown"),
    Allowed("old mcp *", "$*.auth_header: a string instead of null", "what was sent is kept in the older form too"),
    Allowed("old mcp *", "$*.auth_token: a string instead of null", "what was sent is kept in the older form too"),
    *(
        Allowed("*mcp*", f"$*.{name}: null instead of *", "a tool of a server has no source here")
        for name in ("source_type", "source_code", "args_json_schema")
    ),
    Allowed("*mcp*", "$*.request_heartbeat: missing", "no tool takes it, other than with the agents that had it"),
    Allowed("*mcp*", "$*.parameters.required[]: *", "so that it is not demanded either"),
    Allowed("*mcp*", "$*.parameters.required: missing", "so that it is not demanded either"),
    Allowed("*mcp*", "$*.additionalProperties: missing", "a schema is passed on as its server has it"),
    Allowed("*mcp*", "$*.metadata_.tool_hash: missing", "nobody reads it"),
    Allowed("*mcp*", "$*.metadata_.mcp.tool: added", "what its server calls it"),
    Allowed("*mcp*", "$*.id: tool-* where tool-* was tool-* before", "each server has its own tools"),
    Allowed("*mcp*", "$*.tags[]: 'mcp:* instead of *", "no other server takes them over"),
    Allowed("*mcp*", "$*.metadata_.mcp.server_*", "no other server takes them over"),
    Allowed("*mcp*", "$*.json_schema.mcp:SCHEMA_*", "an argument with a default is not demanded, which is not strict"),
    Allowed("old mcp*", "$*.health.*", "an argument with a default is not demanded, which is not strict"),
    Allowed("*mcp*", "$*.health: added", "whether agents can be given a tool is told by every listing"),
    Allowed("*mcp connect*", "$*.meta: missing", "is called _meta, as in every other listing"),
    Allowed("*mcp connect*", "$*._meta: added", "is called _meta, as in every other listing"),
    Allowed("*mcp*", "$*.outputSchema*", "that of the tests' server"),
    Allowed("mcp attach *", "$: an object instead of null", "the agent, as with a block"),
    Allowed("mcp turn after delete", "$*.stderr: a list instead of null", "every failed call has it"),
    Allowed("old mcp test dead", "$.detail: added", "as every error has it"),
    Allowed("old mcp test dead", "$.error.message: *", "our own words"),
)
"""Differences that are meant."""

MORE = ("grow", "shrink", "picture", "wait", "process", "header_value")
"""Tools that the tests' server has, and the recorded one had not."""


def _not_found(recording: Recording) -> Recording:
    """What is not there is no fault of the server's."""
    return dataclasses.replace(recording, status=404, response={"detail": ""})


def _nothing_new(recording: Recording) -> Recording:
    """Only what is new is among what was added; what else a look came to is told too."""
    return dataclasses.replace(
        recording, response={name: [] for name in ("deleted", "updated", "added", "agents", "refused")}
    )


def _works_here(recording: Recording) -> Recording:
    """A server that was given another name kept its tools, so that agents can call them."""
    response = json.loads(json.dumps(recording.response))
    for said in [response, *response.get("messages", [])]:
        for each in [said, *(said.get("tool_returns") or [])]:
            if each.get("status") == "error":
                each.update(status="success", stderr=None)
                if "func_return" in each:
                    each["func_return"] = "2"
    return dataclasses.replace(recording, response=response)


INSTEAD: dict[str, Callable[[Recording], Recording]] = {
    "mcp tool retrieve unknown": _not_found,
    "old mcp add tool unknown": _not_found,
    **dict.fromkeys(("mcp turn add", "mcp turn dict", "mcp turn env", "mcp agent tool run"), _works_here),
    "mcp http refresh": _nothing_new,
    "mcp sse refresh": _nothing_new,
    "mcp refresh": _nothing_new,
    "mcp refresh with a tool gone": _nothing_new,
    "old mcp resync": _nothing_new,
}


def _walk(http: httpx.Client, there: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Make the calls and yield every difference; `there` says what here stands for what was there."""
    made = http.post("/v1/agents", json={"name": "with tools of servers", "model": MODEL}).raise_for_status().json()
    ids = Ids({AGENT: made["id"]}, {made["id"]: AGENT})
    for recording in RECORDINGS:
        if recording.name in ELSEWHERE:
            continue
        wanted = INSTEAD.get(recording.name, lambda same: same)(recording)
        status, body = make_again(
            dataclasses.replace(recording, request=_replaced(recording.request, there)), ids, http
        )
        body = _replaced(body, {here: recorded for recorded, here in there.items()})
        if status != wanted.status:
            yield recording.name, f"status {status} instead of {wanted.status}: {str(body)[:300]}"
            continue
        for difference in differences(wanted.response, _without_more(body), ids):
            yield recording.name, difference
        if status == 200:
            for violation in violations(schema_of(recording.method, recording.path), body):
                yield recording.name, f"openapi: {violation}"


def _without_more(body: Any) -> Any:
    """Return a body without the tools that the recorded server had not."""
    if isinstance(body, list):
        return [_without_more(each) for each in body if not (isinstance(each, dict) and each.get("name") in MORE)]
    if isinstance(body, dict) and "tools" in body:
        return {**body, "tools": _without_more(body["tools"])}
    return body


def _replaced(value: object, texts: dict[str, str]) -> object:
    text = json.dumps(value)
    for one, other in texts.items():
        text = text.replace(one, other)
    return json.loads(text)


def test_recorded_calls_of_servers_of_tools_are_answered_as_recorded(start_server: StartServer) -> None:
    # without walls, which stand between a program and its fork, and of which no answer tells
    server = start_server(env={"FOLKMOOT_PRIVATE_MCP_SERVERS": "true", "FOLKMOOT_TOOL_SANDBOX": "trusted"})
    with (
        running(TOOL_SERVER, "older-http") as by_http,
        running(TOOL_SERVER, "sse") as by_sse,
        running(TOOL_SERVER, "forks") as forks,
        plain_client(server.url) as http,
    ):
        there = {
            '"command": "python"': f'"command": {json.dumps(sys.executable)}',
            '"args": ["mock_mcp_server.py"]': f'"args": {json.dumps([str(FORKED_TOOL_SERVER), forks])}',
            "http://vm:19981/mcp": by_http,
            "http://vm:19982/sse": by_sse,
        }
        found = list(_walk(http, there))
    unmeant = [each for each in found if not any(allowed.covers(*each) for allowed in (*ALLOWED, *MEANT))]
    assert not unmeant, "\n".join(f"{difference}  ({name})" for name, difference in unmeant)
    assert [allowed for allowed in MEANT if not any(allowed.covers(*each) for each in found)] == [], "these are gone"


@pytest.mark.parametrize("table", [ELSEWHERE, INSTEAD], ids=["ELSEWHERE", "INSTEAD"])
def test_every_name_in_a_table_is_that_of_a_recorded_call(table: Iterable[str]) -> None:
    assert set(table) - {recording.name for recording in RECORDINGS} == set()
