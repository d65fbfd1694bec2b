"""An agent's core memory over HTTP: blocks by label, attached, detached, changed."""

from __future__ import annotations

from itertools import islice
from typing import Any

import httpx
import pytest
from assertions import UNKNOWN, assert_error
from letta_client import ConflictError, Letta, NotFoundError, UnprocessableEntityError

from support.fixtures import NewAgent, NewBlock


def attached(client: Letta, agent_id: str) -> set[str]:
    return {block.id for block in client.agents.blocks.list(agent_id)}


def test_core_memory_shows_the_blocks_in_the_order_they_were_attached(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    blocks = [new_block(value=str(number)) for number in range(3)]
    agent = new_agent(block_ids=[blocks[1].id])
    for place in (2, 0):
        client.agents.blocks.attach(blocks[place].id, agent_id=agent.id)
    memory = http.get(f"/v1/agents/{agent.id}/core-memory").json()
    assert [block["value"] for block in memory["blocks"]] == ["1", "2", "0"]
    assert memory["agent_type"] == "letta_v1_agent"
    assert [block.value for block in client.agents.retrieve(agent.id).blocks] == ["1", "2", "0"]


@pytest.mark.parametrize("limit", [1, 2, 4])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_client_pages_through_an_agents_blocks(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, limit: int, order: Any
) -> None:
    ids = [new_block().id for _ in range(3)]
    agent = new_agent(block_ids=ids)
    wanted = ids if order == "asc" else ids[::-1]
    listed = islice(client.agents.blocks.list(agent.id, limit=limit, order=order), 2 * len(wanted))
    assert [block.id for block in listed] == wanted


def test_a_block_by_its_label(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block(value="shared", description="d", metadata={"k": 1})
    agent = new_agent(block_ids=[block.id])
    found = client.agents.blocks.retrieve(str(block.label), agent_id=agent.id)
    assert (found.id, found.value, found.description, found.metadata) == (block.id, "shared", "d", {"k": 1})


@pytest.mark.parametrize("label", ["with space", "ünï", "a.b-c_d", "100%", "attach", "日本", "q?x#y", "+"])
@pytest.mark.every_case_on_both
def test_a_label_of_any_characters_can_be_asked_for(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, label: str
) -> None:
    block = new_block(label=label)
    agent = new_agent(block_ids=[block.id])
    assert client.agents.blocks.retrieve(label, agent_id=agent.id).id == block.id
    assert client.agents.blocks.update(label, agent_id=agent.id, value="new").value == "new"


def test_an_update_by_label_is_seen_by_every_agent(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block(value="old", limit=20)
    first, second = (new_agent(block_ids=[block.id]) for _ in range(2))
    changed = client.agents.blocks.update(str(block.label), agent_id=first.id, value="new", description="d")
    assert (changed.value, changed.description) == ("new", "d")
    assert client.agents.blocks.retrieve(str(block.label), agent_id=second.id).value == "new"
    assert client.blocks.retrieve(block.id).value == "new"


def test_an_update_by_label_keeps_the_limit(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block(value="old", limit=5)
    agent = new_agent(block_ids=[block.id])
    with pytest.raises(UnprocessableEntityError) as caught:
        client.agents.blocks.update(str(block.label), agent_id=agent.id, value="too long")
    assert_error(caught.value.response, 422, "8", "5")
    assert client.blocks.retrieve(block.id) == block


def test_the_owner_may_change_a_read_only_block(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block(value="old", read_only=True)
    agent = new_agent(block_ids=[block.id])
    assert client.agents.blocks.update(str(block.label), agent_id=agent.id, value="new").value == "new"
    assert client.blocks.update(block.id, value="newer").value == "newer"


def test_a_label_is_renamed_in_every_agent(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    client.blocks.update(block.id, label="renamed")
    assert client.agents.blocks.retrieve("renamed", agent_id=agent.id).id == block.id
    with pytest.raises(NotFoundError):
        client.agents.blocks.retrieve(str(block.label), agent_id=agent.id)


def test_a_label_cannot_become_that_of_an_agents_other_block(
    client: Letta, new_agent: NewAgent, new_block: NewBlock
) -> None:
    first, second = new_block(), new_block()
    agent = new_agent(block_ids=[first.id, second.id])
    with pytest.raises(ConflictError) as caught:
        client.blocks.update(first.id, label=str(second.label), value="never")
    assert_error(caught.value.response, 409, agent.id, first.id, second.id, str(second.label))
    assert client.blocks.retrieve(first.id) == first


def test_an_unknown_label_is_not_found(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    path = f"/v1/agents/{agent.id}/core-memory/blocks/nope"
    assert_error(http.get(path), 404, "'nope'", agent.id)
    assert_error(http.patch(path, json={"value": "x"}), 404, "'nope'", agent.id)


# -- attach, detach ------------------------------------------------------------------------------------------


def test_attach_and_detach_answer_with_the_agent(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block, agent = new_block(value="kept"), new_agent()
    after = client.agents.blocks.attach(block.id, agent_id=agent.id)
    assert after is not None
    assert [mine.id for mine in after.blocks] == [block.id]
    after = client.agents.blocks.detach(block.id, agent_id=agent.id)
    assert after is not None
    assert after.blocks == []
    assert client.blocks.retrieve(block.id).value == "kept"


def test_attaching_again_changes_nothing(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    after = client.agents.blocks.attach(block.id, agent_id=agent.id)
    assert after is not None
    assert [mine.id for mine in after.blocks] == [block.id]
    assert attached(client, agent.id) == {block.id}


def test_a_second_block_of_a_label_is_409_and_not_attached(
    client: Letta, new_agent: NewAgent, new_block: NewBlock
) -> None:
    first = new_block()
    second = new_block(label=first.label)
    agent = new_agent(block_ids=[first.id])
    with pytest.raises(ConflictError) as caught:
        client.agents.blocks.attach(second.id, agent_id=agent.id)
    assert_error(caught.value.response, 409, first.id, second.id, str(first.label))
    assert attached(client, agent.id) == {first.id}
    client.agents.blocks.detach(first.id, agent_id=agent.id)
    client.agents.blocks.attach(second.id, agent_id=agent.id)
    assert attached(client, agent.id) == {second.id}


@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_unknown_blocks_and_agents_are_not_found(
    http: httpx.Client, new_agent: NewAgent, new_block: NewBlock, verb: str
) -> None:
    agent, block = new_agent(), new_block()
    memory = f"/v1/agents/{agent.id}/core-memory/blocks"
    assert_error(http.patch(f"{memory}/{verb}/block-{UNKNOWN}"), 404, UNKNOWN)
    other = f"/v1/agents/agent-{UNKNOWN}/core-memory/blocks"
    assert_error(http.patch(f"{other}/{verb}/{block.id}"), 404, f"agent-{UNKNOWN}")


def test_detaching_a_block_that_is_not_attached_is_404(
    client: Letta, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block, kept = new_block(), new_block()
    agent = new_agent(block_ids=[kept.id])
    assert_error(http.patch(f"/v1/agents/{agent.id}/core-memory/blocks/detach/{block.id}"), 404, block.id, agent.id)
    assert attached(client, agent.id) == {kept.id}


@pytest.mark.parametrize("path", ["core-memory", "core-memory/blocks", "core-memory/blocks/human", "tools"])
def test_nothing_of_an_unknown_agent_is_found(http: httpx.Client, path: str) -> None:
    assert_error(http.get(f"/v1/agents/agent-{UNKNOWN}/{path}"), 404, f"agent-{UNKNOWN}")
