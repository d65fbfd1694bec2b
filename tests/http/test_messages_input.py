"""What a request for a turn may hold, and how it is told what is wrong with it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from letta_client import Letta, NotFoundError, UnprocessableEntityError

from support.fixtures import NewAgent, one_store
from support.scripted_model import ScriptedModel

NOBODY = "agent-00000000-0000-4000-8000-000000000000"


def user(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        pytest.param({"messages": []}, "Messages must not be empty", id="no messages"),
        pytest.param({}, "messages", id="nothing"),
        pytest.param({"messages": None, "input": None}, "input", id="nulls"),
        pytest.param({**user("hi"), "input": "hi"}, "not both", id="both"),
        pytest.param(user(""), "messages.0.content", id="empty text"),
        pytest.param(user([]), "messages.0.content", id="no parts"),
        pytest.param(user([{"type": "text", "text": ""}]), "content", id="only an empty part"),
        pytest.param(user(None), "messages.0.content", id="null"),
        pytest.param(user(7), "messages.0.content", id="a number"),
        pytest.param({"messages": [{"content": "hi"}]}, "messages.0.role", id="no role"),
        pytest.param({"messages": [{"role": "king", "content": "hi"}]}, "messages.0.role", id="unknown role"),
        pytest.param({"messages": "hi"}, "messages", id="no list"),
        pytest.param({"input": ""}, "input", id="empty input"),
        pytest.param(user([{"type": "sound"}]), "content", id="unknown part"),
        pytest.param(user([{"type": "image"}]), "source", id="image without source"),
        pytest.param(user("a\0b"), "NUL", id="NUL"),
        pytest.param(user([{"type": "text", "text": "a\0b"}]), "NUL", id="NUL in a part"),
        pytest.param({"messages": [{"role": "user", "content": "a", "name": "\0"}]}, "NUL", id="NUL in a name"),
        pytest.param({**user("hi"), "max_steps": 0}, "max_steps", id="no steps"),
        pytest.param({**user("hi"), "max_steps": "many"}, "max_steps", id="steps in words"),
        pytest.param({**user("hi"), "include_return_message_types": ["x"]}, "include_return", id="unknown type"),
        pytest.param([], "body", id="a list"),
    ],
)
@one_store
def test_a_request_that_cannot_be_used_is_422_and_names_the_field(
    http: httpx.Client, client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, body: Any, named: str
) -> None:
    agent = new_agent()
    response = http.post(f"/v1/agents/{agent.id}/messages", json=body)
    assert response.status_code == 422, response.text
    assert named in response.json()["detail"]
    assert scripted_model.requests == []
    assert len(list(client.agents.messages.list(agent.id))) == 1


HALVES = {
    "content": r'{"messages": [{"role": "user", "content": "a\ud800b"}]}',
    "name": r'{"messages": [{"role": "user", "content": "a", "name": "\udfff"}]}',
    "otid": r'{"messages": [{"role": "user", "content": "a", "otid": "\udfff"}]}',
    "input": r'{"input": "\ud800"}',
    "override_system": r'{"input": "a", "override_system": "\ud800"}',
    "assistant_message_tool_name": r'{"input": "a", "assistant_message_tool_name": "\ud800"}',
    "assistant_message_tool_kwarg": r'{"input": "a", "assistant_message_tool_kwarg": "\ud800"}',
    "stdout": r"""{"messages": [{"type": "tool_return", "tool_returns": [
        {"type": "tool", "tool_call_id": "a", "tool_return": "b", "status": "success", "stdout": ["\ud800"]}]}]}""",
    "stderr": r"""{"messages": [{"type": "approval", "approvals": [
        {"type": "tool", "tool_call_id": "a", "tool_return": "b", "status": "success", "stderr": ["\ud800"]}]}]}""",
}


@pytest.mark.parametrize("where", HALVES)
def test_half_a_surrogate_pair_is_422(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, where: str
) -> None:
    headers = {"content-type": "application/json"}
    response = http.post(f"/v1/agents/{new_agent().id}/messages", content=HALVES[where], headers=headers)
    assert response.status_code == 422, response.text
    assert where in response.json()["detail"]
    assert scripted_model.requests == []


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b'"\xc3"', b"NaN"], ids=repr)
def test_a_body_that_is_no_json_is_refused_without_an_error_of_the_server(
    http: httpx.Client, new_agent: NewAgent, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    response = http.post(f"/v1/agents/{new_agent().id}/messages", content=body, headers=headers)
    assert response.status_code in (400, 422), response.text
    assert response.json()["detail"]


def test_unknown_keys_are_left_alone(http: httpx.Client, new_agent: NewAgent) -> None:
    body = {**user("ECHO hi"), "enable_thinking": "true", "from_the_future": {"a": 1}}
    response = http.post(f"/v1/agents/{new_agent().id}/messages", json=body)
    assert response.json()["messages"][0]["content"] == "hi"


def test_an_agent_that_does_not_exist_is_404(client: Letta, scripted_model: ScriptedModel) -> None:
    with pytest.raises(NotFoundError, match=NOBODY):
        client.agents.messages.create(NOBODY, input="hi")
    with pytest.raises(NotFoundError, match=NOBODY):
        client.agents.messages.list(NOBODY)
    assert scripted_model.requests == []


def test_an_agent_that_was_deleted_is_404(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    client.agents.messages.create(agent.id, input="hi")
    client.agents.delete(agent.id)
    with pytest.raises(NotFoundError):
        client.agents.messages.create(agent.id, input="hi")


@pytest.mark.parametrize("agent_id", ["agent-1", "x", "block-00000000-0000-4000-8000-000000000000"])
def test_an_identifier_that_is_none_is_422(client: Letta, agent_id: str) -> None:
    with pytest.raises(UnprocessableEntityError):
        client.agents.messages.create(agent_id, input="hi")
