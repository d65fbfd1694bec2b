"""Tools that the client runs itself."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from letta_client import Letta

from runs.talking import SEARCH, call, calling, decide, kinds, ok, post, read, say, streaming, whole
from support.clients import plain_client
from support.fixtures import NewAgent, NewBlock, StartServer, each_provider
from support.scripted_model import ScriptedModel

pytestmark = pytest.mark.filterwarnings("ignore:deprecated")

LOOKUP: dict[str, Any] = {
    "name": "client_lookup",
    "description": "Look something up on the client's machine.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}
ASKED = 'CALL client_lookup {"q": "x"}\nTHEN ECHO seven it is'


def returned(call_id: str, text: Any = "client says 7", **more: Any) -> dict[str, Any]:
    return {"type": "tool", "tool_call_id": call_id, "tool_return": text, **more}


def open_calls(turn: dict[str, Any]) -> list[str]:
    assert turn["stop_reason"]["stop_reason"] == "requires_approval"
    request = next(m for m in turn["messages"] if m["message_type"] == "approval_request_message")
    return [each["tool_call_id"] for each in request["tool_calls"]]


def offered_tools(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tools of a request to either API: name, description and parameters."""
    tools = [tool.get("function", tool) for tool in request["tools"]]
    return [{"parameters": tool.get("input_schema"), **tool} for tool in tools]


@each_provider
def test_a_client_runs_its_own_tool(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    tools: Any = [LOOKUP]
    response = client.agents.messages.create(agent.id, input=ASKED, client_tools=tools)
    assert response.stop_reason.stop_reason == "requires_approval"
    request: Any = response.messages[-1]
    assert (request.message_type, request.tool_call.name) == ("approval_request_message", "client_lookup")
    (offered,) = [tool for tool in offered_tools(scripted_model.requests[0]) if tool["name"] == LOOKUP["name"]]
    assert {name: offered.get(name) for name in LOOKUP} == LOOKUP
    answer: Any = {"type": "approval", "approvals": [returned(request.tool_call.tool_call_id, status="success")]}
    response = client.agents.messages.create(agent.id, messages=[answer], client_tools=tools)
    assert [m.message_type for m in response.messages] == ["tool_return_message", "assistant_message"]
    assert response.messages[0].tool_return == "client says 7"  # type: ignore[union-attr]
    assert response.messages[1].content == "seven it is"  # type: ignore[union-attr]
    told = next(m for m in scripted_model.conversations[1] if m["role"] == "tool")
    assert told["content"] == "client says 7"
    whole(http, agent.id)


@each_provider
def test_a_return_can_come_as_a_message_of_its_own_type(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    (call_id,) = open_calls(say(http, agent.id, ASKED, client_tools=[LOOKUP]))
    message = {"type": "tool_return", "tool_returns": [returned(call_id, status="success")]}
    turn = ok(http.post(f"/v1/agents/{agent.id}/messages", json={"messages": [message], "client_tools": [LOOKUP]}))
    assert kinds(turn["messages"]) == ["tool_return_message", "assistant_message"]
    whole(http, agent.id)


@each_provider
def test_the_client_need_not_send_its_tools_again(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    (call_id,) = open_calls(say(http, agent.id, ASKED, client_tools=[LOOKUP]))
    turn = ok(decide(http, agent.id, returned(call_id)))
    assert turn["messages"][-1]["content"] == "seven it is"
    assert "client_lookup" not in json.dumps(scripted_model.requests[-1]["tools"])


@each_provider
@pytest.mark.parametrize(
    ("given", "text", "status"),
    [
        pytest.param({"tool_return": "no such thing", "status": "error"}, "no such thing", "error", id="error"),
        pytest.param(
            {"tool_return": [{"type": "text", "text": "in"}, {"type": "text", "text": "parts"}]},
            "in\nparts",
            "success",
            id="parts",
        ),
        pytest.param({"tool_return": ""}, "", "success", id="empty"),
        pytest.param({"tool_return": "x" * 300_000}, "x" * 300_000, "success", id="long"),
        pytest.param(
            {"tool_return": "7", "stdout": ["a line"], "stderr": ["a warning"]}, "7", "success", id="with output"
        ),
    ],
)
def test_what_a_client_returns_is_what_the_model_reads(
    http: httpx.Client,
    new_agent: NewAgent,
    scripted_model: ScriptedModel,
    given: dict[str, Any],
    text: str,
    status: str,
) -> None:
    agent = new_agent()
    (call_id,) = open_calls(say(http, agent.id, ASKED, client_tools=[LOOKUP]))
    turn = ok(decide(http, agent.id, {"type": "tool", "tool_call_id": call_id, **given}))
    assert (turn["messages"][0]["tool_return"], turn["messages"][0]["status"]) == (text, status)
    told = next(m for m in scripted_model.conversations[1] if m["role"] == "tool")
    assert text in told["content"]
    whole(http, agent.id)


@each_provider
def test_a_client_that_does_not_want_to_denies(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent()
    (call_id,) = open_calls(say(http, agent.id, ASKED, client_tools=[LOOKUP]))
    decision = {"type": "approval", "tool_call_id": call_id, "approve": False, "reason": "not on this machine"}
    turn = ok(decide(http, agent.id, decision))
    assert "not on this machine" in turn["messages"][0]["tool_return"]
    assert turn["messages"][0]["status"] == "error"


def test_approving_a_clients_tool_without_its_return_is_answered_readably(
    http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    (call_id,) = open_calls(say(http, agent.id, ASKED, client_tools=[LOOKUP]))
    answer = decide(http, agent.id, {"type": "approval", "tool_call_id": call_id, "approve": True})
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert answer.json()["messages"][0]["status"] == "error"
    whole(http, agent.id)


@each_provider
def test_the_servers_tools_run_beside_the_clients(http: httpx.Client, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    calls = [
        ["client_lookup", {"q": "a"}],
        ["memory_insert", {"label": block.label, "new_string": "at once"}],
        ["client_lookup", {"q": "b"}],
    ]
    first, second = open_calls(say(http, agent.id, f"CALLS {json.dumps(calls)}", client_tools=[LOOKUP]))
    assert ok(http.get(f"/v1/blocks/{block.id}"))["value"] == "at once"
    turn = ok(decide(http, agent.id, returned(second, "B"), returned(first, "A")))
    assert [m["tool_return"] for m in turn["messages"][:2]] == ["A", "B"]
    whole(http, agent.id)


@each_provider
def test_a_clients_tool_comes_before_the_servers_of_the_same_name(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    own = {**LOOKUP, "name": "conversation_search"}
    (call_id,) = open_calls(say(http, agent.id, SEARCH, client_tools=[own]))
    names = [tool["name"] for tool in offered_tools(scripted_model.requests[0])]
    assert names.count("conversation_search") == 1
    turn = ok(decide(http, agent.id, returned(call_id, "mine")))
    assert turn["messages"][0]["tool_return"] == "mine"


@each_provider
@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
def test_a_call_of_a_clients_tool_is_streamed(http: httpx.Client, new_agent: NewAgent, tokens: bool) -> None:
    agent = new_agent()
    with streaming(http, agent.id, ASKED, client_tools=[LOOKUP], stream_tokens=tokens) as reading:
        events = read(reading.rest())
    assert list(dict.fromkeys(kinds(events))) == [
        *("ping", "approval_request_message", "stop_reason", "usage_statistics")
    ]
    assert events[-2]["stop_reason"] == "requires_approval"
    assert events[1]["id"] == whole(http, agent.id)[-1]["id"]


@each_provider
def test_an_agent_without_tools_can_use_the_clients(http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(include_base_tools=False)
    (call_id,) = open_calls(say(http, agent.id, ASKED, client_tools=[{"name": "client_lookup"}]))
    assert ok(decide(http, agent.id, returned(call_id)))["messages"][-1]["content"] == "seven it is"


def test_what_a_client_has_to_run_survives_a_restart(start_server: StartServer, model: str) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        agent = ok(http.post("/v1/agents", json={"model": model}))["id"]
        (call_id,) = open_calls(say(http, agent, ASKED, client_tools=[LOOKUP]))
        server.restart()
        assert post(http, agent, "hello?").status_code == 409
        assert ok(decide(http, agent, returned(call_id)))["messages"][-1]["content"] == "seven it is"


@each_provider
def test_a_turn_that_goes_on_calling(http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    agent = new_agent()
    turn = say(http, agent.id, "\n".join(['CALL client_lookup {"q": "x"}'] * 3), client_tools=[LOOKUP])
    for number in range(3):
        (call_id,) = open_calls(turn)
        turn = ok(decide(http, agent.id, returned(call_id, str(number)), client_tools=[LOOKUP]))
    assert turn["messages"][-1]["content"] == "done"
    assert len(scripted_model.requests) == 4
    whole(http, agent.id)


@pytest.mark.parametrize(
    "tools",
    [
        pytest.param([{"name": "not a tool!"}], id="a name that no provider takes"),
        pytest.param([{"name": "ünknown"}], id="a name in other letters"),
        pytest.param([{"name": ""}], id="no name"),
        pytest.param([{"name": "n" * 65}], id="a long name"),
        pytest.param([{"name": "x", "parameters": {"type": "string"}}], id="parameters that are no object's"),
    ],
)
def test_a_clients_tool_that_no_provider_takes_is_refused(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, tools: list[dict[str, Any]]
) -> None:
    agent = new_agent()
    answer = post(http, agent.id, "ECHO hello", client_tools=tools)
    scripted_model.reset()  # what the model said of it does not count twice
    assert answer.status_code in (400, 422), answer.text


@each_provider
def test_a_clients_tool_named_twice_is_sent_once_or_refused(http: httpx.Client, new_agent: NewAgent) -> None:
    answer = post(http, new_agent().id, "ECHO hello", client_tools=[LOOKUP, LOOKUP])
    assert answer.status_code in (200, 400, 422)


@each_provider
def test_two_calls_with_one_id_of_a_clients_tool_can_be_answered(
    http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    scripted_model.reply_next(calling(call("client_lookup", '{"q": "a"}'), call("client_lookup", '{"q": "b"}')))
    ids = open_calls(say(http, agent.id, "hello", client_tools=[LOOKUP]))
    ok(decide(http, agent.id, *(returned(each) for each in dict.fromkeys(ids))))
    whole(http, agent.id)
    assert say(http, agent.id, "ECHO and on")["messages"][-1]["content"] == "and on"
