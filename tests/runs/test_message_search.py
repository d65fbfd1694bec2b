"""Messages of all agents: searched, listed, retrieved, rewritten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from letta_client import Letta

from runs.talking import ok, say, whole
from support.fixtures import NewAgent
from support.scripted_model import ScriptedModel

pytestmark = pytest.mark.filterwarnings("ignore:deprecated")


@pytest.fixture
def word() -> str:
    """A word that no other test says."""
    return f"w{uuid4().hex}"


def search(http: httpx.Client, **wanted: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(http.post("/v1/messages/search", json=wanted))
    return found


def test_a_word_is_found_in_the_messages_of_every_agent(
    client: Letta, http: httpx.Client, new_agent: NewAgent, word: str
) -> None:
    agents = [new_agent() for _ in range(2)]
    for agent in agents:
        say(http, agent.id, f"ECHO the answer is {word}")
    found = search(http, query=word)
    assert sorted(each["agent_id"] for each in found) == sorted(agent.id for agent in agents for _ in range(2))
    by_client: list[Any] = list(client.messages.search(query=word))
    assert len(by_client) == 4
    for each in found:
        (message,) = ok(http.get(f"/v1/messages/{each['message_id']}"))
        assert (message["content"], message["message_type"]) == (each["content"], each["message_type"])


def test_a_search_is_narrowed(http: httpx.Client, new_agent: NewAgent, word: str) -> None:
    agent, other = new_agent(), new_agent()
    began = datetime.now(UTC)
    say(http, agent.id, f"ECHO {word} first")
    say(http, agent.id, f'CALL conversation_search {{"query": "{word}"}}')
    say(http, other.id, f"ECHO {word} second")
    assert {each["agent_id"] for each in search(http, query=word, agent_id=agent.id)} == {agent.id}
    roles = {each["message_type"] for each in search(http, query=word, roles=["assistant"])}
    assert roles == {"assistant_message"}
    assert {each["message_type"] for each in search(http, query=word, roles=["tool"])} <= {"tool_return_message"}
    assert len(search(http, query=word, limit=1)) == 1
    assert search(http, query=word, end_date=began.isoformat()) == []
    assert search(http, query=word, start_date=(began + timedelta(days=1)).isoformat()) == []
    assert search(http, query=f"nothing{word}") == []


def test_the_form_under_agents_tells_ranks(http: httpx.Client, new_agent: NewAgent, word: str) -> None:
    agent = new_agent()
    say(http, agent.id, f"ECHO {word} {word}")
    say(http, agent.id, f"ECHO {word} among several other words of no interest")
    found = ok(http.post("/v1/agents/messages/search", json={"query": word, "agent_id": agent.id}))
    assert [each["fts_rank"] for each in found] == [1, 2, 3, 4]
    scores = [each["rrf_score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    assert {each["message"]["role"] for each in found} == {"user", "assistant"}
    assert word in found[0]["embedded_text"]


@pytest.mark.parametrize("mode", ["vector", "fts", "hybrid"])
@pytest.mark.parametrize(
    "query", ['"', "*", "AND", "a OR", "(", "\\", "'; DROP TABLE messages; --", "日本語", "%", "-"]
)
@pytest.mark.every_case_on_both
def test_whatever_is_searched_for_is_no_error(http: httpx.Client, query: str, mode: str) -> None:
    assert isinstance(search(http, query=query, search_mode=mode), list)


@pytest.mark.parametrize("body", [{"limit": 0}, {"limit": 101}, {"roles": ["nobody"]}, {"search_mode": "magic"}])
def test_a_search_that_cannot_be_is_refused(http: httpx.Client, body: dict[str, Any]) -> None:
    assert http.post("/v1/messages/search", json={"query": "x", **body}).status_code == 422


def test_messages_of_all_agents_are_listed(client: Letta, http: httpx.Client, new_agent: NewAgent) -> None:
    agents = [new_agent() for _ in range(2)]
    ids = [say(http, agent.id, "ECHO hello")["messages"][-1]["id"] for agent in agents]
    listed = client.messages.list(limit=4, order="desc")
    assert listed[0].id == ids[1]
    assert ids[0] in [message.id for message in client.messages.list(limit=50)]


def test_a_rewritten_message_is_what_the_model_reads_and_what_is_found(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, word: str
) -> None:
    agent = new_agent()
    said = say(http, agent.id, "ECHO nonsense")["messages"][-1]
    path = f"/v1/agents/{agent.id}/messages/{said['id']}"
    body = {"message_type": "assistant_message", "content": f"sense {word}"}
    assert ok(http.patch(path, json=body))["content"] == f"sense {word}"
    assert [each["message_id"] for each in search(http, query=word)] == [said["id"]]
    assert whole(http, agent.id)[-1]["content"] == f"sense {word}"
    say(http, agent.id, "hello")
    told = [m["content"] for m in scripted_model.requests[-1]["messages"] if m["role"] == "assistant"]
    assert told == [f"sense {word}"]


def test_a_message_of_another_agent_is_not_rewritten(http: httpx.Client, new_agent: NewAgent) -> None:
    agent, other = new_agent(), new_agent()
    said = say(http, agent.id, "ECHO hello")["messages"][-1]
    body = {"message_type": "assistant_message", "content": "changed"}
    assert http.patch(f"/v1/agents/{other.id}/messages/{said['id']}", json=body).status_code == 404
    assert whole(http, agent.id)[-1]["content"] == "hello"


def test_what_a_tool_returned_is_not_rewritten(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    _, returned, _ = say(http, agent.id, "CALL conversation_search {}")["messages"]
    path = f"/v1/agents/{agent.id}/messages/{returned['id']}"
    assert http.patch(path, json={"message_type": "tool_return_message", "content": "changed"}).status_code == 400


def test_an_unknown_message_is_a_404(http: httpx.Client) -> None:
    assert http.get("/v1/messages/message-123e4567-e89b-42d3-8456-426614174999").status_code == 404


@pytest.mark.parametrize(
    ("said", "words", "other"),
    [
        ("下周的会议改到星期三", ["会议", "星期三", "改"], "周会"),
        ("明日の会議は東京タワーで", ["会議", "タワー", "東京"], "京タ東"),
        ("내일회의에서만나요", ["회의", "만나"], "의만"),
        ("พรุ่งนี้มีการประชุมที่กรุงเทพ", ["ประชุม", "กรุงเทพ"], "มที่การ"),
        ("see getUserAccountBalance and donaudampfschifffahrt", ["account", "DAMPF", "Balance"], "accountuser"),
        ("Grüße aus dem Café", ["cafe", "CAFÉ", "grüsse"], "caf"),
    ],
    ids=["Chinese", "Japanese", "Korean", "Thai", "long tokens", "accents"],
)
@pytest.mark.every_case_on_both
def test_words_inside_words_are_found(
    http: httpx.Client, new_agent: NewAgent, said: str, words: list[str], other: str
) -> None:
    agent = new_agent()
    say(http, agent.id, f"ECHO {said}")
    for word in words:
        found = search(http, query=word, agent_id=agent.id)
        assert len(found) == 2, word
    assert search(http, query=other, agent_id=agent.id) == []


def test_a_long_phrase_without_spaces_finds_what_has_most_of_it(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    say(http, agent.id, "ECHO 今天天气很好")
    say(http, agent.id, "ECHO 会议改到星期三")
    found = search(http, query="星期三的会议在哪里", agent_id=agent.id, roles=["assistant"])
    assert [each["content"] for each in found] == ["会议改到星期三"]
