"""Real programs get what they read: their recorded calls, made again in their order, are answered as recorded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fields_read import differences
from found_there import set_up
from program_marks import MARKS, Mark, expected_status
from replaying import COUNTER, PROGRAMS, Call, Counter, Replay, load_calls

from support.clients import plain_client
from support.fixtures import StartServer
from support.server import ServerProcess
from support.tool_servers import running

STARTS = 5
DOCS = Path(__file__).parent.parent.parent / "docs" / "programs.md"


@dataclass(frozen=True)
class Finding:
    """A call's difference from what is recorded, and the mark that covers it."""

    call: Call
    difference: str
    mark: Mark | None


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_programs_read_what_they_read_before(start_server: StartServer) -> None:
    """One test for all, since what they tell together says which marks are needed: it walks through them once."""
    server = start_server(env={"FOLKMOOT_PRIVATE_MCP_SERVERS": "true"})
    findings: dict[str, list[Finding]] = {}
    with plain_client(server.url) as http, running(COUNTER, "http") as address:
        _wait_for_models(server, http)
        for program in PROGRAMS:
            findings[program] = list(_walk(load_calls(program), Replay(http, Counter(address))))
            _empty(http)
    everything = [finding for found in findings.values() for finding in found]
    unmeant = [finding for finding in everything if finding.mark is None]
    assert not unmeant, _report(unmeant)
    unneeded = [str(mark) for mark in MARKS if not any(finding.mark is mark for finding in everything)]
    assert unneeded == [], "what these wait for is here, or the difference is gone; take them out of the table"
    assert _told_by_the_docs() >= set(PROGRAMS)


def _told_by_the_docs() -> set[str]:
    """Return the programs that have a row."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in DOCS.read_text().splitlines()]
    return {row[0] for row in rows if len(row) == 3}


def _wait_for_models(server: ServerProcess, http: httpx.Client) -> None:
    """See to it that the scripted model's list was read; a busy machine can take longer than a server waits for it."""
    for _ in range(STARTS):
        if any(model["handle"].startswith("openai/") for model in http.get("/v1/models").json()):
            return
        server.restart()
    raise AssertionError(server.log())


def _walk(calls: list[Call], replay: Replay) -> Iterator[Finding]:
    """Make a program's calls and yield every difference."""
    set_up(replay, calls)
    for call in _without_repetitions(calls):
        status = expected_status(call)
        if status is None or not replay.is_possible(call):
            replay.miss(call)
            continue
        for line in _made_again(call, status, replay):
            yield Finding(call, line, _mark(call, line))


def _without_repetitions(calls: Iterable[Call]) -> Iterator[Call]:
    """Leave out what was asked and answered before in the same way, with nothing done since."""
    asked: list[Call] = []
    for call in calls:
        if call.method != "GET":
            asked.clear()
        elif any(call.repeats(each) for each in asked):
            continue
        else:
            asked.append(call)
        yield call


def _made_again(call: Call, expected: int, replay: Replay) -> Iterator[str]:
    status, body = replay.make(call)
    if status != expected:
        yield f"status {status} instead of {expected}: {str(body)[:300]}"
    elif status == call.status:
        yield from differences(call.response, body, replay.ids, replay.waiting)


def _mark(call: Call, difference: str) -> Mark | None:
    return next((mark for mark in MARKS if mark.covers(call, difference)), None)


def _empty(http: httpx.Client) -> None:
    """Take away what a program left."""
    own_only = {"tool_types": "custom"}
    for kind in ("agents", "archives", "blocks", "folders", "mcp-servers", "providers", "runs", "tools"):
        while things := http.get(f"/v1/{kind}", params={"limit": 100, **(own_only if kind == "tools" else {})}).json():
            for thing in things:
                http.delete(f"/v1/{kind}/{thing['id']}")


def _report(findings: Iterable[Finding]) -> str:
    """Return each difference once, with the calls that show it."""
    calls: defaultdict[str, list[str]] = defaultdict(list)
    for finding in findings:
        calls[f"{finding.call.name}  {finding.difference}"].append(finding.call.where)
    lines = (f"{difference}\n      {len(where)} times, first {where[0]}" for difference, where in calls.items())
    return f"{len(calls)} differences:\n" + "\n".join(lines)
