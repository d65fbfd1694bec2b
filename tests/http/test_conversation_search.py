"""The conversation_search tool: what it finds, in whose messages, in the same way on both stores."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from letta_client import Letta
from letta_client.types import AgentState

from support.fixtures import NewAgent

SAID = [
    "The quick brown fox jumps over the lazy dog.",
    "Marmalade is made of oranges, not of apples.",
    "Schöne Grüße aus Köln, Straße 7.",
    "Встреча в понедельник в Москве.",
    "日本語 の 文章",
    "Look at src/config.py and https://docs.example.com/guide?page=2 please.",
    "Write to ada@example.org about version 2.1.3 of well-known snake_case_names.",
    "Can't stop; won't stop. 50% off! C++ and C#.",
]


@pytest.fixture
def talked(client: Letta, new_agent: NewAgent) -> AgentState:
    """An agent that was told each of `SAID` and answered `ok`."""
    agent = new_agent()
    for text in SAID:
        client.agents.messages.create(agent.id, input=text)
    return agent


@pytest.fixture
def told(client: Letta, new_agent: NewAgent) -> AgentState:
    """An agent that was told all of `SAID` in one turn, which costs an eighth."""
    agent = new_agent()
    client.agents.messages.create(agent.id, messages=[{"role": "user", "content": text} for text in SAID])
    return agent


def search_return(client: Letta, agent: AgentState, **arguments: Any) -> Any:
    response = client.agents.messages.create(
        agent.id, input=f"CALL conversation_search {json.dumps(arguments)}", max_steps=1
    )
    return response.messages[1]


def search(client: Letta, agent: AgentState, **arguments: Any) -> list[str]:
    """Return what the tool finds: the contents, in its order."""
    returned = search_return(client, agent, **arguments)
    assert returned.status == "success", returned.tool_return
    found = json.loads(returned.tool_return)
    assert found["count"] == len(found["messages"])
    return [message["content"] for message in found["messages"]]


@pytest.mark.parametrize(
    ("query", "place"),
    [
        pytest.param("marmalade", 1, id="a word"),
        pytest.param("MARMALADE", 1, id="in capitals"),
        pytest.param("oranges apples", 1, id="two words"),
        pytest.param("lazy unicorn", 0, id="one of two words"),
        pytest.param("Grüße", 2, id="umlaut"),
        pytest.param("köln", 2, id="umlaut in small letters"),
        pytest.param("москве", 3, id="cyrillic"),
        pytest.param("日本語", 4, id="japanese"),
        pytest.param("config", 5, id="a part of a path"),
        pytest.param("config.py", 5, id="a file's name"),
        pytest.param("src/config.py", 5, id="a path"),
        pytest.param("guide", 5, id="a part of an address"),
        pytest.param("docs.example.com", 5, id="a host"),
        pytest.param("ada", 6, id="a part of a mail address"),
        pytest.param("ada@example.org", 6, id="a mail address"),
        pytest.param("2.1.3", 6, id="a version"),
        pytest.param("well-known", 6, id="a hyphen"),
        pytest.param("snake_case_names", 6, id="underscores"),
        pytest.param("can't", 7, id="an apostrophe"),
    ],
)
@pytest.mark.every_case_on_both
def test_words_find_the_message_that_has_them(client: Letta, told: AgentState, query: str, place: int) -> None:
    assert search(client, told, query=query, roles=["user"], limit=1) == [SAID[place]]


def test_the_better_match_comes_first(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    for text in ("red green blue", "red only this and some more words", "something else", "red green and more"):
        client.agents.messages.create(agent.id, input=text)
    found = search(client, agent, query="red green blue", roles=["user"])
    assert found[0] == "red green blue"
    assert set(found) == {"red green blue", "red only this and some more words", "red green and more"}


@pytest.mark.parametrize(
    "query",
    [
        '"',
        "'",
        '"marmalade',
        "marmalade*",
        "(marmalade",
        "NOT marmalade",
        "marmalade AND",
        "text:marmalade",
        "^marmalade",
        "marmalade NEAR fox",
        "-marmalade",
        "marmalade & | ! <->",
        "marmalade:*",
        "a'; DROP TABLE messages; --",
        "\\",
        "%_",
    ],
)
@pytest.mark.every_case_on_both
def test_a_query_is_words_and_never_syntax(client: Letta, told: AgentState, query: str) -> None:
    found = search(client, told, query=query, roles=["user"])
    assert (SAID[1] in found) == ("marmalade" in query)


@pytest.mark.parametrize("query", ["xylophone", "!?;", "🎈", "фывапр", "x" * 5000])
def test_no_hits_are_an_empty_list(client: Letta, told: AgentState, query: str) -> None:
    assert search(client, told, query=query) == []


@pytest.mark.parametrize("nothing", [{}, {"query": ""}, {"query": "   "}, {"query": None}])
def test_without_a_query_the_newest_messages_are_found(
    client: Letta, talked: AgentState, nothing: dict[str, Any]
) -> None:
    assert search(client, talked, limit=4, **nothing) == ["ok", SAID[7], "ok", SAID[6]]


def test_roles_choose_whose_words_are_searched(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    client.agents.messages.create(agent.id, input="ECHO a pelican")
    assert search(client, agent, query="pelican", roles=["user"]) == ["ECHO a pelican"]
    assert search(client, agent, query="pelican", roles=["assistant"]) == ["a pelican"]
    assert [json.loads(found)["query"] for found in search(client, agent, query="pelican", roles=["tool"])] == [
        "pelican",
        "pelican",
    ]
    returned = search_return(client, agent, query="pelican", roles=["user", "assistant"], limit=50)
    shown = json.loads(returned.tool_return)["messages"]
    assert {"user", "assistant"} == {message["role"] for message in shown}
    assert datetime.fromisoformat(shown[0]["time"]).tzinfo is not None


def test_an_unknown_role_is_told(client: Letta, told: AgentState) -> None:
    returned = search_return(client, told, roles=["king"])
    assert returned.status == "error"
    assert "'assistant'" in returned.tool_return


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (3, 3), (0, 1), (-5, 1), (1000, 16), ("2", 2)])
def test_as_many_are_returned_as_the_limit_says(client: Letta, talked: AgentState, limit: Any, count: int) -> None:
    assert len(search(client, talked, limit=limit)) == count


def day(days: int = 0) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


def test_days_and_times_bound_the_search(client: Letta, talked: AgentState) -> None:
    every = 16
    at = client.agents.messages.list(talked.id, order="asc").items[3].date
    cases: list[tuple[dict[str, str], bool]] = [
        ({"start_date": day(-1)}, True),
        ({"start_date": day(1)}, False),
        ({"end_date": day(1)}, True),
        ({"end_date": day(-1)}, False),
        ({"start_date": day(-1), "end_date": day(1)}, True),
        ({"start_date": day(1), "end_date": day(-1)}, False),
        ({"start_date": "0001-01-01", "end_date": "9999-12-31"}, True),
        ({"end_date": (at + timedelta(days=2)).isoformat()}, True),
        ({"start_date": (at + timedelta(days=2)).isoformat()}, False),
    ]
    for bounds, found in cases:
        results = [text for text in search(client, talked, limit=50, **bounds) if text in SAID]
        assert len(results) == (len(SAID) if found else 0), bounds
    exactly = search(client, talked, roles=["user"], start_date=at.isoformat(), limit=50)
    assert SAID[1] in exactly
    assert SAID[0] not in exactly
    assert every == 2 * len(SAID)


def test_the_end_day_counts_whole(client: Letta, talked: AgentState) -> None:
    first = client.agents.messages.list(talked.id, order="asc").items[1].date.astimezone(UTC).date()
    found = search(client, talked, start_date=first.isoformat(), end_date=first.isoformat(), limit=50, roles=["user"])
    assert SAID[0] in found


@pytest.mark.parametrize("bad", ["yesterday", "2026-13-40", "22.11.2026", "2026-11-22T25:00", "-1", "next week"])
def test_a_date_that_is_none_is_told_with_the_form(client: Letta, told: AgentState, bad: str) -> None:
    for name in ("start_date", "end_date"):
        returned = search_return(client, told, **{name: bad})
        assert returned.status == "error"
        assert name in returned.tool_return
        assert "2026-11-22" in returned.tool_return


def test_only_the_agents_own_messages_are_found(client: Letta, new_agent: NewAgent) -> None:
    mine, others = new_agent(), new_agent()
    client.agents.messages.create(others.id, input="the secret is platypus")
    client.agents.messages.create(mine.id, input="I know nothing of a platypus")
    assert search(client, mine, query="platypus", roles=["user"]) == ["I know nothing of a platypus"]


def test_messages_of_a_deleted_agent_are_gone(client: Letta, new_agent: NewAgent) -> None:
    gone, mine = new_agent(), new_agent()
    client.agents.messages.create(gone.id, input="a wombat")
    client.agents.delete(gone.id)
    client.agents.messages.create(mine.id, input="another wombat")
    assert search(client, mine, query="wombat", roles=["user"]) == ["another wombat"]


def test_the_system_prompt_is_not_found(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent(system="You are an axolotl.")
    assert search(client, agent, query="axolotl") == []


def test_a_long_message_is_cut_and_said_so(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    client.agents.messages.create(agent.id, input="needle " + "hay " * 5000)
    (found,) = search(client, agent, query="needle", roles=["user"])
    assert found.startswith("needle hay")
    assert found.endswith("…")
    assert len(found) < 2100


def test_text_beside_a_picture_is_found(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    parts: list[Any] = [
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
        {"type": "text", "text": "this is an okapi"},
    ]
    client.agents.messages.create(agent.id, messages=[{"role": "user", "content": parts}])
    (found,) = search(client, agent, query="okapi", roles=["user"])
    assert "this is an okapi" in found
