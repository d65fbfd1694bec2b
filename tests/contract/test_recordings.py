"""The recorded calls, made again in their order on a fresh server, are answered as the contract says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import httpx
import pytest
from comparing import differences, shape_differences
from expectations import ALLOWED, ANYTHING, ELSEWHERE, INSTEAD, LATER, SHAPE_ONLY, expected
from openapi import schema_of, violations
from recordings import Ids, Recording, load_recordings, make_again

from support.fixtures import StartServer
from support.polling import until

RECORDINGS = load_recordings()


@dataclass(frozen=True)
class Finding:
    """A call's difference from what is recorded."""

    call: str
    difference: str


def _walk(http: httpx.Client) -> Iterator[Finding]:
    """Make the calls and yield every difference, the meant ones too."""
    ids = Ids()
    for recording in RECORDINGS:
        if recording.name in LATER | ELSEWHERE:
            continue
        for difference in _made_again(recording, ids, http):
            yield Finding(recording.name, difference)


def _made_again(recording: Recording, ids: Ids, http: httpx.Client) -> Iterator[str]:
    wanted = expected(recording)
    status, body = make_again(recording, ids, http)
    if status != wanted.status:
        yield f"status {status} instead of {wanted.status}: {str(body)[:300]}"
        return
    if recording.name == "message async":  # the calls that follow look at the run when it is over
        with http.stream("GET", f"/v1/runs/{body['id']}/stream") as stream:
            stream.read()
    if recording.name == "file upload":  # and at the file when it was read
        until(lambda: not http.get("/v1/jobs", params={"source_id": body["source_id"], "active": True}).json())
    if wanted.response is ANYTHING:
        pass
    elif recording.name in SHAPE_ONLY:
        yield from shape_differences(wanted.response, body)
    elif recording.name == "block count" or recording.name == "agent count":
        if not isinstance(body, int) or body < 1:
            yield f"{body!r} is no count"
    else:
        yield from differences(wanted.response, body, ids)
    if status == 200:
        found = violations(schema_of(recording.method, recording.path), body)
        yield from (f"openapi: {violation}" for violation in found)


def _report(findings: Iterable[Finding]) -> str:
    """Return each difference once, with the calls that show it."""
    calls: defaultdict[str, list[str]] = defaultdict(list)
    for finding in findings:
        calls[finding.difference].append(finding.call)
    lines = (f"{difference}  ({', '.join(dict.fromkeys(names))})" for difference, names in calls.items())
    return f"{len(calls)} differences:\n" + "\n".join(lines)


def test_recorded_calls_are_answered_as_recorded(start_server: StartServer) -> None:
    server = start_server()
    with httpx.Client(base_url=server.url, timeout=60) as http:
        findings = list(_walk(http))
    unmeant = [
        finding
        for finding in findings
        if not any(allowed.covers(finding.call, finding.difference) for allowed in ALLOWED)
    ]
    assert not unmeant, _report(unmeant)
    stale = [
        allowed
        for allowed in ALLOWED
        if not any(allowed.covers(finding.call, finding.difference) for finding in findings)
    ]
    assert stale == [], "these differences are gone; take them out of the table"


@pytest.mark.parametrize(
    "table", [LATER, ELSEWHERE, SHAPE_ONLY, INSTEAD], ids=["LATER", "ELSEWHERE", "SHAPE_ONLY", "INSTEAD"]
)
def test_every_name_in_a_table_is_that_of_a_recorded_call(table: object) -> None:
    assert isinstance(table, frozenset | dict)
    assert set(table) - {recording.name for recording in RECORDINGS} == set()


def test_every_recorded_call_has_a_name_of_its_own() -> None:
    names = [recording.name for recording in RECORDINGS]
    assert len(set(names)) == len(names) == 123
