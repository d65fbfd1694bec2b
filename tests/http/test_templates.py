"""Templates: kept in versions, made into agents, and agents led from one version to another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import APIStatusError, Letta

from support.fixtures import MODEL, NewAgent


@pytest.fixture
def name() -> str:
    """A name that no other template has."""
    return f"shop-{uuid4().hex[:8]}"


@pytest.fixture
def source(new_agent: NewAgent) -> Any:
    """An agent to make a template of."""
    return new_agent(
        system="You serve {{customer}}.",
        memory_blocks=[
            {"label": "human", "value": "Name: {{customer}}. City: {{ city }}.", "limit": 500},
            {"label": "rules", "value": "Be kind.", "read_only": True},
        ],
        tags=["shop"],
        secrets={"TOKEN": "secret"},
        model_settings={"provider_type": "openai", "temperature": 0.5},
        include_base_tools=False,
        tools=["conversation_search"],
    )


def ok(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


def blocks(client: Letta, agent_id: str) -> dict[str, str]:
    return {block.label or "": block.value for block in client.agents.blocks.list(agent_id)}


def test_an_agent_becomes_a_template_and_agents_come_from_it(
    client: Letta, http: httpx.Client, source: Any, name: str
) -> None:
    like = {"tool_name": "conversation_search", "arguments": {"query": "a"}}
    ok(http.post(f"/v1/agents/{source.id}/standing-approvals", json=like))
    template = client.templates.create(type="agent", agent_id=source.id, name=name)
    assert (template.name, template.latest_version) == (name, "1")
    assert template.template_deployment_slug == f"default/{name}:1"
    made = client.templates.agents.create(
        f"{name}:latest",
        agent_name="anna-shop",
        memory_variables={"customer": "Anna"},
        tool_variables={"TOKEN": "hers"},
        tags=["new"],
        initial_message_sequence=[{"role": "assistant", "content": "Hello."}],
    )
    (agent_id,) = made.agent_ids
    assert ok(http.get(f"/v1/agents/{agent_id}/standing-approvals")) == []  # they were given to the other one
    agent = client.agents.retrieve(agent_id, include=["agent.tags", "agent.tools", "agent.secrets"])
    assert (agent.name, agent.system, agent.model) == ("anna-shop", "You serve Anna.", MODEL)
    assert blocks(client, agent_id) == {"human": "Name: Anna. City: {{ city }}.", "rules": "Be kind."}
    assert (agent.deployment_id, agent.base_template_id) == (made.deployment_id, template.id)
    assert sorted(agent.tags) == ["new", "shop"]
    assert [tool.name for tool in agent.tools] == ["conversation_search"]
    assert agent.model_settings == source.model_settings
    assert [(secret.key, secret.value) for secret in agent.secrets or ()] == [("TOKEN", "hers")]
    said = client.agents.messages.list(agent_id, order="asc")
    assert [m.message_type for m in said] == ["system_message", "assistant_message"]
    own = {block.id for block in client.agents.blocks.list(source.id)}
    assert own.isdisjoint(block.id for block in client.agents.blocks.list(agent_id))
    assert "secret" not in ok(http.get(f"/v1/templates/default/{name}:1/snapshot")).__repr__()
    with pytest.raises(APIStatusError, match="no variable 'custmer'"):
        client.templates.agents.create(name, memory_variables={"custmer": "Anna"})


def test_versions_are_saved_and_rolled_back(client: Letta, http: httpx.Client, source: Any, name: str) -> None:
    client.templates.create(type="agent", agent_id=source.id, name=name)
    snapshot = ok(http.get(f"/v1/templates/p/{name}:current/snapshot"))
    snapshot["blocks"][0]["value"] = "Two."
    assert ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=snapshot))["success"]
    assert client.templates.save(name, message="the second").latest_version == "2"
    snapshot["blocks"][0]["value"] = "Never saved."
    ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=snapshot))
    assert client.templates.rollback(name, version="1").success
    listed = ok(http.get(f"/v1/templates/p/{name}/versions"))
    assert [(each["version"], each.get("message"), each["is_latest"]) for each in listed["versions"]] == [
        ("3", "Saved before the rollback to version 1", True),
        ("2", "the second", False),
        ("1", None, False),
    ]
    texts = {
        version: ok(http.get(f"/v1/templates/p/{name}:{version}/snapshot"))["blocks"][0]["value"]
        for version in ("1", "2", "3", "latest", "current")
    }
    assert texts["1"] == texts["current"] == "Name: {{customer}}. City: {{ city }}."
    assert (texts["2"], texts["3"], texts["latest"]) == ("Two.", "Never saved.", "Never saved.")
    for version in ("4", "0", "x", "-1"):
        assert http.get(f"/v1/templates/p/{name}:{version}/snapshot").status_code == 404
    assert http.put(f"/v1/templates/p/{name}:1/snapshot", json=snapshot).status_code == 422
    assert http.post(f"/v1/templates/{name}/rollback", json={"version": "current"}).status_code == 422


def test_templates_are_listed_renamed_described_forked_and_deleted(
    client: Letta, http: httpx.Client, source: Any, name: str
) -> None:
    template = ok(http.post("/v1/templates/mine", json={"type": "agent", "agent_id": source.id, "name": name}))
    assert (template["project_id"], "description" in template) == ("mine", False)
    assert http.post("/v1/templates", json={"type": "agent", "agent_id": source.id, "name": name}).status_code == 409
    assert http.post("/v1/templates", json={"type": "agent", "agent_id": source.id, "name": "save"}).status_code == 422
    ok(http.patch(f"/v1/templates/mine/{name}/description", json={"description": "For shops."}))
    ok(http.patch(f"/v1/templates/mine/{name}/name", json={"new_name": f"{name}-b"}))
    fork = ok(http.post(f"/v1/templates/mine/{name}-b:1/fork", json={"name": f"{name}-c"}))
    assert (fork["description"], fork["latest_version"]) == ("For shops.", "1")
    listed = ok(http.get("/v1/templates", params={"search": name, "limit": "1"}))
    assert ([each["name"] for each in listed["templates"]], listed["has_next_page"]) == ([f"{name}-c"], True)
    rest = ok(http.get("/v1/templates", params={"search": name, "offset": 1}))
    assert ([each["name"] for each in rest["templates"]], rest["has_next_page"]) == ([f"{name}-b"], False)
    exact = ok(http.get("/v1/templates", params={"name": f"{name}-b", "exact": "true", "project_id": "mine"}))
    assert [each["id"] for each in exact["templates"]] == [template["id"]]
    (agent_id,) = client.templates.agents.create(f"{name}-b:1").agent_ids
    assert client.templates.delete(f"{name}-b").success
    assert client.agents.retrieve(agent_id).id == agent_id
    for method, path in (("DELETE", f"/v1/templates/{name}-b"), ("POST", f"/v1/templates/{name}-b:1/agents")):
        assert http.request(method, path, json={}).status_code == 404


def test_agents_are_led_to_another_version(client: Letta, http: httpx.Client, source: Any, name: str) -> None:
    client.templates.create(type="agent", agent_id=source.id, name=name)
    variables = {"customer": "Anna", "city": "Ulm"}
    made = client.templates.agents.create(f"{name}:1", memory_variables=variables)
    (agent_id,) = made.agent_ids
    client.agents.blocks.update("human", agent_id=agent_id, value="Anna likes tea.")
    shared = client.blocks.create(label="team", value="shared")
    client.agents.blocks.attach(shared.id, agent_id=agent_id)
    snapshot = ok(http.get(f"/v1/templates/p/{name}:1/snapshot"))
    rules = next(block for block in snapshot["blocks"] if block["label"] == "rules")
    snapshot["blocks"].remove(rules)
    snapshot["relationships"] = [
        each for each in snapshot["relationships"] if each["blockEntityId"] != rules["entityId"]
    ]
    new = {"entityId": "block-new", "label": "goals", "value": "Help {{customer}}."}
    snapshot["blocks"].append(new)
    entity = snapshot["agents"][0]["entityId"]
    snapshot["relationships"].append({"agentEntityId": entity, "blockEntityId": "block-new", "access": "append"})
    snapshot["agents"][0]["systemPrompt"] = "You help {{customer}} of {{city}}."
    snapshot["agents"][0]["properties"]["context_window_limit"] = 9000
    ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=snapshot))
    client.templates.save(name)
    path = f"/v1/templates/p/{name}/deployments/{made.deployment_id}/migrate"
    assert http.post(path, json={"version": "9"}).status_code == 404
    ok(http.post(path, json={"version": "latest"}))
    agent = client.agents.retrieve(agent_id)
    assert (agent.system, agent.llm_config.context_window) == ("You help Anna of Ulm.", 9000)  # type: ignore[union-attr]
    assert blocks(client, agent_id) == {
        "human": "Anna likes tea.",
        "rules": "Be kind.",
        "team": "shared",
        "goals": "Help Anna.",
    }
    (goals,) = (block for block in client.agents.blocks.list(agent_id) if block.label == "goals")
    assert goals.model_dump()["access"] == "append"
    whole = {"version": "2", "preserve_core_memories": False, "block_reconciliation_strategy": "reconcile-all"}
    ok(http.post(path, json={**whole, "memory_variables": {"city": "Bonn"}}))
    assert blocks(client, agent_id) == {
        "human": "Name: Anna. City: Bonn.",
        "team": "shared",
        "goals": "Help Anna.",
    }
    listed = ok(http.get(f"/v1/templates/p/{name}/deployments"))
    assert [(each["version"], each["agent_ids"], each["memory_variables"]) for each in listed] == [
        ("2", [agent_id], {"customer": "Anna", "city": "Bonn"})
    ]


def test_saving_leads_all_agents_and_says_of_which_it_could_not(
    client: Letta, http: httpx.Client, source: Any, name: str
) -> None:
    client.templates.create(type="agent", agent_id=source.id, name=name)
    made = [client.templates.agents.create(f"{name}:1") for _ in range(3)]
    taken = client.blocks.create(label="goals", value="its own")
    client.agents.blocks.attach(taken.id, agent_id=made[1].agent_ids[0])
    snapshot = ok(http.get(f"/v1/templates/p/{name}:1/snapshot"))
    snapshot["blocks"].append({"entityId": "block-new", "label": "goals", "value": "New."})
    entity = snapshot["agents"][0]["entityId"]
    snapshot["relationships"].append({"agentEntityId": entity, "blockEntityId": "block-new"})
    ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=snapshot))
    template = client.templates.save(name, migrate_agents=True)
    for _ in jobs_of(http, template.id):
        time.sleep(0.02)
    listed = ok(http.get(f"/v1/templates/p/{name}/deployments"))
    assert [each["version"] for each in listed] == ["2", "1", "2"]
    assert "already has a block labelled 'goals'" in listed[1]["error"]
    assert [blocks(client, each.agent_ids[0]).get("goals") for each in made] == ["New.", "its own", "New."]


def jobs_of(http: httpx.Client, subject_id: str) -> Iterator[Any]:
    while found := [job for job in ok(http.get("/v1/jobs/active")) if job["subject_id"] == subject_id]:
        yield from found


def test_a_template_of_an_agent_file(client: Letta, http: httpx.Client, source: Any, name: str) -> None:
    source_code = f'def {name.replace("-", "_")}() -> str:\n    """Say hi."""\n    return "hi"\n'
    tool = client.tools.create(source_code=source_code)
    client.agents.tools.attach(tool.id, agent_id=source.id)
    file = ok(http.get(f"/v1/agents/{source.id}/export"))
    client.templates.create(type="agent_file", agent_file=file, name=name)
    (agent_id,) = client.templates.agents.create(name, memory_variables={"customer": "Bob", "city": "Rome"}).agent_ids
    agent = client.agents.retrieve(agent_id, include=["agent.tools"])
    assert agent.system == "You serve Bob."
    assert {each.name for each in agent.tools} == {"conversation_search", tool.name}
    assert blocks(client, agent_id) == {"human": "Name: Bob. City: Rome.", "rules": "Be kind."}
    before = ok(http.get(f"/v1/templates/p/{name}:1/snapshot"))
    file["agents"][0]["system"] = "Another."
    assert client.templates.update(name, agent_file_json=file, save_existing_changes=True).success
    after = ok(http.get(f"/v1/templates/p/{name}:current/snapshot"))
    assert after["agents"][0]["systemPrompt"] == "Another."
    names = [each["entityId"] for each in before["blocks"]], before["agents"][0]["entityId"]
    assert ([each["entityId"] for each in after["blocks"]], after["agents"][0]["entityId"]) == names
    assert ok(http.put(f"/v1/templates/p/{name}/agent-file", json={"agent_file_json": file}))["success"]
    with pytest.raises(APIStatusError, match="character card"):
        client.templates.create(type="agent_file", agent_file={"spec": 1, "data": {}})


def test_several_agents_share_blocks_as_their_template_says(client: Letta, http: httpx.Client, name: str) -> None:
    def agent(entity: str) -> dict[str, Any]:
        return {"entityId": entity, "name": entity, "model": MODEL, "systemPrompt": f"I am {entity}."}

    snapshot = {
        "agents": [agent("boss"), agent("clerk")],
        "blocks": [{"entityId": "b", "label": "plan", "value": "{{goal}}"}],
        "relationships": [
            {"agentEntityId": "boss", "blockEntityId": "b"},
            {"agentEntityId": "clerk", "blockEntityId": "b", "access": "read"},
        ],
    }
    single = client.agents.create(model=MODEL)
    client.templates.create(type="agent", agent_id=single.id, name=name)
    ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=snapshot))
    made = client.templates.agents.create(f"{name}:current", agent_name="x", memory_variables={"goal": "Win."})
    first, second = made.agent_ids
    assert [client.agents.retrieve(each).name for each in (first, second)] == ["x", "x-clerk"]
    (one,), (other,) = client.agents.blocks.list(first), client.agents.blocks.list(second)
    assert (one.id, one.value, other.model_dump()["access"]) == (other.id, "Win.", "read")
    client.agents.delete(single.id)


_AGENT = {"name": "a", "model": MODEL, "systemPrompt": "s"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"agents": []}, "agents"),
        ({"relationships": [{"agentEntityId": "x", "blockEntityId": "y"}]}, "relationships"),
        ({"blocks": [{"label": "a", "value": "v", "limit": 0}]}, "limit"),
        ({"agents": [_AGENT | {"properties": {"temperature": 99}}], "relationships": []}, "temperature"),
    ],
)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_snapshot_that_does_not_fit_is_refused(
    http: httpx.Client, client: Letta, source: Any, name: str, change: dict[str, Any], named: str
) -> None:
    client.templates.create(type="agent", agent_id=source.id, name=name)
    before = ok(http.get(f"/v1/templates/p/{name}:current/snapshot"))
    answer = http.put(f"/v1/templates/p/{name}:current/snapshot", json={**before, **change})
    assert (answer.status_code, named in answer.json()["detail"]) == (422, True), answer.text
    assert ok(http.get(f"/v1/templates/p/{name}:current/snapshot")) == before


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_variables_that_would_swell_a_plan_are_refused(
    http: httpx.Client, client: Letta, source: Any, name: str
) -> None:
    client.templates.create(type="agent", agent_id=source.id, name=name)
    snapshot = ok(http.get(f"/v1/templates/p/{name}:current/snapshot"))
    (agent,) = snapshot["agents"]
    agent["systemPrompt"] = "{{theme}}" * 1000
    ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=snapshot))
    swollen = {"memory_variables": {"theme": "x" * 6000}}
    answer = http.post(f"/v1/templates/{name}:current/agents", json=swollen)
    assert (answer.status_code, "5,000,000 characters" in answer.json()["detail"]) == (422, True), answer.text
    made = ok(http.post(f"/v1/templates/{name}:current/agents", json={"memory_variables": {"theme": "Ada"}}))
    assert client.agents.retrieve(made["agent_ids"][0]).system == "Ada" * 1000


def test_a_group_rides_along_in_a_template(client: Letta, http: httpx.Client, new_agent: NewAgent, name: str) -> None:
    shared = client.blocks.create(label="plan", value="Win {{match}}.")
    boss, ann, bob = (new_agent(name=each, block_ids=[shared.id]) for each in ("boss", "ann", "bob"))
    manager = {"manager_type": "dynamic", "manager_agent_id": boss.id, "max_turns": 4, "termination_token": "END"}
    told = {"agent_ids": [ann.id, bob.id], "description": "Chess", "shared_block_ids": [shared.id]}
    group = ok(http.post("/v1/groups", json={**told, "manager_config": manager}))
    ok(http.post("/v1/templates", json={"type": "group", "group_id": group["id"], "name": name}))
    snapshot = ok(http.get(f"/v1/templates/p/{name}:1/snapshot"))
    assert snapshot["type"] == "dynamic"
    assert (snapshot["configuration"]["maxTurns"], snapshot["configuration"]["terminationToken"]) == (4, "END")
    assert [each["label"] for each in snapshot["blocks"]] == ["plan"]

    made = client.templates.agents.create(name, agent_name="x", memory_variables={"match": "it"})
    copy = ok(http.get(f"/v1/agents/{made.agent_ids[0]}"))["managed_group"]
    assert (copy["deployment_id"], copy["id"]) == (made.deployment_id, made.group_id)
    assert (copy["manager_agent_id"], copy["agent_ids"]) == (made.agent_ids[0], made.agent_ids[1:])
    assert [copy[each] for each in ("manager_type", "max_turns", "termination_token", "description")] == [
        "dynamic", 4, "END", "Chess",
    ]  # fmt: skip
    (block,) = client.agents.blocks.list(made.agent_ids[2])
    assert (copy["shared_block_ids"], block.value) == ([block.id], "Win it.")
    assert block.id != shared.id

    of_agent = ok(http.post("/v1/templates", json={"type": "agent", "agent_id": boss.id}))
    again = ok(http.get(f"/v1/templates/p/{of_agent['name']}:1/snapshot"))
    assert ([each["name"] for each in again["agents"]], again["type"]) == (["boss", "ann", "bob"], "dynamic")

    snapshot["configuration"]["maxTurns"] = 9
    ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=snapshot))
    client.templates.save(name)
    path = f"/v1/templates/p/{name}/deployments/{made.deployment_id}/migrate"
    ok(http.post(path, json={"version": "2"}))
    assert ok(http.get(f"/v1/groups/{copy['id']}"))["max_turns"] == 9
    snapshot["type"] = snapshot["configuration"]["managerType"] = "round_robin"
    ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=snapshot))
    refused = http.post(path, json={"version": "current"})
    assert (refused.status_code, "kind dynamic" in refused.json()["detail"]) == (400, True), refused.text
    for change, named in (
        ({"managerAgentEntityId": "nobody"}, "none of the agents"),
        ({"managerAgentEntityId": None}, "managerAgentEntityId"),
        ({"maxTurns": 0}, "max_turns"),
    ):
        wrong = {**snapshot, "type": "dynamic", "configuration": {**snapshot["configuration"], **change}}
        answer = http.put(f"/v1/templates/p/{name}:current/snapshot", json=wrong)
        assert (answer.status_code, named in answer.json()["detail"]) == (422, True), answer.text


def test_a_sleep_time_agent_is_made_from_a_template_with_who_tends_its_memory(
    client: Letta, http: httpx.Client, name: str
) -> None:
    memory = [{"label": "human", "value": "{{who}}"}]
    owl = ok(
        http.post("/v1/agents", json={"name": "owl", "model": MODEL, "enable_sleeptime": True, "memory_blocks": memory})
    )
    kind = {"manager_type": "sleeptime", "sleeptime_agent_frequency": 2}
    ok(http.patch(f"/v1/groups/{owl['managed_group']['id']}", json={"manager_config": kind}))
    client.templates.create(type="agent", agent_id=owl["id"], name=name)
    made = client.templates.agents.create(name, agent_name="copy", memory_variables={"who": "Ada"})
    copy = ok(http.get(f"/v1/agents/{made.agent_ids[0]}"))
    group = copy["managed_group"]
    assert (group["sleeptime_agent_frequency"], group["agent_ids"]) == (2, made.agent_ids[1:])
    theirs = {each.label: each.id for each in client.agents.blocks.list(group["agent_ids"][0])}
    assert {each["label"]: each["id"] for each in copy["blocks"]}.items() <= theirs.items()
    assert set(theirs) == {"human", "memory_persona"}

    snapshot = ok(http.get(f"/v1/templates/p/{name}:1/snapshot"))
    alone = {**snapshot, "agents": snapshot["agents"][:1], "type": "classic", "configuration": {}}
    alone["relationships"] = [
        each for each in snapshot["relationships"] if each["agentEntityId"] == alone["agents"][0]["entityId"]
    ]
    ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=alone))
    (single,) = client.templates.agents.create(f"{name}:current").agent_ids
    partner = ok(http.get(f"/v1/agents/{single}"))["managed_group"]["agent_ids"]
    assert len(partner) == 1
    for agent_id in (made.agent_ids[0], single, owl["id"]):
        client.agents.delete(agent_id)
    for agent_id in (*partner, *group["agent_ids"]):
        assert http.get(f"/v1/agents/{agent_id}").status_code == 404


def test_settings_that_a_version_has_no_more_go_and_what_the_agent_has_for_itself_stays(
    client: Letta, http: httpx.Client, new_agent: NewAgent, name: str
) -> None:
    source = new_agent(
        tools=["conversation_search"],
        include_base_tools=False,
        tool_rules=[{"type": "run_first", "tool_name": "conversation_search"}],
        model_settings={"provider_type": "openai", "temperature": 0.3},
        context_window_limit=20_000,
        timezone="Europe/Berlin",
    )
    client.templates.create(type="agent", agent_id=source.id, name=name)
    made = client.templates.agents.create(f"{name}:1")
    (agent_id,) = made.agent_ids
    ok(http.patch(f"/v1/agents/{agent_id}", json={"metadata": {"customer": 7}, "enable_sleeptime": False}))
    like = {"tool_name": "conversation_search", "arguments": {"query": "a"}}
    ok(http.post(f"/v1/agents/{agent_id}/standing-approvals", json=like))
    snapshot = ok(http.get(f"/v1/templates/p/{name}:1/snapshot"))
    snapshot["agents"][0].update(toolRules=[], configuration={}, properties={}, timezone="Asia/Tokyo")
    ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=snapshot))
    client.templates.save(name)
    path = f"/v1/templates/p/{name}/deployments/{made.deployment_id}/migrate"
    ok(http.post(path, json={"version": "2"}))
    led, fresh = (
        client.agents.retrieve(each) for each in (agent_id, client.templates.agents.create(f"{name}:2").agent_ids[0])
    )
    assert (led.tool_rules, led.timezone) == (fresh.tool_rules, fresh.timezone) == ([], "Asia/Tokyo")
    assert (led.model_settings, led.llm_config) == (fresh.model_settings, fresh.llm_config)
    assert (led.metadata, led.enable_sleeptime) == ({"customer": 7}, False)
    assert len(ok(http.get(f"/v1/agents/{agent_id}/standing-approvals"))) == 1
    ok(http.post(path, json={"version": "1"}))
    back = client.agents.retrieve(agent_id)
    assert (back.tool_rules, back.model_settings, back.timezone) == (
        source.tool_rules,
        source.model_settings,
        "Europe/Berlin",
    )


def test_blocks_swap_labels_and_a_new_one_takes_the_label_of_one_that_goes(
    client: Letta, http: httpx.Client, name: str
) -> None:
    blocks_then = {"a": ("plan", "A"), "b": ("notes", "B"), "c": ("rules", "C")}
    blocks_now = {"a": ("notes", "A"), "b": ("plan", "B"), "d": ("rules", "D")}

    def save(planned: dict[str, tuple[str, str]]) -> None:
        agents = [{"entityId": each, "name": each, "model": MODEL, "systemPrompt": "s"} for each in ("one", "two")]
        of_one = [{"agentEntityId": "one", "blockEntityId": each} for each in planned]
        of_two = [{"agentEntityId": "two", "blockEntityId": each} for each in ("a", "b")]  # shared with the first
        blocks = [{"entityId": key, "label": label, "value": value} for key, (label, value) in planned.items()]
        body = {"agents": agents, "blocks": blocks, "relationships": [*of_one, *of_two]}
        ok(http.put(f"/v1/templates/p/{name}:current/snapshot", json=body))
        ok(http.post(f"/v1/templates/{name}/save", json={}))

    single = ok(http.post("/v1/agents", json={"model": MODEL}))
    client.templates.create(type="agent", agent_id=single["id"], name=name)
    save(blocks_then)
    made = client.templates.agents.create(f"{name}:2")
    save(blocks_now)
    path = f"/v1/templates/p/{name}/deployments/{made.deployment_id}/migrate"
    refused = http.post(path, json={"version": "3"})  # what the version has no more stays, with its label
    assert (refused.status_code, "already has a block labelled 'rules'" in refused.text) == (409, True)
    assert blocks(client, made.agent_ids[0]) == {"plan": "A", "notes": "B", "rules": "C"}
    ok(http.post(path, json={"version": "3", "block_reconciliation_strategy": "reconcile-all"}))
    assert [blocks(client, each) for each in made.agent_ids] == [
        {"plan": "B", "notes": "A", "rules": "D"},
        {"plan": "B", "notes": "A"},
    ]
