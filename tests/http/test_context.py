"""An agent's context window: what fills it, and how it is emptied."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from letta_client import Letta, UnprocessableEntityError

from support.fixtures import MODEL, NewAgent
from support.scripted_model import ScriptedModel, tokens_of


def test_the_overview_shows_the_parts_and_their_sizes(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    scripted_model.window = 128_000
    agent = new_agent(memory_blocks=[{"label": "notes", "value": "some notes"}], system="Be brief.")
    for number in range(5):
        client.agents.messages.create(agent.id, input=f"ECHO answer {number} " + "word " * 8)
    client.agents.messages.compact(agent.id)
    view = http.get(f"/v1/agents/{agent.id}/context").json()
    assert view["context_window_size_max"] == 128_000
    assert view["system_prompt"] == "Be brief."
    assert "some notes" in view["core_memory"]
    assert view["summary_memory"] == "They spoke of this and that, and nothing is open."
    assert [m["role"] for m in view["messages"]] == ["system", *["user", "assistant"] * 3]
    assert (view["num_messages"], view["num_recall_memory"]) == (7, 12)
    names = [each["function"]["name"] for each in view["functions_definitions"]]
    assert names == [tool.name for tool in agent.tools]
    parts = ("system", "core_memory", "summary_memory", "functions_definitions", "messages")
    assert view["context_window_size_current"] == sum(view[f"num_tokens_{part}"] for part in parts)
    counted = tokens_of(scripted_model.requests[-2])
    client.agents.messages.create(agent.id, input="x")
    view = http.get(f"/v1/agents/{agent.id}/context").json()
    counted = tokens_of(scripted_model.requests[-1])
    assert abs(view["context_window_size_current"] - counted) < counted * 0.15


def _search(http: httpx.Client, agent_id: str) -> list[Any]:
    found = http.post("/v1/messages/search", json={"query": "persimmon", "agent_id": agent_id})
    return list(found.raise_for_status().json())


def test_a_reset_empties_the_context_and_what_was_said_can_still_be_read_and_found(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    client.agents.messages.create(agent.id, input="ECHO one")
    client.agents.messages.create(agent.id, input="ECHO persimmon")
    client.agents.messages.compact(agent.id)
    said, runs = client.agents.messages.list(agent.id).items, client.runs.list(agent_id=agent.id).items
    answer = client.agents.messages.reset(agent.id, add_default_initial_messages=True)
    assert answer is not None
    assert answer.message_ids == [said[0].id]
    assert said[0].message_type == "system_message"
    assert client.agents.messages.list(agent.id).items == said
    assert client.runs.list(agent_id=agent.id).items == runs
    assert len(_search(http, agent.id)) == 2
    client.agents.messages.create(agent.id, input="ECHO anew")
    assert [m["role"] for m in scripted_model.requests[-1]["messages"]] == ["system", "user", "system"]
    assert len(client.agents.messages.list(agent.id).items) == len(said) + 2


def test_what_is_asked_for_as_a_reset_ends_without_a_decision(client: Letta, http: httpx.Client) -> None:
    fields = {"tool_name": "memory_insert", "type": "requires_approval"}
    agent = client.agents.create(model=MODEL, memory_blocks=[{"label": "human", "value": ""}], tool_rules=[fields])
    client.agents.messages.create(agent.id, input='CALL memory_insert {"label": "human", "new_string": "x"}')
    client.agents.messages.reset(agent.id)
    assert http.get("/v1/runs", params={"stop_reason": "requires_approval", "agent_id": agent.id}).json() == []
    assert client.agents.messages.create(agent.id, input="ECHO anew").stop_reason.stop_reason == "end_turn"
    (human,) = client.agents.blocks.list(agent.id)
    assert human.value == ""


def test_a_reset_that_deletes_leaves_the_system_message_only(
    client: Letta, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    client.agents.messages.create(agent.id, input="ECHO persimmon")
    answer = client.agents.messages.reset(agent.id, extra_body={"delete_messages": True})
    (system,) = client.agents.messages.list(agent.id)
    assert answer is not None
    assert answer.message_ids == [system.id]
    assert _search(http, agent.id) == []


def test_an_agent_that_is_to_clear_its_messages_begins_each_turn_anew(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    blocks = [{"label": "human", "value": "Ada"}]
    rules = [{"tool_name": "memory_insert", "type": "requires_approval"}]
    agent = new_agent(message_buffer_autoclear=True, memory_blocks=blocks, tool_rules=rules)
    client.agents.messages.create(agent.id, input="ECHO persimmon")
    insert = 'CALL memory_insert {"label": "human", "new_string": "Lovelace"}\nTHEN ECHO noted'
    (asked,) = client.agents.messages.create(agent.id, input=insert).messages
    assert asked.message_type == "approval_request_message"
    seen = scripted_model.requests[-1]["messages"]
    assert [m["role"] for m in seen] == ["system", "user", "system"]
    assert "Ada" in seen[-1]["content"]
    approval = {"type": "approval", "approve": True, "approval_request_id": asked.id}
    client.agents.messages.create(agent.id, messages=[approval])
    assert [m["role"] for m in scripted_model.requests[-1]["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "system",
    ]
    assert "persimmon" not in str(scripted_model.requests[-1])
    texts = [str(message) for message in client.agents.messages.list(agent.id).items]
    assert sum("persimmon" in text for text in texts) == 2, "nothing is deleted"
    client.agents.messages.create(agent.id, input="ECHO anew")
    assert [m["role"] for m in scripted_model.requests[-1]["messages"]] == ["system", "user", "system"]


def test_an_update_can_leave_only_the_newest_messages_in_context(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    for number in range(3):
        client.agents.messages.create(agent.id, input=f"ECHO {number}")

    ids = client.agents.retrieve(agent.id).message_ids or []
    assert len(ids) == 7
    assert client.agents.update(agent.id, message_ids=ids).message_ids == ids, "as they are"
    for wrong in ([*ids[:3]], [ids[0], *ids[2:]], [ids[0], ids[3], *ids[5:]], [*ids[1:3], *ids[5:]], ids[::-1]):
        with pytest.raises(UnprocessableEntityError, match="message_ids: of the 6 messages in context only the newest"):
            client.agents.update(agent.id, message_ids=wrong)
    assert client.agents.retrieve(agent.id).message_ids == ids
    assert client.agents.update(agent.id, message_ids=[ids[0], *ids[3:]]).message_ids == [ids[0], *ids[3:]]
    assert client.agents.update(agent.id, message_ids=ids[5:]).message_ids == [ids[0], *ids[5:]]
    client.agents.messages.create(agent.id, input="ECHO on")
    assert "ECHO 1" not in str(scripted_model.requests[-1])
    assert "ECHO 2" in str(scripted_model.requests[-1])
    assert client.agents.update(agent.id, message_ids=[ids[0]]).message_ids == [ids[0]]
    assert len(client.agents.messages.list(agent.id).items) == 9, "nothing is deleted"


def test_the_offline_model_can_be_compacted_too(client: Letta) -> None:
    agent = client.agents.create(model="offline/notetaker", name="offline")
    for _ in range(4):
        client.agents.messages.create(agent.id, input="Hello there")
    done = client.agents.messages.compact(agent.id)
    assert done.num_messages_after < done.num_messages_before
    assert client.agents.messages.create(agent.id, input="Hello again").stop_reason.stop_reason == "end_turn"
