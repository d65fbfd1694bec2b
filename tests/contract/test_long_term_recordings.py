"""The recorded calls about archives, passages, folders, files and jobs are answered as the contract says."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

import httpx
import pytest
from expectations import ANYTHING
from findings import Finding, differences_of, judge
from long_term import (
    LATE_FOLDER,
    REPLACED,
    REPLACING,
    learn,
    make_folder,
    set_up,
    undo,
    upload_of,
    with_long_texts,
    without_what_is_refused,
)
from long_term_expectations import ALLOWED, INSTEAD, SHAPE_ONLY
from recordings import Ids, load_recordings, make_again

from support.clients import plain_client
from support.fixtures import StartServer
from support.polling import until

NO_SCHEMA = re.compile("/v1/sources|/sources|GET /v1/archives/[^/]+/passages")
"""Calls whose answers' shape the contract does not tell: of older clients, and Folkmoot's own."""

RECORDINGS = load_recordings("recordings_long_term.jsonl.xz", {REPLACING: REPLACED})


def _walk(http: httpx.Client) -> Iterator[Finding]:
    """Make the calls and yield every difference, the meant ones too."""
    ids = Ids()
    set_up(http, ids)
    for recording in RECORDINGS:
        if recording.name == "folder modify ok":
            assert ids.pair(LATE_FOLDER, make_folder(http, name="late")) is None
        sent = dataclasses.replace(recording, request=with_long_texts(recording.request))
        status, body = make_again(sent, ids, http, upload_of(recording))
        _wait_for_jobs(http)
        wanted = INSTEAD[recording.name](recording) if recording.name in INSTEAD else recording
        if wanted.response is not ANYTHING:
            wanted = dataclasses.replace(wanted, response=without_what_is_refused(wanted.response))
            learn(wanted.response, body, ids)
        undo(recording, body, ids, http)
        found = differences_of(
            wanted,
            status,
            body,
            ids,
            shape_only=recording.name in SHAPE_ONLY,
            has_schema=not NO_SCHEMA.search(f"{recording.method} {recording.path}"),
        )
        yield from (Finding(recording.name, difference) for difference in found)


def _wait_for_jobs(http: httpx.Client) -> None:
    """Wait until what the call set going is done, so that the next call finds it so."""
    until(lambda: not http.get("/v1/jobs/active").raise_for_status().json())


def test_recorded_calls_are_answered_as_recorded(start_server: StartServer) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        findings = list(_walk(http))
    judge(findings, ALLOWED)


@pytest.mark.parametrize("table", [SHAPE_ONLY, INSTEAD], ids=["SHAPE_ONLY", "INSTEAD"])
def test_every_name_in_a_table_is_that_of_a_recorded_call(table: dict[str, object]) -> None:
    names = [recording.name for recording in RECORDINGS]
    assert len(set(names)) == len(names) == 248
    assert set(table) - set(names) == set()
