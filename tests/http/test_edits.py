"""Edits by HTTP: those of the agents' tools, for programs; what they keep, what they refuse, what they overwrite."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest
from assertions import UNKNOWN, assert_error
from letta_client import Letta

from folkmoot.memory.edits import KINDS
from support.fixtures import NewAgent, NewBlock, one_store


def edit(http: httpx.Client, block: Any, kind: str, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    return http.post(f"/v1/blocks/{block.id}/edits", json={"kind": kind, **fields}, headers=headers)


def value(http: httpx.Client, block: Any) -> str:
    return str(http.get(f"/v1/blocks/{block.id}").json()["value"])


@pytest.mark.parametrize(
    ("kind", "fields", "after"),
    [
        ("insert", {"new_string": "new"}, "one\ntwo\nnew"),
        ("insert", {"new_string": "new", "insert_line": 1}, "one\nnew\ntwo"),
        ("append", {"content": "new"}, "one\ntwo\nnew"),
        ("replace", {"old_string": "one", "new_string": "new"}, "new\ntwo"),
        ("rethink", {"new_memory": "new"}, "new"),
        ("patch", {"patch": " one\n-two\n+new"}, "one\nnew"),
    ],
)
def test_each_edit_of_the_tools_is_there(
    http: httpx.Client, new_block: NewBlock, new_agent: NewAgent, kind: str, fields: dict[str, Any], after: str
) -> None:
    block = new_block(value="one\ntwo")
    answer = edit(http, block, kind, **fields)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert (answer.json()["value"], answer.json()["version"]) == (after, 2)
    assert http.get(f"/v1/blocks/{block.id}/history").json()[0]["edit"]["kind"] == kind
    of_agent = new_block(value="one\ntwo")
    agent = new_agent(block_ids=[of_agent.id])
    path = f"/v1/agents/{agent.id}/core-memory/blocks/{of_agent.label}/edits"
    answer = http.post(path, json={"kind": kind, **fields})
    assert (answer.json()["value"], answer.json()["access"]) == (after, "write")


def test_every_kind_that_agents_have_can_be_asked_for(http: httpx.Client) -> None:
    """All kinds of a history but those that have routes of their own."""
    schemas = http.get("/openapi.json").json()["components"]["schemas"].values()
    kinds = {schema["properties"]["kind"]["const"] for schema in schemas if "const" in _kind(schema)}
    assert kinds == set(KINDS) - {"set_text", "revert", "undo"}


def _kind(schema: dict[str, Any]) -> dict[str, Any]:
    kind: dict[str, Any] = schema.get("properties", {}).get("kind", {})
    return kind if schema.get("title", "").endswith("Edit") else {}


def test_a_refusal_changes_nothing_and_tells_the_text(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one\none", limit=10)
    for kind, fields, code in (
        ("replace", {"old_string": "one", "new_string": "two"}, "many_matches"),
        ("replace", {"old_string": "three", "new_string": "two"}, "no_match"),
        ("insert", {"new_string": "x", "insert_line": 9}, "bad_edit"),
        ("append", {"content": "much too long"}, "over_limit"),
    ):
        answer = edit(http, block, kind, **fields)
        assert_error(answer, 422)
        told = answer.json()
        assert (told["code"], told["current_version"], told["value"]) == (code, 1, "one\none")
    assert value(http, block) == "one\none"


@one_store
def test_a_very_long_text_is_not_sent_back_whole(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="x" * 1_000_001, limit=2_000_000)
    answer = edit(http, block, "replace", old_string="y", new_string="z")
    assert (answer.status_code, answer.json()["value"], len(answer.content) < 10_000) == (422, None, True)


@one_store
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"kind": "set_text", "text": "x"}, "kind has to be insert, append, replace, rethink or patch"),
        ({"kind": ["insert"], "new_string": "x"}, "kind has to be"),
        ([], "kind has to be"),
        ({"kind": "insert"}, "new_string"),
        ({"new_string": "x"}, "kind has to be insert, append, replace, rethink or patch"),
        ({"kind": "insert", "new_string": "a\0b"}, "new_string"),
        ({"kind": "insert", "new_string": "x", "insert_line": "last"}, "insert_line"),
    ],
)
def test_what_is_no_edit_is_refused(http: httpx.Client, new_block: NewBlock, body: Any, named: str) -> None:
    assert_error(http.post(f"/v1/blocks/{new_block().id}/edits", json=body), 422, named)


def test_no_block_is_not_found(http: httpx.Client, new_agent: NewAgent) -> None:
    insert = {"kind": "insert", "new_string": "x"}
    assert_error(http.post(f"/v1/blocks/block-{UNKNOWN}/edits", json=insert), 404, UNKNOWN)
    agent = new_agent()
    assert_error(http.post(f"/v1/agents/{agent.id}/core-memory/blocks/none/edits", json=insert), 404, "none")


def test_if_match_holds_for_every_edit(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one")
    assert edit(http, block, "append", {"If-Match": '"1"'}, content="two").json()["version"] == 2
    answer = edit(http, block, "append", {"If-Match": '"1"'}, content="three")
    assert_error(answer, 412)
    assert answer.json()["current_version"] == 2
    assert value(http, block) == "one\ntwo"


@pytest.mark.parametrize("writers", [2, 16])
@pytest.mark.every_case_on_both
async def test_all_lines_of_programs_that_edit_at_once_are_kept(
    async_http: httpx.AsyncClient, client: Letta, writers: int
) -> None:
    """Programs that read, then write back, keep 45 of these 80 lines with two writers and 7 with sixteen."""
    block = client.blocks.create(label=f"label_{uuid4().hex}", value="")
    path = f"/v1/blocks/{block.id}/edits"

    async def write(writer: int) -> None:
        for number in range(80 // writers):
            answer = await async_http.post(path, json={"kind": "insert", "new_string": f"{writer}: {number}"})
            assert answer.status_code == 200, answer.text

    await asyncio.gather(*(write(writer) for writer in range(writers)))
    lines = (client.blocks.retrieve(block.id).value or "").split("\n")
    assert sorted(lines) == sorted(
        f"{writer}: {number}" for writer in range(writers) for number in range(80 // writers)
    )


def test_a_block_can_demand_a_version_of_who_overwrites_it(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one")
    path = f"/v1/blocks/{block.id}"
    assert http.patch(path, json={"require_version": True}).json()["require_version"] is True
    for headers in ({}, {"If-Match": "*"}):
        blind = http.patch(path, json={"value": "two"}, headers=headers)
        assert_error(blind, 428, 'If-Match: "1"')
        assert blind.json()["current_version"] == 1
        assert_error(edit(http, block, "rethink", headers, new_memory="two"), 428, "If-Match")
        assert_error(http.post(f"{path}/revert", json={"version": 1}, headers=headers), 428, "If-Match")
    assert value(http, block) == "one"
    assert http.patch(path, json={"description": "no text, no version"}).status_code == 200
    assert edit(http, block, "insert", new_string="two").json()["version"] == 2
    assert http.patch(path, json={"value": "three"}, headers={"If-Match": '"2"'}).json()["version"] == 3
    assert edit(http, block, "rethink", {"If-Match": '"3"'}, new_memory="four").json()["version"] == 4
    http.patch(path, json={"require_version": False})
    assert http.patch(path, json={"value": "five"}).status_code == 200


def test_agents_rethink_what_programs_may_not_overwrite_unseen(
    client: Letta, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    """They are shown the text in each step, and told what they overwrote."""
    block = new_block(value="one", extra_body={"require_version": True})
    agent = new_agent(block_ids=[block.id], tools=["memory_rethink"])
    call = f'CALL memory_rethink {{"label": "{block.label}", "new_memory": "two"}}'
    client.agents.messages.create(agent.id, input=call)
    assert value(http, block) == "two"


def test_who_overwrites_somebody_elses_version_is_told_whose(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one")
    mine, other = {"User-Agent": "mine/1"}, {"User-Agent": "other/2"}
    path = f"/v1/blocks/{block.id}"
    assert http.patch(path, json={"value": "two"}, headers=mine).json()["overwrote"]["version"] == 1
    assert "overwrote" not in http.patch(path, json={"value": "three"}, headers=mine).json()
    for answer in (
        http.patch(path, json={"value": "four"}, headers=other),
        edit(http, block, "rethink", mine, new_memory="five"),
    ):
        told = answer.json()["overwrote"]
        assert told["version"] == answer.json()["version"] - 1
        assert told["author"]["client"] != answer.json()["updated_by"]["client"]
    for answer in (
        http.patch(path, json={"value": "six"}, headers={**other, "If-Match": '"5"'}),
        http.patch(path, json={"description": "only that"}, headers=mine),
        edit(http, block, "insert", mine, new_string="seven"),
    ):
        assert (answer.status_code, "overwrote" in answer.json()) == (200, False)


def test_a_version_names_the_program_that_wrote_it(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one")
    edit(http, block, "insert", {"User-Agent": "notes/2.1 " + "x" * 500}, new_string="two")
    author = http.get(f"/v1/blocks/{block.id}/history").json()[0]["author"]
    assert author["client"].startswith("notes/2.1")
    assert len(author["client"]) == 200
    assert http.get(f"/v1/blocks/{block.id}/blame").json()["lines"][1]["author"] == author
