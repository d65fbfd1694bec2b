"""The web_search tool in a turn, with nothing but the server's own documents to search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from letta_client import Letta
from letta_client.types import AgentState

from support.clients import official_client
from support.fixtures import MODEL, NewAgent, StartServer
from support.scripted_model import ScriptedModel


def search(client: Letta, agent: AgentState, **arguments: Any) -> Any:
    """Let the agent search; return the tool's return message."""
    response = client.agents.messages.create(agent.id, input=f"CALL web_search {json.dumps(arguments)}")
    (returned,) = [m for m in response.messages if m.message_type == "tool_return_message"]
    assert response.messages[-1].content == "done"
    return returned


def test_the_shipped_documents_are_found_and_named_as_the_source(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(tools=["web_search"])
    returned = search(client, agent, query="What is Letta?")
    assert returned.status == "success"
    found = json.loads(returned.tool_return)
    assert "offline documents" in json.dumps(found)
    assert "letta" in returned.tool_return.lower()
    assert len(found["results"]) >= 1


def test_the_model_reads_what_was_found(client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    agent = new_agent(tools=["web_search"])
    returned = search(client, agent, query="memory blocks", num_results=2)
    told = [m["content"] for m in scripted_model.requests[1]["messages"] if m["role"] == "tool"]
    assert told == [returned.tool_return]


def test_a_folder_of_the_users_own_is_searched(start_server: StartServer, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "birds.md").write_text("# Birds\nSource: https://example.org/birds\n\nThe kākāpō cannot fly.\n")
    server = start_server(env={"FOLKMOOT_SEARCH_FOLDER": str(folder)})
    with official_client(server.url) as client:
        agent = client.agents.create(model=MODEL, tools=["web_search"])
        found = json.loads(search(client, agent, query="kākāpō").tool_return)
        assert [result["url"] for result in found["results"]] == ["https://example.org/birds"]
        assert json.loads(search(client, agent, query="submarine").tool_return)["results"] == []
        (folder / "birds.md").unlink()
        returned = search(client, agent, query="kākāpō")
    assert returned.status == "error"
    assert str(folder) in returned.tool_return


@pytest.mark.parametrize("arguments", [{"query": ""}, {"query": "   "}, {"query": "x", "category": "gossip"}, {}])
def test_a_search_that_makes_no_sense_is_told_and_the_turn_goes_on(
    client: Letta, new_agent: NewAgent, arguments: dict[str, Any]
) -> None:
    returned = search(client, new_agent(tools=["web_search"]), **arguments)
    assert returned.status == "error"
    assert "query" in returned.tool_return or "category" in returned.tool_return


def test_a_search_engine_that_is_away_is_told_and_the_turn_goes_on(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_SEARCH_URL": "http://127.0.0.1:1"})
    with official_client(server.url) as client:
        agent = client.agents.create(model=MODEL, tools=["web_search"])
        returned = search(client, agent, query="anything")
    assert returned.status == "error"
    assert "127.0.0.1:1" in returned.tool_return or "reach" in returned.tool_return


def test_several_searches_of_one_reply_all_answer(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(tools=["web_search"])
    calls = [["web_search", {"query": word}] for word in ("letta", "memory", "agents")]
    response = client.agents.messages.create(agent.id, input=f"CALLS {json.dumps(calls)}")
    returns = [m for m in response.messages if m.message_type == "tool_return_message"]
    assert [json.loads(str(m.tool_return))["query"] for m in returns] == ["letta", "memory", "agents"]
