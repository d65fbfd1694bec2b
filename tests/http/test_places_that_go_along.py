"""Who walks through a list goes on behind an item that went with its agent, or that was deleted by itself."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from support.fixtures import NewAgent


@pytest.fixture
def deleted(new_agent: NewAgent) -> str:
    """An agent that the test deletes."""
    return new_agent().id


def behind(http: httpx.Client, listed: str, cursor: str) -> list[str]:
    """Return the identifiers that come behind a cursor, the oldest first."""
    page = http.get(listed, params={"order": "asc", "after": cursor, "limit": 1000}).raise_for_status().json()
    return [each["id"] for each in page]


def made(http: httpx.Client, listed: str, body: dict[str, object], **query: str) -> str:
    identifier: str = http.post(listed, json=body, params=query).raise_for_status().json()["id"]
    return identifier


def test_groups_and_conversations_of_an_agent_that_is_deleted(
    http: httpx.Client, new_agent: NewAgent, deleted: str
) -> None:
    other = new_agent().id

    def group(manager: str) -> str:
        leads = {"manager_type": "supervisor", "manager_agent_id": manager}
        return made(http, "/v1/groups", {"agent_ids": [new_agent().id], "description": "", "manager_config": leads})

    def conversation(agent: str) -> str:
        return made(http, "/v1/conversations", {}, agent_id=agent)

    groups = [group(manager) for manager in (other, deleted, other)]
    conversations = [conversation(agent) for agent in (other, deleted, other)]
    http.delete(f"/v1/agents/{deleted}").raise_for_status()
    for listed, (before, gone, after) in (("/v1/groups", groups), ("/v1/conversations", conversations)):
        found = behind(http, listed, gone)
        assert after in found
        assert not {before, gone} & set(found)


def test_an_identity_that_is_deleted(http: httpx.Client) -> None:
    before, gone, after = (
        made(http, "/v1/identities", {"identifier_key": uuid4().hex, "name": name, "identity_type": "user"})
        for name in ("before", "gone", "after")
    )
    http.delete(f"/v1/identities/{gone}").raise_for_status()
    found = behind(http, "/v1/identities", gone)
    assert after in found
    assert not {before, gone} & set(found)
