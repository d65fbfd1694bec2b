"""Projects, searches for agents, and the empty forms of what only a cloud has."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
from assertions import UNKNOWN, assert_error

from support.fixtures import NewAgent, one_store

DEFAULT = f"project-{UNKNOWN}"


def test_projects_are_made_listed_and_deleted_when_nothing_is_in_them(http: httpx.Client, new_agent: NewAgent) -> None:
    name = f"Shop {uuid4().hex[:8]}"
    made = http.post("/v1/projects", json={"name": name, "slug": "ignored"}).json()
    assert made == {"id": made["id"], "name": name, "slug": name.lower().replace(" ", "-")}
    assert http.get("/v1/projects").json()["projects"][0]["id"] == DEFAULT
    assert http.get("/v1/projects", params={"name": name}).json() == {"projects": [made], "hasNextPage": False}
    assert http.get("/v1/projects", params={"limit": 1}).json()["hasNextPage"] is True
    assert_error(http.post("/v1/projects", json={"name": name.upper()}), 409, "name")
    assert_error(http.post("/v1/projects", json={"name": "ab"}), 422, "name")
    inside, outside = new_agent(project_id=made["id"]), new_agent()
    of_project = [each["id"] for each in http.get("/v1/agents", params={"project_id": made["id"]}).json()]
    assert of_project == [inside.id]
    of_default = [each["id"] for each in http.get("/v1/agents", params={"project_id": DEFAULT}).json()]
    assert outside.id in of_default
    assert inside.id not in of_default
    assert_error(http.delete(f"/v1/projects/{made['id']}"), 409, "1 agents")
    assert_error(http.delete(f"/v1/projects/{DEFAULT}"), 409, "default")
    http.delete(f"/v1/agents/{inside.id}").raise_for_status()
    assert http.delete(f"/v1/projects/{made['id']}").json() == {"success": True}
    assert_error(http.delete(f"/v1/projects/{made['id']}"), 404, made["id"])


def test_what_names_no_project_is_in_the_default_one_in_every_list(http: httpx.Client, new_agent: NewAgent) -> None:
    agent, name = new_agent(), f"shop-{uuid4().hex[:8]}"
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": "Hello"}).raise_for_status()
    http.post("/v1/templates", json={"type": "agent", "agent_id": agent.id, "name": name}).raise_for_status()
    (made,) = http.post(f"/v1/templates/{name}:1/agents", json={}).json()["agent_ids"]
    group = http.post("/v1/groups", json={"agent_ids": [agent.id], "description": name}).json()

    def listed(path: str, project_id: str = DEFAULT, **wanted: Any) -> list[str]:
        found = http.get(path, params={"project_id": project_id, "order": "desc", **wanted}).json()
        return [each["id"] for each in (found["templates"] if path == "/v1/templates" else found)]

    assert {agent.id, made} <= set(listed("/v1/agents"))
    assert group["id"] in listed("/v1/groups")
    assert len(listed("/v1/steps", agent_id=agent.id)) == 1
    assert len(listed("/v1/templates", search=name)) == 1
    for path in ("/v1/agents", "/v1/groups", "/v1/steps", "/v1/templates"):
        assert listed(path, f"project-{uuid4()}") == []


def test_a_search_finds_agents_that_meet_every_condition(http: httpx.Client, new_agent: NewAgent) -> None:
    word = uuid4().hex
    agents = [new_agent(name=f"{word} {number}", tags=["a", f"n{number}"]) for number in range(3)]
    named = {"field": "name", "operator": "contains", "value": word}
    first = http.post("/v1/agents/search", json={"search": [named], "limit": 2, "ascending": True}).json()
    assert [each["id"] for each in first["agents"]] == [agent.id for agent in agents[:2]]
    rest = http.post(
        "/v1/agents/search", json={"search": [named], "limit": 2, "ascending": True, "after": first["nextCursor"]}
    ).json()
    assert ([each["id"] for each in rest["agents"]], rest["nextCursor"]) == ([agents[2].id], None)
    tagged = {"field": "tags", "operator": "contains", "value": ["a", "n1"]}
    one = http.post("/v1/agents/search", json={"search": [named, tagged]}).json()["agents"]
    assert [each["id"] for each in one] == [agents[1].id]
    exact = {"field": "agentId", "operator": "eq", "value": agents[2].id}
    assert [each["id"] for each in http.post("/v1/agents/search", json={"search": [exact]}).json()["agents"]] == [
        agents[2].id
    ]
    count = "/v1/agents/search/count"
    assert http.get(count, params={"search": [json.dumps(named)]}).json() == {"count": 3}
    assert http.get(count, params={"search": json.dumps([named, tagged])}).json() == {"count": 1}
    assert_error(http.get(count, params={"search": "ada"}), 422, "search")
    assert_error(http.post("/v1/agents/search", json={"search": [{"field": "colour"}]}), 422, "search")


@one_store
def test_what_only_a_cloud_has_is_empty_here(http: httpx.Client) -> None:
    assert http.get("/v1/metadata/balance").json()["total_balance"] == 0
    assert http.get("/v1/organizations/self/quotas").json()["lettaTier"]["bucket"] == "full"
    listed = http.get("/v1/environments", params={"limit": 50, "onlineOnly": "false"}).json()
    assert listed == {"connections": [], "hasNextPage": False}
    assert_error(http.get("/v1/environments/laptop"), 404, "laptop", "sandbox")
    assert_error(http.post("/v1/environments/c/messages", json={}), 404, "sandbox")


@one_store
def test_lists_have_the_paths_that_only_some_clients_ask_for(http: httpx.Client, new_agent: NewAgent) -> None:
    new_agent(memory_blocks=[{"label": "human", "value": "Ada"}])
    assert http.get("/v1/_internal_agents/count").json() == http.get("/v1/agents/count").json()
    assert (
        http.get("/v1/_internal_blocks/", params={"limit": 1}).json()
        == http.get("/v1/blocks/", params={"limit": 1}).json()
    )
    assert isinstance(http.get("/v1/_internal_runs/", params={"limit": 1}).json(), list)


def test_organisations_are_administered_under_the_older_paths_too(http: httpx.Client) -> None:
    name = f"org {uuid4().hex[:8]}"
    made = http.post("/v1/admin/orgs/", json={"name": name}).json()
    assert (made["name"], made["privileged_tools"]) == (name, False)
    user = next(each for each in http.get("/v1/admin/users/").json() if each["organization_id"] == made["id"])
    assert user["id"] == made["id"].replace("org-", "user-")
    renamed = http.patch("/v1/admin/orgs/", params={"org_id": made["id"]}, json={"name": f"{name} two"}).json()
    assert renamed == {**made, "name": f"{name} two"}
    assert renamed in http.get("/v1/admin/orgs/").json()
    assert_error(http.post("/v1/admin/orgs/", json={"name": renamed["name"]}), 409, "choose another name")
    other = http.post("/v1/admin/orgs/", json={"name": name}).json()["id"]
    path = {"org_id": other}
    assert_error(http.patch("/v1/admin/orgs/", params=path, json={"name": renamed["name"]}), 409, "choose another name")
    assert http.patch("/v1/admin/orgs/", params=path, json={"name": name}).status_code == 200, "its own name"
    assert http.delete("/v1/admin/orgs/", params=path).status_code == 200
    kept = http.patch("/v1/admin/orgs/", params={"org_id": "default"}, json={"name": "ours"})
    assert_error(kept, 409, "keeps its name")
    assert_error(http.post("/v1/admin/users/", json={"name": "x"}), 409, "/v1/keys")
    assert_error(http.put("/v1/admin/users/", json={"id": user["id"], "name": "x"}), 409, "/v1/keys")
    assert_error(http.delete("/v1/admin/users/", params={"user_id": user["id"]}), 409, "organisation")
    assert_error(http.delete("/v1/admin/users/", params={"user_id": "user-x"}), 404)
    assert http.delete("/v1/admin/orgs/", params={"org_id": made["id"]}).json() == renamed
    assert_error(http.delete("/v1/admin/orgs/", params={"org_id": made["id"]}), 404, made["id"])
