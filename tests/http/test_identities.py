"""Identities over HTTP; the official clients of the 0.1 line have them, those of 1.12 do not."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import httpx
import pytest
from assertions import UNKNOWN, assert_error

from support.fixtures import NewAgent, NewBlock, one_store

NOBODY = f"identity-{UNKNOWN}"


def new_identity(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    """Make an identity; key, name and type are filled in where `fields` do not say them."""
    key = f"key {uuid4().hex}"
    body = {"identifier_key": key, "name": key, "identity_type": "user", **fields}
    response = http.post("/v1/identities/", json=body)
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def ids(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [each["id"] for each in response.json()]


def test_what_is_made_is_found_changed_and_deleted(http: httpx.Client) -> None:
    properties = [{"key": "age", "value": 40, "type": "number"}, {"key": "vip", "value": True, "type": "boolean"}]
    made = new_identity(http, name="Ada", properties=properties)
    path = f"/v1/identities/{made['id']}"
    assert http.get(path).json() == made
    assert made["properties"] == properties
    changed = http.patch(
        path, json={"name": "Ada L", "properties": [{"key": "age", "value": 41, "type": "number"}]}
    ).json()
    assert changed["name"] == "Ada L"
    assert changed["properties"] == [{"key": "age", "value": 41, "type": "number"}, properties[1]]
    replaced = http.put(f"{path}/properties", json=[{"key": "j", "value": {"a": [1]}, "type": "json"}]).json()
    assert replaced["properties"] == [{"key": "j", "value": {"a": [1]}, "type": "json"}]
    assert http.get(path).json() == {**made, "name": "Ada L", "properties": replaced["properties"]}
    assert http.delete(path).json() is None
    assert_error(http.get(path), 404, made["id"])
    assert_error(http.delete(path), 404, made["id"])
    assert_error(http.patch(path, json={"name": "x"}), 404, made["id"])


def test_a_key_is_one_identitys_in_a_project(http: httpx.Client) -> None:
    made = new_identity(http)
    same = {"identifier_key": made["identifier_key"], "name": "x", "identity_type": "org"}
    assert_error(http.post("/v1/identities", json=same), 409, made["identifier_key"], made["id"])
    elsewhere = new_identity(http, identifier_key=made["identifier_key"], project_id="project-2")
    other = new_identity(http)
    renamed = http.patch(f"/v1/identities/{other['id']}", json={"identifier_key": made["identifier_key"]})
    assert_error(renamed, 409, made["identifier_key"])
    found = http.get("/v1/identities", params={"identifier_key": made["identifier_key"], "order": "asc"})
    assert ids(found) == [made["id"], elsewhere["id"]]


def test_of_many_who_make_one_key_at_once_one_succeeds(http: httpx.Client) -> None:
    key, statuses = uuid4().hex, []

    def make() -> None:
        body = {"identifier_key": key, "name": key, "identity_type": "user"}
        statuses.append(http.post("/v1/identities", json=body).status_code)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 7


def test_an_upsert_makes_and_changes(http: httpx.Client) -> None:
    key = uuid4().hex
    body = {"identifier_key": key, "name": "Up", "identity_type": "other"}
    made = http.put("/v1/identities", json=body).json()
    again = http.put("/v1/identities", json={**body, "name": "Upper", "identity_type": "user"}).json()
    assert again == {**made, "name": "Upper", "identity_type": "user"}
    assert ids(http.get("/v1/identities", params={"identifier_key": key})) == [made["id"]]


def test_agents_and_blocks_of_an_identity(http: httpx.Client, new_agent: NewAgent, new_block: NewBlock) -> None:
    agent, other, block = new_agent(), new_agent(), new_block()
    made = new_identity(http, agent_ids=[agent.id], block_ids=[block.id])
    path = f"/v1/identities/{made['id']}"
    assert ids(http.get(f"{path}/agents")) == [agent.id]
    assert ids(http.get(f"{path}/blocks")) == [block.id]
    for _ in range(2):
        assert http.patch(f"/v1/agents/{other.id}/identities/attach/{made['id']}").json() is None
    assert ids(http.get(f"{path}/agents")) == [other.id, agent.id]
    assert ids(http.get(f"{path}/agents", params={"order": "asc", "limit": 1})) == [agent.id]
    for query in ({"identity_id": made["id"]}, {"identifier_keys": [made["identifier_key"]]}):
        assert ids(http.get("/v1/agents", params=query)) == [other.id, agent.id]
        assert http.get("/v1/agents/count", params=query).json() == 2
        assert ids(http.get("/v1/blocks", params=query)) == [block.id]
    shown = http.get(f"/v1/agents/{other.id}", params={"include": ["agent.identities"]}).json()
    assert shown["identity_ids"] == [made["id"]]
    assert shown["identities"] == [made]
    for _ in range(2):
        assert http.patch(f"/v1/agents/{agent.id}/identities/detach/{made['id']}").json() is None
        detached = http.patch(f"/v1/blocks/{block.id}/identities/detach/{made['id']}")
        assert detached.json()["id"] == block.id
    assert ids(http.get(f"{path}/agents")) == [other.id]
    assert ids(http.get("/v1/blocks", params={"identity_id": made["id"]})) == []
    assert http.patch(f"/v1/blocks/{block.id}/identities/attach/{made['id']}").json()["id"] == block.id
    assert ids(http.get(f"{path}/blocks")) == [block.id]
    http.patch(path, json={"agent_ids": [agent.id], "block_ids": []}).raise_for_status()
    assert ids(http.get(f"{path}/agents")) == [agent.id]
    assert ids(http.get(f"{path}/blocks")) == []


def test_an_agent_is_made_and_changed_with_its_identities(http: httpx.Client, new_agent: NewAgent) -> None:
    first, second = new_identity(http), new_identity(http)
    agent = new_agent(identity_ids=[first["id"]])
    path = f"/v1/agents/{agent.id}"
    assert http.get(path).json()["identity_ids"] == [first["id"]]
    changed = http.patch(path, json={"identity_ids": [second["id"]]}).json()
    assert changed["identity_ids"] == [second["id"]]
    assert http.patch(path, json={"name": "same"}).json()["identity_ids"] == [second["id"]]
    assert_error(http.patch(path, json={"identity_ids": [NOBODY]}), 404, NOBODY)
    assert http.get(path).json()["identity_ids"] == [second["id"]]


def test_deleting_one_side_leaves_the_other(http: httpx.Client, new_agent: NewAgent, new_block: NewBlock) -> None:
    agent, block = new_agent(), new_block()
    made = new_identity(http, agent_ids=[agent.id], block_ids=[block.id])
    http.delete(f"/v1/blocks/{block.id}").raise_for_status()
    assert ids(http.get(f"/v1/identities/{made['id']}/blocks")) == []
    http.delete(f"/v1/identities/{made['id']}").raise_for_status()
    assert http.get(f"/v1/agents/{agent.id}").json()["identity_ids"] == []
    kept = new_identity(http, agent_ids=[agent.id])
    http.delete(f"/v1/agents/{agent.id}").raise_for_status()
    assert ids(http.get(f"/v1/identities/{kept['id']}/agents")) == []


def test_lists_are_filtered_and_come_in_pages(http: httpx.Client) -> None:
    word = uuid4().hex
    made = [new_identity(http, name=f"{word} {place}", identity_type="org") for place in range(3)]
    new_identity(http, name=word, identity_type="user")
    query = {"name": word.upper(), "identity_type": "org"}
    assert ids(http.get("/v1/identities", params=query)) == [each["id"] for each in reversed(made)]
    page = {**query, "order": "asc", "limit": 2}
    assert ids(http.get("/v1/identities", params=page)) == [made[0]["id"], made[1]["id"]]
    assert ids(http.get("/v1/identities", params={**page, "after": made[1]["id"]})) == [made[2]["id"]]
    assert http.get("/v1/identities/count").json() >= 4


@one_store
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"identity_type": "robot"}, ("identity_type", "'org', 'user' or 'other'")),
        ({"identifier_key": ""}, ("identifier_key",)),
        ({"project_id": "p" * 501}, ("project_id", "500")),
        ({"properties": [{"key": "age", "value": "forty", "type": "number"}]}, ("properties.0", "age", "number")),
        ({"properties": [{"key": "vip", "value": 1, "type": "boolean"}]}, ("properties.0", "vip", "boolean")),
        ({"properties": [{"key": "k", "value": "v", "type": "string"}] * 101}, ("properties", "100")),
        ({"agent_ids": ["me"]}, ("agent_id", "agent-")),
    ],
)
def test_what_an_identity_cannot_be_is_422(http: httpx.Client, fields: dict[str, Any], words: tuple[str, ...]) -> None:
    body = {"identifier_key": uuid4().hex, "name": "x", "identity_type": "user", **fields}
    assert_error(http.post("/v1/identities", json=body), 422, *words)


def test_what_is_unknown_is_404_and_nothing_is_kept(http: httpx.Client, new_agent: NewAgent) -> None:
    agent, key = new_agent(), uuid4().hex
    body = {"identifier_key": key, "name": "x", "identity_type": "user", "agent_ids": [agent.id, f"agent-{UNKNOWN}"]}
    assert_error(http.post("/v1/identities", json=body), 404, f"agent-{UNKNOWN}")
    assert ids(http.get("/v1/identities", params={"identifier_key": key})) == []
    assert_error(http.patch(f"/v1/agents/{agent.id}/identities/attach/{NOBODY}"), 404, NOBODY)
    assert_error(http.get(f"/v1/identities/{NOBODY}/agents"), 404, NOBODY)
    assert_error(http.get(f"/v1/identities/{NOBODY}/blocks"), 404, NOBODY)
