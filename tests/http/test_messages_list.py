"""The list of an agent's messages: pages in both directions to the end, in both orders, of all or some types."""

from __future__ import annotations

from typing import Any

import pytest
from letta_client import Letta, UnprocessableEntityError
from letta_client.types import AgentState

from support.fixtures import NewAgent


@pytest.fixture
def talked(client: Letta, new_agent: NewAgent) -> AgentState:
    """An agent with a system message and seven turns of two messages."""
    agent = new_agent()
    for number in range(7):
        client.agents.messages.create(agent.id, input=f"ECHO answer {number}")
    return agent


def ids(messages: Any) -> list[str]:
    return [message.id for message in messages]


def everything(client: Letta, agent: AgentState) -> list[str]:
    """Return all ids, oldest first, in one page."""
    return ids(client.agents.messages.list(agent.id, order="asc", limit=1000).items)


def test_without_an_order_the_newest_page_comes_oldest_first(client: Letta, talked: AgentState) -> None:
    oldest_first = client.agents.messages.list(talked.id, order="asc").items
    assert [m.content for m in oldest_first[1:]] == [
        text for number in range(7) for text in (f"ECHO answer {number}", f"answer {number}")
    ]
    assert ids(client.agents.messages.list(talked.id).items) == ids(oldest_first)
    assert ids(client.agents.messages.list(talked.id, limit=4).items) == ids(oldest_first)[-4:]
    assert ids(client.agents.messages.list(talked.id, order="desc").items) == ids(oldest_first)[::-1]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 5, 14, 15, 16])
def test_the_client_pages_to_the_end(client: Letta, talked: AgentState, order: Any, limit: int) -> None:
    expected = everything(client, talked)[:: 1 if order == "asc" else -1]
    assert ids(client.agents.messages.list(talked.id, order=order, limit=limit)) == expected


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 4, 15])
def test_before_pages_back_to_the_start(client: Letta, talked: AgentState, order: Any, limit: int) -> None:
    expected = everything(client, talked)[:: 1 if order == "asc" else -1]
    found = expected[-1:]
    for _ in range(len(expected)):
        page = client.agents.messages.list(talked.id, order=order, limit=limit, before=found[0]).items
        if not page:
            break
        assert len(page) <= limit
        found = ids(page) + found
    assert found == expected


def test_after_and_before_together_give_what_lies_between(client: Letta, talked: AgentState) -> None:
    every = everything(client, talked)
    between = client.agents.messages.list(talked.id, order="asc", after=every[3], before=every[9]).items
    assert ids(between) == every[4:9]
    downwards = client.agents.messages.list(talked.id, order="desc", after=every[9], before=every[3]).items
    assert ids(downwards) == every[4:9][::-1]


def test_a_message_that_comes_in_while_paging_disturbs_nothing(client: Letta, talked: AgentState) -> None:
    expected = everything(client, talked)[::-1]
    first = ids(client.agents.messages.list(talked.id, limit=5, order="desc").items)
    client.agents.messages.create(talked.id, input="one more")
    rest = ids(client.agents.messages.list(talked.id, limit=100, after=first[-1], order="desc").items)
    assert first + rest == expected


def test_types_are_filtered_before_the_page_is_cut(client: Letta, talked: AgentState) -> None:
    page = client.agents.messages.list(
        talked.id, order="asc", limit=4, include_return_message_types=["assistant_message"]
    )
    assert [m.content for m in page.items] == [f"answer {number}" for number in range(4)]
    assert [m.content for m in page] == [f"answer {number}" for number in range(7)]


@pytest.mark.parametrize("limit", [1, 4, 15])
def test_the_client_pages_to_the_start_when_it_names_no_order(client: Letta, talked: AgentState, limit: int) -> None:
    """From the newest page back, each page oldest first."""
    every = everything(client, talked)
    pages = [every[max(0, end - limit) : end] for end in range(len(every), 0, -limit)]
    assert ids(client.agents.messages.list(talked.id, limit=limit)) == [each for page in pages for each in page]
    of_conversation = client.conversations.messages.list("default", agent_id=talked.id, limit=limit)
    assert sorted(ids(of_conversation)) == sorted(every)


@pytest.mark.parametrize("cursor", ["after", "before"])
def test_a_cursor_of_which_nothing_is_known_begins_anew(
    client: Letta, talked: AgentState, new_agent: NewAgent, cursor: str
) -> None:
    every = everything(client, talked)
    for nothing in ("message-00000000-0000-4000-8000-000000000000", everything(client, new_agent())[0]):
        unknown: Any = {cursor: nothing}
        found = ids(client.agents.messages.list(talked.id, order="asc", limit=3, **unknown).items)
        assert found == (every[:3] if cursor == "after" else every[-3:])


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_makes_no_sense_is_422(client: Letta, talked: AgentState, limit: int) -> None:
    with pytest.raises(UnprocessableEntityError, match="limit"):
        client.agents.messages.list(talked.id, limit=limit)


# -- agents of the older kind --------------------------------------------------------------------------------


@pytest.fixture
def older(client: Letta, new_agent: NewAgent) -> AgentState:
    """An agent that speaks through send_message; each of four turns is stored as three messages and shown as two."""
    agent = new_agent(agent_type="memgpt_agent")
    for number in range(4):
        client.agents.messages.create(agent.id, input=f'CALL send_message {{"message": "answer {number}"}}')
    return agent


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_count_what_is_shown(client: Letta, older: AgentState, order: Any, limit: int) -> None:
    expected = everything(client, older)[:: 1 if order == "asc" else -1]
    assert len(expected) == 9
    page = client.agents.messages.list(older.id, order=order, limit=limit)
    assert len(page.items) == limit
    assert ids(page) == expected


def test_types_are_those_that_are_shown(client: Letta, older: AgentState) -> None:
    listed = client.agents.messages.list(older.id, order="asc", include_return_message_types=["assistant_message"])
    assert [m.content for m in listed] == [f"answer {number}" for number in range(4)]
    calls = client.agents.messages.list(older.id, include_return_message_types=["tool_call_message"])
    assert list(calls) == []
