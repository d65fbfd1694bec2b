"""A block's history over HTTP: versions, blame, revert, compare-and-set, readers."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from assertions import UNKNOWN, assert_error
from letta_client import Letta

from support.fixtures import NewAgent, NewBlock, one_store

OUT_OF_RANGE = [2**31, 2**63, 10**30]


def insert(client: Letta, agent: Any, block: Any, text: str, line: int = -1) -> Any:
    arguments = {"label": block.label, "new_string": text, "insert_line": line}
    return client.agents.messages.create(agent.id, input=f"CALL memory_insert {json.dumps(arguments)}")


def history(http: httpx.Client, block: Any, **query: Any) -> list[int]:
    response = http.get(f"/v1/blocks/{block.id}/history", params=query)
    assert response.status_code == 200, response.text
    return [version["version"] for version in response.json()]


def set_value(http: httpx.Client, block: Any, value: str, **headers: str) -> httpx.Response:
    return http.patch(f"/v1/blocks/{block.id}", json={"value": value}, headers=headers)


# -- versions ------------------------------------------------------------------------------------------------


def test_each_version_tells_its_author_time_and_edit(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="one")
    agent = new_agent(block_ids=[block.id])
    turn = insert(client, agent, block, "two")
    set_value(http, block, "three")
    body = http.get(f"/v1/blocks/{block.id}/history").json()
    assert [version["version"] for version in body] == [3, 2, 1]
    assert [version["characters"] for version in body] == [5, 7, 3]
    assert [version["edit"] for version in body] == [
        {"kind": "set_text", "text": "three"},
        {"kind": "insert", "new_string": "two", "line": -1},
        {"kind": "create"},
    ]
    call = turn.messages[0]
    assert body[1]["author"] == {
        "type": "agent",
        "id": agent.id,
        "name": agent.name,
        "run_id": call.run_id,
        "step_id": call.step_id,
        "client": None,
    }
    assert (body[0]["author"]["type"], body[0]["author"]["run_id"]) == ("api", None)
    times = [version["created_at"] for version in body]
    assert times == sorted(times, reverse=True)
    assert all(time.endswith("Z") for time in times)
    assert "value" not in body[0]


def test_one_version_comes_with_its_text(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one")
    for number in range(2, 6):
        set_value(http, block, f"text {number} ä日😀\r\n")
    for number in range(2, 6):
        body = http.get(f"/v1/blocks/{block.id}/history/{number}").json()
        assert (body["version"], body["value"]) == (number, f"text {number} ä日😀\r\n")


def test_long_texts_come_back_byte_for_byte(http: httpx.Client, new_block: NewBlock) -> None:
    lines = [f"line {number} " + "x" * 40 for number in range(60)]
    block = new_block(value="\n".join(lines))
    texts = ["\n".join(lines)]
    for number in range(60):
        lines[number] = f"new {number}"
        texts.append("\n".join(lines))
        set_value(http, block, texts[-1])
    for number in (1, 2, 49, 50, 51, 61):
        assert http.get(f"/v1/blocks/{block.id}/history/{number}").json()["value"] == texts[number - 1]


def test_pages_go_from_the_newest_to_the_oldest(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="1")
    for number in range(2, 11):
        set_value(http, block, str(number))
    assert history(http, block) == list(range(10, 0, -1))
    assert history(http, block, limit=3) == [10, 9, 8]
    assert history(http, block, limit=3, after=8) == [7, 6, 5]
    assert history(http, block, limit=3, after=1) == []
    assert history(http, block, limit=3, before=5) == [8, 7, 6]
    assert history(http, block, limit=3, before=10) == []
    assert history(http, block, after=8, before=4) == [7, 6, 5]
    assert history(http, block, order="asc", limit=3) == [1, 2, 3]
    assert history(http, block, order="asc", limit=3, after=3) == [4, 5, 6]
    assert history(http, block, order="asc", limit=3, before=3) == [1, 2]


def test_changing_other_fields_makes_no_version(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one")
    http.patch(f"/v1/blocks/{block.id}", json={"description": "what it is for", "limit": 50})
    assert history(http, block) == [1]


@pytest.mark.parametrize("number", [0, -1, 2, 99, *OUT_OF_RANGE])
@pytest.mark.every_case_on_both
def test_a_version_that_is_not_there_is_not_found(http: httpx.Client, new_block: NewBlock, number: int) -> None:
    block = new_block(value="one")
    response = http.get(f"/v1/blocks/{block.id}/history/{number}")
    assert response.status_code in {404, 422}, response.text
    assert_error(response, response.status_code)


@pytest.mark.parametrize("path", ["history", "history/1", "blame", "readers", "watch"])
def test_the_history_of_no_block_is_not_found(http: httpx.Client, path: str) -> None:
    assert_error(http.get(f"/v1/blocks/block-{UNKNOWN}/{path}"), 404, UNKNOWN)
    assert_error(http.get(f"/v1/blocks/nonsense/{path}"), 422, "nonsense")


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": "x"}, {"limit": 1_000_000}, {"after": "x"}, {"before": "1.5"}, {"order": "sideways"}],
)
@one_store
def test_a_page_that_cannot_be_is_refused(http: httpx.Client, new_block: NewBlock, query: dict[str, Any]) -> None:
    response = http.get(f"/v1/blocks/{new_block().id}/history", params=query)
    assert_error(response, 422, next(iter(query)))


@pytest.mark.parametrize("number", OUT_OF_RANGE)
@pytest.mark.parametrize("name", ["after", "before"])
@pytest.mark.every_case_on_both
def test_a_place_beyond_all_versions_is_an_empty_or_whole_page(
    http: httpx.Client, new_block: NewBlock, name: str, number: int
) -> None:
    block = new_block()
    response = http.get(f"/v1/blocks/{block.id}/history", params={name: number})
    assert response.status_code in {200, 422}, response.text


# -- blame ---------------------------------------------------------------------------------------------------


def blame(http: httpx.Client, block: Any, **query: Any) -> list[tuple[str, int, str | None]]:
    body = http.get(f"/v1/blocks/{block.id}/blame", params=query).json()
    assert [line["number"] for line in body["lines"]] == list(range(1, len(body["lines"]) + 1))
    assert body["block_id"] == block.id
    return [(line["text"], line["version"], line["author"]["name"]) for line in body["lines"]]


def test_blame_names_each_lines_writer_also_after_the_agent_was_deleted(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="first\nlast")
    ada, bob = new_agent(block_ids=[block.id]), new_agent(block_ids=[block.id])
    insert(client, ada, block, "by ada", 1)
    insert(client, bob, block, "by bob", 1)
    arguments = {"label": block.label, "old_string": "last", "new_string": "the last"}
    client.agents.messages.create(ada.id, input=f"CALL memory_replace {json.dumps(arguments)}")
    client.agents.delete(ada.id)
    assert blame(http, block) == [
        ("first", 1, "local"),
        ("by bob", 3, bob.name),
        ("by ada", 2, ada.name),
        ("the last", 4, ada.name),
    ]
    assert blame(http, block, version=2) == [("first", 1, "local"), ("by ada", 2, ada.name), ("last", 1, "local")]
    assert http.get(f"/v1/blocks/{block.id}/history/2").json()["author"]["id"] == ada.id


def test_blame_after_many_edits_by_many(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="head")
    agents = [new_agent(block_ids=[block.id]) for _ in range(3)]
    expected: list[tuple[str, int, str | None]] = [("head", 1, "local")]
    version = 1
    for number in range(12):
        agent = agents[number % 3]
        calls = [
            ["memory_insert", {"label": block.label, "new_string": f"line {number} {part}", "insert_line": 1}]
            for part in "ab"
        ]
        client.agents.messages.create(agent.id, input=f"CALLS {json.dumps(calls)}")
        for part in "ab":
            version += 1
            expected.insert(1, (f"line {number} {part}", version, agent.name))
    assert blame(http, block) == expected


def test_blame_of_an_empty_block_has_no_lines(http: httpx.Client, new_block: NewBlock) -> None:
    assert blame(http, new_block(value="")) == []


@pytest.mark.parametrize("version", [0, -1, 2, *OUT_OF_RANGE])
@pytest.mark.every_case_on_both
def test_blame_of_a_version_that_is_not_there(http: httpx.Client, new_block: NewBlock, version: int) -> None:
    response = http.get(f"/v1/blocks/{new_block().id}/blame", params={"version": version})
    assert response.status_code in {404, 422}, response.text


# -- revert --------------------------------------------------------------------------------------------------


def test_a_revert_is_a_new_version_with_the_earlier_text(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one")
    set_value(http, block, "two")
    reply = http.post(f"/v1/blocks/{block.id}/revert", json={"version": 1})
    assert reply.status_code == 200
    assert (reply.json()["value"], reply.json()["version"], reply.headers["etag"]) == ("one", 3, '"3"')
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "one"
    newest = http.get(f"/v1/blocks/{block.id}/history/3").json()
    assert (newest["value"], newest["edit"]) == ("one", {"kind": "revert", "version": 1})
    assert http.get(f"/v1/blocks/{block.id}/history/2").json()["value"] == "two"


def test_a_revert_that_cannot_be_changes_nothing(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="a long text")
    set_value(http, block, "short")
    http.patch(f"/v1/blocks/{block.id}", json={"limit": 8})
    path = f"/v1/blocks/{block.id}/revert"
    assert_error(http.post(path, json={"version": 1}), 422, "8")
    assert_error(http.post(path, json={"version": 3}), 404, "3")
    assert_error(http.post(path, json={"version": 0}), 422, "version")
    assert_error(http.post(path, json={}), 422, "version")
    assert_error(http.post(path, json={"version": 1}, headers={"If-Match": '"1"'}), 412, "2")
    assert_error(http.post(f"/v1/blocks/block-{UNKNOWN}/revert", json={"version": 1}), 404, UNKNOWN)
    assert history(http, block) == [2, 1]


@pytest.mark.parametrize("version", OUT_OF_RANGE)
@pytest.mark.every_case_on_both
def test_a_revert_to_a_version_out_of_range(http: httpx.Client, new_block: NewBlock, version: int) -> None:
    response = http.post(f"/v1/blocks/{new_block().id}/revert", json={"version": version})
    assert response.status_code in {404, 422}, response.text


# -- compare-and-set -----------------------------------------------------------------------------------------


def test_a_write_with_the_current_tag_lands_and_gives_the_next(http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="one")
    tag = http.get(f"/v1/blocks/{block.id}").headers["etag"]
    assert tag == '"1"'
    for number in range(2, 5):
        reply = set_value(http, block, f"text {number}", **{"If-Match": tag})
        assert reply.status_code == 200
        tag = reply.headers["etag"]
        assert tag == f'"{number}"'


def test_a_write_with_an_old_tag_is_412_and_tells_the_current_version(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="one")
    agent = new_agent(block_ids=[block.id])
    set_value(http, block, "two")
    for path in (f"/v1/blocks/{block.id}", f"/v1/agents/{agent.id}/core-memory/blocks/{block.label}"):
        assert http.get(path).headers["etag"] == '"2"'
        for tag in ('"1"', '"3"', '"0"'):
            body = assert_error(http.patch(path, json={"value": "lost"}, headers={"If-Match": tag}), 412, "2")
            assert body["current_version"] == 2
        body = assert_error(http.patch(path, json={"description": "lost"}, headers={"If-Match": '"1"'}), 412)
    now = client.blocks.retrieve(block.id)
    assert (now.value, now.description) == ("two", None)
    assert history(http, block) == [2, 1]


@pytest.mark.parametrize("tag", ["*", '"1"', "1"])
def test_tags_that_fit(http: httpx.Client, new_block: NewBlock, tag: str) -> None:
    assert set_value(http, new_block(value="one"), "two", **{"If-Match": tag}).status_code == 200


@pytest.mark.parametrize("tag", ["one", '"one"', "-1", '"1", "2"', 'W/"1"', "", "1.0", '"99999999999999999999"'])
@one_store
def test_a_malformed_tag_is_refused_and_changes_nothing(http: httpx.Client, new_block: NewBlock, tag: str) -> None:
    block = new_block(value="one")
    assert_error(set_value(http, block, "lost", **{"If-Match": tag}), 422, "If-Match")
    assert history(http, block) == [1]


# -- readers -------------------------------------------------------------------------------------------------


def readers(http: httpx.Client, block: Any, **query: Any) -> list[tuple[int, str, str, str]]:
    response = http.get(f"/v1/blocks/{block.id}/readers", params=query)
    assert response.status_code == 200, response.text
    return [(one["version"], one["agent_id"], one["run_id"], one["step_id"]) for one in response.json()]


def test_readers_are_the_runs_and_steps_that_were_shown_a_version(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block, unrelated = new_block(value="one"), new_block()
    agent, other, stranger = new_agent(block_ids=[block.id]), new_agent(block_ids=[block.id]), new_agent()
    assert readers(http, block) == []
    turn = insert(client, agent, block, "two")
    hello = client.agents.messages.create(other.id, input="hello")
    client.agents.messages.create(stranger.id, input="hello")
    first, last = turn.messages[0], turn.messages[-1]
    assert readers(http, block, version=1) == [(1, agent.id, first.run_id, first.step_id)]
    seen = [
        (2, agent.id, last.run_id, last.step_id),
        (2, other.id, hello.messages[0].run_id, hello.messages[0].step_id),
    ]
    assert readers(http, block, version=2) == readers(http, block) == seen
    assert readers(http, block, limit=1) == seen[:1]
    assert readers(http, block, limit=1, after=last.step_id) == seen[1:]
    assert readers(http, block, limit=1, after=f"step-{UNKNOWN}") == seen[:1], "it begins anew"
    assert readers(http, block, version=3) == readers(http, unrelated) == []


@pytest.mark.parametrize("version", OUT_OF_RANGE)
@pytest.mark.every_case_on_both
def test_readers_of_a_version_out_of_range(http: httpx.Client, new_block: NewBlock, version: int) -> None:
    response = http.get(f"/v1/blocks/{new_block().id}/readers", params={"version": version})
    assert response.status_code in {200, 404, 422}, response.text
