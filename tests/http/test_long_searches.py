"""Searches of thousands of words: answered like any other, by the first so many different words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import uuid4

import httpx
import pytest

from folkmoot.conversations.search import MOST_WORDS
from runs.talking import ok, say
from support.fixtures import NewAgent

Search: TypeAlias = Callable[[httpx.Client, str, str], list[Any]]
MANY = 2000


def by_search(http: httpx.Client, agent_id: str, query: str) -> list[Any]:
    found: list[Any] = ok(http.post("/v1/messages/search", json={"query": query, "agent_id": agent_id}))
    return [each["content"] for each in found if each["message_type"] == "user_message"]


def by_ranked_search(http: httpx.Client, agent_id: str, query: str) -> list[Any]:
    found: list[Any] = ok(http.post("/v1/agents/messages/search", json={"query": query, "agent_id": agent_id}))
    return [each["embedded_text"] for each in found if each["message"]["role"] == "user"]


def by_tool(http: httpx.Client, agent_id: str, query: str) -> list[Any]:
    turn = say(http, agent_id, f"CALL conversation_search {json.dumps({'query': query, 'roles': ['user']})}")
    returned = next(m for m in turn["messages"] if m["message_type"] == "tool_return_message")
    assert returned["status"] == "success", returned["tool_return"]
    return [message["content"] for message in json.loads(returned["tool_return"])["messages"]]


WAYS = pytest.mark.parametrize("search", [by_search, by_ranked_search, by_tool])


@pytest.fixture
def said() -> str:
    """What is looked for, a word that no other test says."""
    return f"w{uuid4().hex[:12]}"


@pytest.fixture
def talked(http: httpx.Client, new_agent: NewAgent, said: str) -> str:
    """An agent that was told the word."""
    agent = new_agent().id
    say(http, agent, said)
    return agent


def others(count: int) -> list[str]:
    """Return so many words that nobody says."""
    return [f"x{uuid4().hex[:10]}" for _ in range(count)]


@WAYS
def test_one_word_many_times_is_one_word(http: httpx.Client, talked: str, said: str, search: Search) -> None:
    assert said in search(http, talked, " ".join([said] * MANY))
    repeated = [*others(1) * MANY, said.upper(), said]
    assert said in search(http, talked, " ".join(repeated)), "a word that is there twice does not count twice"


@WAYS
def test_of_many_different_words_the_first_are_looked_for(
    http: httpx.Client, talked: str, said: str, search: Search
) -> None:
    words = others(MANY - 1)
    places = {0: True, MOST_WORDS - 1: True, MOST_WORDS: False, MANY - 1: False}
    for place, is_found in places.items():
        query = " ".join([*words[:place], said, *words[place:]])
        assert (said in search(http, talked, query)) == is_found, place


def test_what_was_found_is_not_crowded_out_by_a_long_query(http: httpx.Client, talked: str, said: str) -> None:
    """The tool's return has room for so many characters only."""
    assert said in by_tool(http, talked, " ".join([said] * 2 * MANY))
