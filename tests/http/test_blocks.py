"""Blocks over HTTP: create, retrieve, update, delete, and what they refuse."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from assertions import JSON, UNKNOWN, assert_error
from letta_client import Letta, NotFoundError, UnprocessableEntityError

from support.fixtures import NewAgent, NewBlock, one_store

GRINNING = "\U0001f600"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
"""One picture, five characters."""

DECOMPOSED = "e\u0301"
"""One letter to the eye, two characters."""


def test_a_new_block_has_what_its_creator_said_and_the_defaults(client: Letta) -> None:
    block = client.blocks.create(label="organization", value="Organization: Letta")
    assert block.id.startswith("block-")
    assert (block.label, block.value, block.limit) == ("organization", "Organization: Letta", 100_000)
    assert (block.description, block.metadata, block.tags, block.read_only) == (None, {}, [], False)
    assert block.is_template is False
    assert client.blocks.retrieve(block.id) == block


def test_every_field_is_kept(client: Letta) -> None:
    fields: dict[str, Any] = {
        "label": "policies",
        "value": "Be kind.\n",
        "limit": 4000,
        "read_only": True,
        "description": "What everybody keeps to.",
        "metadata": {"n": 1, "deep": {"list": [1, 2.5, None, True, "ü"]}},
        "tags": ["zebra", "ant"],
        "hidden": True,
        "project_id": "project-1",
        "is_template": True,
        "template_name": "house",
        "template_id": "template-1",
        "base_template_id": "base-1",
        "deployment_id": "deployment-1",
        "entity_id": "entity-1",
        "preserve_on_migration": True,
    }
    created = client.blocks.create(**fields)
    for block in (created, client.blocks.retrieve(created.id)):
        assert {name: getattr(block, name) for name in fields} == fields


def test_a_tag_given_twice_is_kept_once(new_block: NewBlock) -> None:
    assert new_block(tags=["b", "a", "b"]).tags == ["b", "a"]


def test_text_comes_back_character_for_character(client: Letta, new_block: NewBlock) -> None:
    text = f" \t\r\n leading, trailing, {GRINNING}{FAMILY}{DECOMPOSED} \u202e \ufeff \x07 \\u0000 %00 ' \" ; -- \n\n"
    block = new_block(value=text)
    assert client.blocks.retrieve(block.id).value == text


def test_an_update_changes_what_it_names_and_nothing_else(client: Letta, new_block: NewBlock) -> None:
    before = new_block(value="a", description="d", metadata={"k": 1}, tags=["t"], read_only=True, limit=50)
    after = client.blocks.update(before.id, value="b")
    assert after.value == "b"
    assert after.to_dict() | {"value": 0, "version": 0, "updated_at": 0} == before.to_dict() | {
        "value": 0,
        "version": 0,
        "updated_at": 0,
    }
    assert client.blocks.retrieve(before.id) == after


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", "renamed"),
        ("value", ""),
        ("limit", 7),
        ("description", "other"),
        ("metadata", {"new": True}),
        ("metadata", {}),
        ("tags", ["c", "b"]),
        ("tags", []),
        ("read_only", True),
        ("read_only", False),
        ("hidden", True),
        ("template_name", "x"),
        ("preserve_on_migration", True),
    ],
)
def test_each_field_can_be_updated(client: Letta, new_block: NewBlock, name: str, value: Any) -> None:
    block = new_block(value="a", metadata={"k": 1}, tags=["t"])
    assert getattr(client.blocks.update(block.id, **{name: value}), name) == value
    assert getattr(client.blocks.retrieve(block.id), name) == value


@pytest.mark.parametrize("name", ["label", "value", "limit", "metadata", "read_only"])
def test_null_leaves_a_field_that_cannot_be_empty_as_it_is(
    client: Letta, http: httpx.Client, new_block: NewBlock, name: str
) -> None:
    block = new_block(value="a", limit=9, metadata={"k": 1}, read_only=True)
    assert http.patch(f"/v1/blocks/{block.id}", json={name: None}).status_code == 200
    assert getattr(client.blocks.retrieve(block.id), name) == getattr(block, name)


@pytest.mark.parametrize(("name", "empty"), [("description", None), ("hidden", None), ("tags", [])])
def test_null_empties_a_field_that_can_be(
    client: Letta, http: httpx.Client, new_block: NewBlock, name: str, empty: Any
) -> None:
    block = new_block(description="d", hidden=True, tags=["t"])
    assert http.patch(f"/v1/blocks/{block.id}", json={name: None}).status_code == 200
    assert getattr(client.blocks.retrieve(block.id), name) == empty


def test_an_empty_update_changes_nothing(client: Letta, http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block(value="a")
    assert http.patch(f"/v1/blocks/{block.id}", json={}).status_code == 200
    assert client.blocks.retrieve(block.id) == block


def test_unknown_keys_are_ignored(http: httpx.Client) -> None:
    answer = http.post("/v1/blocks/", json={"label": "x", "value": "v", "key_of_a_newer_client": 1})
    assert answer.status_code == 200
    assert "key_of_a_newer_client" not in answer.json()


# -- the limit -----------------------------------------------------------------------------------------------


def test_a_new_block_over_its_limit_is_refused_and_not_made(http: httpx.Client, client: Letta) -> None:
    label = f"label_{uuid4().hex}"
    answer = http.post("/v1/blocks/", json={"label": label, "value": "a" * 11, "limit": 10})
    assert_error(answer, 422, "value", "11", "10")
    assert client.blocks.list(label=label).items == []


def test_a_text_as_long_as_the_limit_is_taken(new_block: NewBlock) -> None:
    assert new_block(value="a" * 10, limit=10).value == "a" * 10


def test_an_update_over_the_limit_changes_nothing(client: Letta, new_block: NewBlock) -> None:
    block = new_block(value="short", limit=10)
    with pytest.raises(UnprocessableEntityError) as caught:
        client.blocks.update(block.id, value="a" * 11, description="never", tags=["never"])
    assert_error(caught.value.response, 422, "11", "10")
    assert client.blocks.retrieve(block.id) == block


def test_the_limit_cannot_be_lowered_below_the_text(client: Letta, new_block: NewBlock) -> None:
    block = new_block(value="a" * 10, limit=20)
    with pytest.raises(UnprocessableEntityError) as caught:
        client.blocks.update(block.id, limit=9)
    assert_error(caught.value.response, 422, "10", "9")
    assert client.blocks.retrieve(block.id) == block


def test_text_and_limit_can_change_together(client: Letta, new_block: NewBlock) -> None:
    block = new_block(value="a" * 10, limit=10)
    grown = client.blocks.update(block.id, value="b" * 20, limit=20)
    assert (grown.value, grown.limit) == ("b" * 20, 20)
    shrunk = client.blocks.update(block.id, value="c", limit=1)
    assert (shrunk.value, shrunk.limit) == ("c", 1)


@pytest.mark.parametrize(("text", "length"), [(GRINNING * 3, 3), (FAMILY, 5), (DECOMPOSED, 2), ("\r\n", 2)], ids=ascii)
def test_the_limit_counts_characters(client: Letta, http: httpx.Client, text: str, length: int) -> None:
    block = client.blocks.create(label="x", value=text, limit=length)
    assert client.blocks.retrieve(block.id).value == text
    answer = http.post("/v1/blocks/", json={"label": "x", "value": text, "limit": length - 1})
    assert_error(answer, 422, f"{length} characters")


@pytest.mark.parametrize("limit", [0, -1, 10**30])
def test_a_limit_that_makes_no_sense_is_refused(http: httpx.Client, limit: int) -> None:
    assert_error(http.post("/v1/blocks/", json={"label": "x", "value": "", "limit": limit}), 422, "limit", str(limit))


# -- delete, and whose they are ------------------------------------------------------------------------------


def test_a_deleted_block_is_gone(client: Letta, http: httpx.Client, new_block: NewBlock) -> None:
    block = new_block()
    assert http.delete(f"/v1/blocks/{block.id}").json() is None
    assert_error(http.get(f"/v1/blocks/{block.id}"), 404, block.id)
    assert_error(http.delete(f"/v1/blocks/{block.id}"), 404, block.id)
    assert_error(http.patch(f"/v1/blocks/{block.id}", json={"value": "x"}), 404, block.id)
    assert client.blocks.list(label=block.label).items == []


def test_agents_lose_a_deleted_block(client: Letta, new_block: NewBlock, new_agent: NewAgent) -> None:
    block, other = new_block(), new_block()
    agent = new_agent(block_ids=[block.id, other.id])
    client.blocks.delete(block.id)
    assert [left.id for left in client.agents.blocks.list(agent.id)] == [other.id]
    again = new_block(label=block.label)
    client.agents.blocks.attach(again.id, agent_id=agent.id)


def test_a_blocks_agents_are_listed(client: Letta, new_block: NewBlock, new_agent: NewAgent) -> None:
    block = new_block()
    agents = [new_agent(block_ids=[block.id]) for _ in range(5)]
    ids = [agent.id for agent in agents]
    new_agent()
    assert [agent.id for agent in client.blocks.agents.list(block.id)] == ids[::-1]
    assert [agent.id for agent in client.blocks.agents.list(block.id, order="asc", limit=2)] == ids
    client.agents.blocks.detach(block.id, agent_id=ids[0])
    assert [agent.id for agent in client.blocks.agents.list(block.id)] == ids[:0:-1]


def test_a_blocks_agents_come_with_what_is_asked_for(client: Letta, new_block: NewBlock, new_agent: NewAgent) -> None:
    block = new_block()
    new_agent(block_ids=[block.id], tags=["red"])
    (bare,) = client.blocks.agents.list(block.id)
    assert (bare.blocks, bare.tags) == ([], [])
    (full,) = client.blocks.agents.list(block.id, include=["agent.blocks", "agent.tags"])
    assert ([mine.id for mine in full.blocks], full.tags, full.tools) == ([block.id], ["red"], [])


def test_agents_of_an_unknown_block_are_not_found(client: Letta) -> None:
    with pytest.raises(NotFoundError, match=UNKNOWN):
        client.blocks.agents.list(f"block-{UNKNOWN}")


# -- what cannot be kept -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [r"\u0000", r"\ud800", r"\udfff\ud800"])
@pytest.mark.parametrize("field", ["label", "value", "description", "tags"])
@one_store
def test_text_that_cannot_be_stored_is_refused_by_field(
    http: httpx.Client, new_block: NewBlock, field: str, bad: str
) -> None:
    block = new_block(value="a")
    text = f'["x{bad}"]' if field == "tags" else f'"x{bad}"'
    given = {"label": '"x"', "value": '"x"'} | {field: text}
    body = "{" + ", ".join(f'"{name}": {value}' for name, value in given.items()) + "}"
    assert_error(http.post("/v1/blocks/", content=body, headers=JSON), 422, field)
    change = f'{{"{field}": {text}}}'
    assert_error(http.patch(f"/v1/blocks/{block.id}", content=change, headers=JSON), 422, field)
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "a"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"value": "a"}, ["label"]),
        ({"label": "a"}, ["value"]),
        ({"label": 5, "value": ""}, ["label", "5"]),
        ({"label": "", "value": ""}, ["label"]),
        ({"label": "a", "value": ["x"]}, ["value", "['x']"]),
        ({"label": "a", "value": None}, ["value", "None"]),
        ({"label": "a", "value": "", "limit": "many"}, ["limit", "'many'"]),
        ({"label": "a", "value": "", "limit": 1.5}, ["limit", "1.5"]),
        ({"label": "a", "value": "", "tags": "red"}, ["tags", "'red'"]),
        ({"label": "a", "value": "", "tags": ["red", 7]}, ["tags", "7"]),
        ({"label": "a", "value": "", "metadata": "m"}, ["metadata", "'m'"]),
        ({"label": "a", "value": "", "metadata": []}, ["metadata", "[]"]),
        ({"label": "a", "value": "", "read_only": "perhaps"}, ["read_only", "'perhaps'"]),
        ({"label": "a" * 201, "value": ""}, ["label"]),
        ([{"label": "a", "value": ""}], ["body"]),
        ("text", ["body"]),
        (None, ["body"]),
    ],
    ids=repr,
)
@one_store
def test_a_value_of_the_wrong_kind_is_named(http: httpx.Client, body: Any, words: list[str]) -> None:
    assert_error(http.post("/v1/blocks/", json=body), 422, *words)
