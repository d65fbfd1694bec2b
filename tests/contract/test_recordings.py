"""The recorded calls, made again in their order on a fresh server, are answered as the contract says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from expectations import ALLOWED, ELSEWHERE, INSTEAD, SHAPE_ONLY, expected
from findings import Finding, differences_of, judge
from recordings import Ids, Recording, load_recordings, make_again

from support.clients import plain_client
from support.fixtures import StartServer
from support.polling import until

RECORDINGS = load_recordings()

SOURCES = {
    "<source_code: 174 characters>": (
        'def add(a: int, b: int) -> int:\n    """Add two numbers.\n\n    Args:\n        a: First.\n'
        '        b: Other.\n    """\n    return a + b\n'
    ),
    "<source_code: 12 characters>": "def broken(:",
}
"""What stands for the sources of the recorded tools."""


def _walk(http: httpx.Client) -> Iterator[Finding]:
    """Make the calls and yield every difference, the meant ones too."""
    ids = Ids()
    for recording in RECORDINGS:
        if recording.name in ELSEWHERE:
            continue
        for difference in _made_again(recording, ids, http):
            yield Finding(recording.name, difference)


def _made_again(recording: Recording, ids: Ids, http: httpx.Client) -> Iterator[str]:
    wanted = expected(recording)
    status, body = make_again(_with_source(recording), ids, http)
    if recording.name == "message async" and status == 200:  # the calls that follow look at the run when it is over
        with http.stream("GET", f"/v1/runs/{body['id']}/stream") as stream:
            stream.read()
    if recording.name == "file upload" and status == 200:  # and at the file when it was read
        until(lambda: not http.get("/v1/jobs", params={"source_id": body["source_id"], "active": True}).json())
    yield from differences_of(
        wanted,
        status,
        body,
        ids,
        shape_only=recording.name in SHAPE_ONLY,
        count=recording.name in ("block count", "agent count"),
    )


def _with_source(recording: Recording) -> Recording:
    """Return a recording with a tool's source, of which only the length was kept."""
    if not isinstance(recording.request, dict) or "source_code" not in recording.request:
        return recording
    return replace(recording, request={**recording.request, "source_code": SOURCES[recording.request["source_code"]]})


def test_recorded_calls_are_answered_as_recorded(start_server: StartServer) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        findings = list(_walk(http))
    judge(findings, ALLOWED)


@pytest.mark.parametrize("table", [ELSEWHERE, SHAPE_ONLY, INSTEAD], ids=["ELSEWHERE", "SHAPE_ONLY", "INSTEAD"])
def test_every_name_in_a_table_is_that_of_a_recorded_call(table: object) -> None:
    assert isinstance(table, frozenset | dict)
    assert set(table) - {recording.name for recording in RECORDINGS} == set()


def test_every_recorded_call_has_a_name_of_its_own() -> None:
    names = [recording.name for recording in RECORDINGS]
    assert len(set(names)) == len(names) == 123
