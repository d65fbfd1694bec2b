"""Groups: made, changed, listed, deleted; the blocks that they share; what happens when an agent of theirs goes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from letta_client import Letta

from runs.talking import ok
from support.fixtures import NewAgent, NewBlock, one_store

UNKNOWN_AGENT = "agent-00000000-0000-4000-8000-000000000000"


def new_group(http: httpx.Client, *agent_ids: str, **fields: Any) -> dict[str, Any]:
    group: dict[str, Any] = ok(
        http.post("/v1/groups", json={"agent_ids": list(agent_ids), "description": "Some", **fields})
    )
    return group


def test_a_group_of_each_kind_is_made_and_read_back(http: httpx.Client, new_agent: NewAgent) -> None:
    one, two, manager = new_agent().id, new_agent().id, new_agent().id
    kinds: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"manager_type": "round_robin", "max_turns": 2}, {"max_turns": 2, "manager_agent_id": None}),
        ({"manager_type": "supervisor", "manager_agent_id": manager}, {"manager_agent_id": manager}),
        ({"manager_type": "dynamic", "manager_agent_id": manager}, {"termination_token": "DONE!", "max_turns": None}),
        ({"manager_type": "sleeptime", "manager_agent_id": manager}, {"sleeptime_agent_frequency": 5}),
        (
            {"manager_type": "voice_sleeptime", "manager_agent_id": manager, "max_message_buffer_length": 9},
            {"max_message_buffer_length": 9, "turns_counter": -1},
        ),
    ]
    made = []
    for config, shown in kinds:
        group = new_group(http, one, two, manager_config=config)
        assert {**group, **shown, "manager_type": config["manager_type"], "agent_ids": [one, two]} == group
        assert ok(http.get(f"/v1/groups/{group['id']}")) == group
        made.append(group)
    assert new_group(http, one)["manager_type"] == "round_robin"
    mine = ok(http.get(f"/v1/agents/{two}/groups"))
    assert [group["id"] for group in mine] == [group["id"] for group in reversed(made)]
    only = ok(http.get(f"/v1/agents/{two}/groups", params={"manager_type": "dynamic"}))
    assert [group["id"] for group in only] == [made[2]["id"]]
    agent = ok(http.get(f"/v1/agents/{manager}"))
    assert agent["managed_group"] == agent["multi_agent_group"] == made[1], "the oldest of those that it manages"
    assert ok(http.get("/v1/groups/count")) >= 6


def test_groups_are_listed_by_kind_and_project_in_pages(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent().id
    project = f"project-{agent[6:]}"
    made = [new_group(http, agent, project_id=project)["id"] for _ in range(3)]
    listed = ok(http.get("/v1/groups", params={"project_id": project}))
    assert [group["id"] for group in listed] == made
    newest = ok(http.get("/v1/groups", params={"project_id": project, "order": "desc", "limit": 1}))
    rest = ok(http.get("/v1/groups", params={"project_id": project, "order": "desc", "after": newest[0]["id"]}))
    assert [group["id"] for group in [*newest, *rest]] == made[::-1]
    assert ok(http.get("/v1/groups", params={"project_id": project, "manager_type": "dynamic"})) == []


def test_a_group_is_changed_and_deleted_and_its_kind_stays(http: httpx.Client, new_agent: NewAgent) -> None:
    one, two, manager = new_agent().id, new_agent().id, new_agent().id
    group = new_group(http, one, manager_config={"manager_type": "round_robin", "max_turns": 2})
    path = f"/v1/groups/{group['id']}"
    changed = ok(http.patch(path, json={"description": "Changed", "agent_ids": [two, one]}))
    assert changed == {**group, "description": "Changed", "agent_ids": [two, one]}
    assert (
        ok(http.patch(path, json={"manager_config": {"manager_type": "round_robin", "max_turns": 1}}))["max_turns"] == 1
    )
    other = {"manager_config": {"manager_type": "supervisor", "manager_agent_id": manager}}
    assert http.patch(path, json=other).status_code == 400
    assert http.patch(path, json={"manager_config": {"max_turns": 3}}).status_code == 422
    assert group["id"] in ok(http.delete(path))["message"]
    assert http.get(path).status_code == http.delete(path).status_code == 404
    ok(http.get(f"/v1/agents/{one}"))


def test_shared_blocks_are_those_of_everybody_in_the_group(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    one, late, manager = new_agent().id, new_agent().id, new_agent().id
    first, second = new_block().id, new_block().id

    def have(block_id: str) -> list[bool]:
        blocks = [client.agents.blocks.list(agent_id=agent_id) for agent_id in (one, late, manager)]
        return [block_id in {block.id for block in each} for each in blocks]

    config = {"manager_type": "supervisor", "manager_agent_id": manager}
    group = new_group(http, one, manager_config=config, shared_block_ids=[first])
    path = f"/v1/groups/{group['id']}"
    assert (group["shared_block_ids"], have(first)) == ([first], [True, False, True])
    assert ok(http.patch(f"{path}/blocks/attach/{second}")) is None
    assert ok(http.patch(path, json={"agent_ids": [one, late]}))["shared_block_ids"] == [first, second]
    assert have(second) == [True, True, True], "who joins gets them"
    assert ok(http.patch(f"{path}/blocks/detach/{second}")) is None
    assert have(second) == [False, False, False]
    ok(http.delete(path))
    assert have(first) == [True, True, True], "a group that goes takes nothing from its agents"


def test_a_member_that_goes_leaves_the_group_and_a_manager_takes_it_along(
    http: httpx.Client, new_agent: NewAgent
) -> None:
    one, two, manager = new_agent().id, new_agent().id, new_agent().id
    group = new_group(http, one, two, manager_config={"manager_type": "supervisor", "manager_agent_id": manager})
    ok(http.delete(f"/v1/agents/{one}"))
    assert ok(http.get(f"/v1/groups/{group['id']}"))["agent_ids"] == [two]
    ok(http.delete(f"/v1/agents/{manager}"))
    assert http.get(f"/v1/groups/{group['id']}").status_code == 404
    ok(http.get(f"/v1/agents/{two}"))


@one_store
@pytest.mark.parametrize(
    ("fields", "status", "told"),
    [
        ({"agent_ids": [UNKNOWN_AGENT]}, 404, UNKNOWN_AGENT),
        ({"shared_block_ids": ["block-00000000-0000-4000-8000-000000000000"]}, 404, "block"),
        ({"description": None}, 422, "description"),
        ({"manager_config": {"manager_type": "swarm"}}, 422, "swarm"),
        ({"manager_config": {"manager_type": "supervisor"}}, 422, "manager_agent_id"),
        ({"manager_config": {"manager_type": "round_robin", "max_turns": 101}}, 422, "max_turns"),
        ({"agent_ids": [UNKNOWN_AGENT] * 51}, 422, "agent_ids"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    http: httpx.Client, new_agent: NewAgent, fields: dict[str, Any], status: int, told: str
) -> None:
    before = ok(http.get("/v1/groups/count"))
    body = {"agent_ids": [new_agent().id], "description": "Some", **fields}
    refused = http.post("/v1/groups", json=body)
    assert refused.status_code == status, refused.text
    assert told in refused.text
    assert ok(http.get("/v1/groups/count")) == before


@one_store
def test_an_agent_does_not_manage_itself(http: httpx.Client, new_agent: NewAgent) -> None:
    one = new_agent().id
    config = {"manager_type": "supervisor", "manager_agent_id": one}
    refused = http.post("/v1/groups", json={"agent_ids": [one], "description": "", "manager_config": config})
    assert (refused.status_code, one in refused.text) == (422, True)
