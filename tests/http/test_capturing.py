"""Turns that happened elsewhere, single questions to an agent's model, and an agent's blocks as files."""

from __future__ import annotations

import threading

import httpx
from assertions import assert_error
from letta_client import Letta

from support.fixtures import NewAgent, one_store
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel

TURN = {
    "provider": "openai",
    "model": "gpt-4o-mini",
    "request_messages": [
        {"role": "system", "content": "You are somebody else."},
        {"role": "user", "content": [{"type": "text", "text": "I like walnuts."}]},
    ],
    "response_dict": {"role": "assistant", "content": "Noted."},
}


def test_a_turn_of_elsewhere_is_in_the_conversation_with_its_edits(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(memory_blocks=[{"label": "nuts", "value": ""}])
    path = f"/v1/agents/{agent.id}/messages/capture"
    edits = [{"label": "nuts", "edit": {"kind": "append", "content": "Likes walnuts."}}]
    stored = http.post(path, json={**TURN, "memory_edits": edits}).raise_for_status().json()
    assert (stored["success"], stored["messages_created"], stored["run_ids"]) == (True, 2, None)
    said = [(each.message_type, each.content) for each in client.agents.messages.list(agent.id)][-2:]  # type: ignore[union-attr]
    assert said == [("user_message", "I like walnuts."), ("assistant_message", "Noted.")]
    assert client.agents.blocks.retrieve("nuts", agent_id=agent.id).value.strip() == "Likes walnuts."
    assert http.get(f"/v1/runs/{stored['run_id']}").json()["status"] == "completed"
    client.agents.messages.create(agent.id, input="ECHO and now?")
    seen = [each.get("content") for each in scripted_model.conversations[-1]]
    assert seen.index("I like walnuts.") < seen.index("Noted.") < seen.index("ECHO and now?")
    refused = http.post(path, json={**TURN, "memory_edits": [{**edits[0], "label": "fruit"}]})
    assert_error(refused, 404, "fruit")
    assert len(list(client.agents.messages.list(agent.id))) == len(said) + 3, "all of it is stored, or nothing"
    assert_error(http.post(path, json={"request_messages": []}), 422, "request_messages")


def test_a_turn_of_elsewhere_waits_for_the_one_that_is_under_way(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold("slow"):
        run = http.post(f"/v1/agents/{agent.id}/messages/async", json={"input": "ECHO slow"}).json()
        scripted_model.wait_for_requests(1)
        answers: list[httpx.Response] = []
        path = f"/v1/agents/{agent.id}/messages/capture"
        waiting = threading.Thread(target=lambda: answers.append(http.post(path, json=TURN, timeout=PATIENCE)))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive(), "it would stand amid the other turn"
    waiting.join()
    assert answers[0].status_code == 200, answers[0].text
    with http.stream("GET", f"/v1/runs/{run['id']}/stream") as stream:
        stream.read()
    said = [each.content for each in client.agents.messages.list(agent.id) if hasattr(each, "content")]
    assert said[-4:] == ["ECHO slow", "slow", "I like walnuts.", "Noted."]


@one_store
def test_a_question_goes_to_the_agents_model_and_nothing_is_stored(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(memory_blocks=[{"label": "human", "value": "Ada"}])
    path = f"/v1/agents/{agent.id}/generate"
    answered = http.post(path, json={"prompt": "ECHO generated", "system_prompt": "Be brief."}).json()
    assert (answered["content"], answered["model"]) == ("generated", "gpt-4o-mini")
    assert answered["usage"]["total_tokens"] > 0
    sent = scripted_model.requests[-1]
    assert [each["content"] for each in sent["messages"]] == ["Be brief.", "ECHO generated"]
    assert "tools" not in sent
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    http.post(path, json={"prompt": "ECHO {}", "response_schema": schema}).raise_for_status()
    assert scripted_model.requests[-1]["response_format"]["type"] == "json_schema"
    assert len(list(client.agents.messages.list(agent.id))) == 1
    assert_error(http.post(path, json={"prompt": ""}), 422, "prompt")
    assert_error(http.post(path, json={"prompt": "x", "override_model": "nobody/x"}), 404, "nobody")


@one_store
def test_blocks_are_read_as_files(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(memory_blocks=[{"label": "human", "value": "one"}, {"label": "notes/tea", "value": "green"}])
    client.agents.blocks.update("human", agent_id=agent.id, value="two")
    path = f"/v1/agents/{agent.id}/memory-files"
    top = http.get(f"{path}/directory").json()
    assert top == {
        "path": "",
        "depth": 1,
        "entries": [{"name": "notes", "type": "directory"}, {"name": "human.md", "type": "file"}],
    }
    below = http.get(f"{path}/directory", params={"path": "notes"}).json()["entries"]
    assert below == [{"name": "tea.md", "type": "file"}]
    whole = http.get(f"{path}/directory", params={"depth": 3}).json()["entries"]
    assert [each["name"] for each in whole] == ["notes", "human.md", "notes/tea.md"]
    commits = http.get(f"{path}/history", params={"file_path": "human.md"}).json()["commits"]
    assert [each["sha"] for each in commits] == ["2", "1"]
    content = {"path": "human.md", "content": "two", "ref": "2"}
    assert http.get(f"{path}/content", params={"file_path": "human.md"}).json() == content
    before = http.get(f"{path}/content", params={"file_path": "/human.md", "ref": "1"}).json()
    assert before == {"path": "human.md", "content": "one", "ref": "1"}
    assert_error(http.get(f"{path}/content", params={"file_path": "nobody.md"}), 404, "nobody")
    assert_error(http.get(f"{path}/content", params={"file_path": "human.md", "ref": "main"}), 400, "ref")
    assert_error(http.get(f"{path}/content", params={"file_path": "human.md", "ref": "9"}), 404, "9")
    assert_error(http.get(f"{path}/directory", params={"path": "nowhere"}), 404, "nowhere")
    assert http.get(f"/v1/agents/{agent.id}/core-memory/variables").json() == {"variables": {}}
