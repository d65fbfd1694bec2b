"""Lists of agents over HTTP: filters, counts, pages and what comes with each agent."""

from __future__ import annotations

from itertools import islice
from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import Letta

from support.fixtures import NewAgent, NewBlock


@pytest.fixture
def tag() -> str:
    """A tag that no other test uses, to find this test's agents by."""
    return f"tag_{uuid4().hex}"


def names(client: Letta, **wanted: Any) -> set[str]:
    return {agent.name for agent in client.agents.list(**wanted)}


def test_by_name_and_part_of_a_name(client: Letta, new_agent: NewAgent, tag: str) -> None:
    agent = new_agent(name=f"{tag}_Scout")
    new_agent(name=f"{tag}_Scout_2")
    assert [found.id for found in client.agents.list(name=agent.name)] == [agent.id]
    assert names(client, query_text=f"{tag}_scout") == {f"{tag}_Scout", f"{tag}_Scout_2"}
    assert names(client, query_text=f"{tag}%") == set()


def test_by_tags_any_or_all(client: Letta, new_agent: NewAgent, tag: str) -> None:
    new_agent(name="both", tags=[tag, f"{tag}_2"])
    new_agent(name="one", tags=[tag])
    assert names(client, tags=[tag]) == {"both", "one"}
    assert names(client, tags=[tag, f"{tag}_2"]) == {"both", "one"}
    assert names(client, tags=[tag, f"{tag}_2"], match_all_tags=True) == {"both"}
    assert names(client, tags=[tag, tag], match_all_tags=True) == {"both", "one"}


def test_by_last_stop_reason(client: Letta, new_agent: NewAgent, tag: str) -> None:
    ended = new_agent(name="ended", tags=[tag])
    stopped = new_agent(name="stopped", tags=[tag])
    new_agent(name="silent", tags=[tag])
    client.agents.messages.create(stopped.id, input="ECHO first")
    client.agents.messages.create(ended.id, input="ECHO hello")
    script = 'CALL memory_insert {"label": "x", "new_string": "y"}\nTHEN ECHO done'
    client.agents.messages.create(stopped.id, input=script, max_steps=1)
    assert names(client, tags=[tag], last_stop_reason="end_turn") == {"ended"}
    assert names(client, tags=[tag], last_stop_reason="max_steps") == {"stopped"}
    assert client.agents.retrieve(stopped.id).last_stop_reason == "max_steps"


def test_each_is_told_its_context_and_how_its_last_run_ended(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock, tag: str
) -> None:
    shared = new_block()
    ended, stopped, _ = (new_agent(tags=[tag], block_ids=[shared.id]) for _ in range(3))
    for text in ("ECHO first", "ECHO second"):
        client.agents.messages.create(ended.id, input=text)
    script = 'CALL memory_insert {"label": "x", "new_string": "y"}\nTHEN ECHO done'
    client.agents.messages.create(stopped.id, input=script, max_steps=1)
    elsewhere = client.conversations.create(agent_id=ended.id)
    assert list(client.conversations.messages.create(elsewhere.id, input="ECHO elsewhere"))
    found = client.agents.list(tags=[tag]).items
    assert [len(agent.message_ids or ()) for agent in found] == [1, 4, 5]
    assert [agent.last_stop_reason for agent in found] == [None, "max_steps", "end_turn"]
    told = {"message_ids", "last_run_completion", "last_run_duration_ms", "last_stop_reason"}
    for path in ("/v1/agents", f"/v1/blocks/{shared.id}/agents"):
        for listed in http.get(path, params={"tags": tag}).json():
            alone = client.agents.retrieve(listed["id"]).model_dump(mode="json", include=told)
            assert {name: listed[name] for name in told} == alone


def test_one_that_waits_for_an_approval_is_told_with_its_request(client: Letta, new_agent: NewAgent, tag: str) -> None:
    waits, _ = new_agent(tags=[tag], tools=["memory_insert"]), new_agent(tags=[tag])
    client.agents.tools.update_approval("memory_insert", agent_id=waits.id, body_requires_approval=True)
    client.agents.messages.create(waits.id, input='CALL memory_insert {"label": "x", "new_string": "y"}')
    found = client.agents.list(tags=[tag], include=["agent.pending_approval"]).items
    asked = client.agents.retrieve(waits.id, include=["agent.pending_approval"]).pending_approval
    assert asked is not None and [agent.pending_approval for agent in found] == [None, asked]
    assert [agent.pending_approval for agent in client.agents.list(tags=[tag])] == [None, None]


def test_by_project_and_template(client: Letta, new_agent: NewAgent, tag: str) -> None:
    new_agent(name="mine", project_id=tag)
    new_agent(name="other")
    assert names(client, project_id=tag) == {"mine"}
    assert names(client, project_id=f'{tag}"') == set()
    assert names(client, template_id=tag) == set()


def test_metadata_that_looks_like_a_project_is_none(client: Letta, new_agent: NewAgent, tag: str) -> None:
    new_agent(metadata={"project_id": tag, "template_id": tag})
    assert names(client, project_id=tag) == set()
    assert names(client, template_id=tag) == set()


def test_filters_are_counted_alike(http: httpx.Client, new_agent: NewAgent, tag: str) -> None:
    for number in range(3):
        new_agent(tags=[tag], name=f"{tag}_{number}")
    assert http.get("/v1/agents/count", params={"tags": tag}).json() == 3
    assert http.get("/v1/agents/count/", params={"name": f"{tag}_1"}).json() == 1
    assert http.get("/v1/agents/count", params={"tags": f"{tag}_none"}).json() == 0


def test_a_list_shows_of_each_agent_what_is_asked_for(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, tag: str
) -> None:
    block = new_block()
    for _ in range(2):
        new_agent(tags=[tag], block_ids=[block.id], secrets={"TOKEN": "t"})
    for bare in client.agents.list(tags=[tag]):
        assert (bare.blocks, bare.tools, bare.tags, bare.secrets) == ([], [], [], [])
    for full in client.agents.list(tags=[tag], include=["agent.blocks", "agent.tools", "agent.tags"]):
        assert [mine.id for mine in full.blocks] == [block.id]
        assert [tool.name for tool in full.tools] == ["memory_insert", "memory_replace", "conversation_search"]
        assert full.tags == [tag]


OLDER = {"user-agent": "letta-client/0.1.324"}
NEWER = {"user-agent": "letta-client/1.12.1"}
PARTS = {"blocks", "tools", "tags"}


@pytest.mark.parametrize(("headers", "plain"), [(NEWER, set()), (OLDER, PARTS)], ids=["newer", "older"])
@pytest.mark.parametrize("by_block", [False, True])
def test_an_include_adds_to_what_a_client_of_its_age_gets(
    http: httpx.Client,
    new_agent: NewAgent,
    new_block: NewBlock,
    tag: str,
    headers: dict[str, str],
    plain: set[str],
    by_block: bool,
) -> None:
    block = new_block()
    new_agent(tags=[tag], block_ids=[block.id], secrets={"TOKEN": "t"})
    path = f"/v1/blocks/{block.id}/agents" if by_block else "/v1/agents"

    def shown(include: list[str]) -> set[str]:
        (agent,) = http.get(path, params={"tags": tag, "include": include}, headers=headers).json()
        return {name for name in (*PARTS, "secrets") if agent[name]}

    assert shown([]) == plain
    assert shown(["agent.tags"]) == plain | {"tags"}
    assert shown(["agent.secrets"]) == plain | {"secrets"}


def test_the_older_form_of_include_says_all_that_a_list_shows(
    http: httpx.Client, new_agent: NewAgent, tag: str
) -> None:
    new_agent(tags=[tag])
    (agent,) = http.get("/v1/agents", params={"tags": tag, "include_relationships": "tags"}, headers=OLDER).json()
    assert (agent["tags"], agent["tools"]) == ([tag], [])


@pytest.fixture
def five(new_agent: NewAgent, tag: str) -> list[str]:
    """Five agents, oldest first."""
    return [new_agent(tags=[tag]).id for _ in range(5)]


@pytest.mark.parametrize("limit", [1, 2, 5, 6])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_client_pages_through_all_without_gap_or_duplicate(
    client: Letta, five: list[str], tag: str, limit: int, order: Any
) -> None:
    wanted = five if order == "asc" else five[::-1]
    listed = islice(client.agents.list(tags=[tag], limit=limit, order=order), 2 * len(wanted))
    assert [agent.id for agent in listed] == wanted


def test_the_newest_come_first_unless_the_request_says_otherwise(client: Letta, five: list[str], tag: str) -> None:
    assert [agent.id for agent in client.agents.list(tags=[tag])] == five[::-1]


def test_before_gives_the_items_in_front(client: Letta, five: list[str], tag: str) -> None:
    page = client.agents.list(tags=[tag], limit=2, order="asc", before=five[3]).items
    assert [agent.id for agent in page] == five[1:3]


def test_by_time_of_update(client: Letta, five: list[str], tag: str) -> None:
    client.agents.update(five[1], description="touched")
    listed = client.agents.list(tags=[tag], limit=2, order="desc", order_by="updated_at")
    assert [agent.id for agent in listed] == [five[1], five[4], five[3], five[2], five[0]]


def test_the_older_names_of_the_order(client: Letta, http: httpx.Client, five: list[str], tag: str) -> None:
    client.agents.update(five[1], description="touched")
    ascending = http.get("/v1/agents/", params={"tags": tag, "ascending": "true"}).json()
    assert [agent["id"] for agent in ascending] == five
    by_update = http.get("/v1/agents/", params={"tags": tag, "sort_by": "updated_at"}).json()
    assert by_update[0]["id"] == five[1]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_program_deletes_agents_as_it_lists_them(client: Letta, five: list[str], tag: str, order: Any) -> None:
    gone = []
    for agent in client.agents.list(tags=[tag], limit=2, order=order):
        client.agents.delete(agent.id)
        gone.append(agent.id)
    assert gone == (five if order == "asc" else five[::-1])
    assert client.agents.list(tags=[tag]).items == []


def test_by_the_end_of_the_last_run(client: Letta, http: httpx.Client, five: list[str], tag: str) -> None:
    for agent_id in (five[3], five[1]):
        client.agents.messages.create(agent_id, input="ECHO hello")
    listed = client.agents.list(tags=[tag], limit=2, order="desc", order_by="last_run_completion")
    assert [agent.id for agent in listed] == [five[1], five[3], five[4], five[2], five[0]]
    older = http.get("/v1/agents", params={"tags": tag, "sort_by": "last_run_completion", "ascending": False})
    assert [agent["id"] for agent in older.json()][:2] == [five[1], five[3]]
    client.agents.delete(five[3])
    rest = client.agents.list(tags=[tag], limit=1, order="desc", order_by="last_run_completion", after=five[3])
    assert rest.items[0].id == five[4]


def test_by_creator(client: Letta, five: list[str], tag: str) -> None:
    me = client.agents.retrieve(five[0]).created_by_id
    assert len(client.agents.list(tags=[tag], created_by_id=me).items) == 5
    assert client.agents.list(tags=[tag], created_by_id="user-00000000-0000-4000-8000-00000000000f").items == []


def test_tags_of_agents_and_blocks_are_listed_by_name(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, tag: str
) -> None:
    new_agent(tags=[f"{tag}_c", f"{tag}_a"])
    new_agent(tags=[f"{tag}_a"])
    new_block(tags=[f"{tag}_b", f"{tag}_d"])
    wanted = [f"{tag}_{letter}" for letter in "abcd"]
    assert client.tags.list(query_text=tag) == wanted
    assert client.tags.list(query_text=tag, limit=2) == wanted[:2]
    assert client.tags.list(query_text=tag, limit=2, after=wanted[1]) == wanted[2:]
    assert client.tags.list(query_text=tag, order="desc") == wanted[::-1]
