"""Tool calls in a turn: found, read, run, refused; and whatever a model writes, the conversation goes on."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from letta_client import Letta
from letta_client.types import AgentState
from letta_client.types.agents import LettaResponse

from support.fixtures import NewAgent, NewBlock
from support.scripted_model import ScriptedModel


def say(client: Letta, agent: AgentState, text: str, **more: Any) -> LettaResponse:
    return client.agents.messages.create(agent.id, messages=[{"role": "user", "content": text}], **more)


def returns(response: LettaResponse) -> list[Any]:
    return [message for message in response.messages if message.message_type == "tool_return_message"]


def call(name: str, arguments: str, call_id: str = "call_1") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_several_calls_of_one_reply_run_in_its_order(client: Letta, new_agent: NewAgent, new_block: NewBlock) -> None:
    block = new_block(value="first")
    agent = new_agent(block_ids=[block.id])
    label = block.label
    calls = [
        ["memory_insert", {"label": label, "new_string": "second"}],
        ["conversation_search", {}],
        ["memory_replace", {"label": label, "old_string": "second", "new_string": "third"}],
        ["memory_insert", {"label": label, "new_string": "fourth"}],
    ]
    response = say(client, agent, f"CALLS {json.dumps(calls)}")
    called = [m.tool_call.tool_call_id for m in response.messages if m.message_type == "tool_call_message"]
    assert [m.message_type for m in response.messages] == [
        *["tool_call_message"] * 4,
        *["tool_return_message"] * 4,
        "assistant_message",
    ]
    assert [m.tool_call_id for m in returns(response)] == called
    assert [m.name for m in returns(response)] == [name for name, _ in calls]
    assert {m.status for m in returns(response)} == {"success"}
    assert client.blocks.retrieve(block.id).value == "first\nthird\nfourth"
    assert response.usage.step_count == 2


@pytest.mark.parametrize("where", ["agent", "settings"])
def test_without_parallel_tool_calls_only_the_first_call_runs(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel, where: str
) -> None:
    block = new_block()
    chosen: dict[str, Any] = {"parallel_tool_calls": False}
    if where == "settings":
        chosen = {"model_settings": {"provider_type": "openai", "parallel_tool_calls": False}}
    agent = new_agent(block_ids=[block.id], **chosen)
    calls = [["memory_insert", {"label": block.label, "new_string": text}] for text in ("one", "two", "three")]
    response = say(client, agent, f"CALLS {json.dumps(calls)}")
    assert [m.status for m in returns(response)] == ["success", "error", "error"]
    assert "one tool" in returns(response)[1].tool_return
    assert client.blocks.retrieve(block.id).value == "one"
    assert scripted_model.requests[0]["parallel_tool_calls"] is False


def test_a_tool_that_does_not_exist_is_answered_with_those_that_do(client: Letta, new_agent: NewAgent) -> None:
    agent = new_agent()
    response = say(client, agent, 'CALL not_a_tool {"x": 1}\nTHEN ECHO sorry')
    (returned,) = returns(response)
    assert returned.status == "error"
    assert "not_a_tool" in returned.tool_return
    for tool in agent.tools:
        assert tool.name is not None
        assert tool.name in returned.tool_return
    assert response.messages[-1].content == "sorry"


def test_a_tool_that_does_not_exist_is_answered_with_the_clients_own_too(client: Letta, new_agent: NewAgent) -> None:
    tool = {"name": "run_shell", "parameters": {"type": "object", "properties": {}}}
    (returned,) = returns(say(client, new_agent(), "CALL Bash {}", client_tools=[tool]))
    assert "conversation_search" in returned.tool_return
    assert returned.tool_return.endswith(", run_shell.")


def test_a_tool_of_the_server_that_the_agent_does_not_have_is_not_run(
    client: Letta, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="kept")
    agent = new_agent(block_ids=[block.id])
    response = say(client, agent, f'CALL memory_rethink {{"label": "{block.label}", "new_memory": "gone"}}')
    assert returns(response)[0].status == "error"
    assert client.blocks.retrieve(block.id).value == "kept"


def test_an_agent_without_tools_is_sent_none(client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel) -> None:
    agent = new_agent(include_base_tools=False)
    response = say(client, agent, "CALL memory_insert {}")
    assert "none" in returns(response)[0].tool_return
    assert "tools" not in scripted_model.requests[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param('{"label": broken', "not valid JSON", id="broken JSON"),
        pytest.param('{"label": "LABEL"', "not valid JSON", id="cut off"),
        pytest.param("[1]", "must be one JSON object", id="no object"),
        pytest.param('{"label": "LABEL"}', "new_string is missing", id="missing"),
        pytest.param('{"label": "LABEL", "new_string": "x", "colour": "red"}', '"colour"', id="extra"),
        pytest.param('{"label": "LABEL", "new_string": ["x"]}', "new_string must be a string", id="mistyped"),
        pytest.param('{"label": "LABEL", "new_string": "x", "insert_line": "top"}', "insert_line", id="no number"),
        pytest.param('{"label": null, "new_string": "x"}', "label", id="null"),
        pytest.param("", "label is missing", id="empty"),
    ],
)
def test_arguments_that_cannot_be_read_are_refused_and_named(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel, arguments: str, told: str
) -> None:
    block = new_block(value="kept")
    agent = new_agent(block_ids=[block.id])
    arguments = arguments.replace("LABEL", block.label or "")
    scripted_model.reply_next({"content": None, "tool_calls": [call("memory_insert", arguments)]})
    response = say(client, agent, "hello")
    (returned,) = returns(response)
    assert (returned.status, returned.name) == ("error", "memory_insert")
    assert told in returned.tool_return
    assert "new_string" in returned.tool_return
    assert client.blocks.retrieve(block.id).value == "kept"
    assert response.stop_reason.stop_reason == "end_turn"
    assert response.messages[0].tool_call.arguments == (arguments or "{}")
    assert say(client, agent, "ECHO and on").messages[-1].content == "and on"


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([call("not a tool!", "{}")], id="a name with spaces"),
        pytest.param([call("ünknown", "{}")], id="a name in other letters"),
        pytest.param([call("t" * 100, "{}")], id="a long name"),
        pytest.param([call("", "{}")], id="no name"),
        pytest.param([call("conversation_search", "{}", "")], id="no id"),
        pytest.param([call("conversation_search", "{}", "i" * 300)], id="a long id"),
        pytest.param([call("conversation_search", "{}"), call("conversation_search", "{}")], id="one id twice"),
        pytest.param([call("conversation_search", '{"query": "\ud800"}')], id="half a surrogate pair"),
        pytest.param([call("conversation_search", '{"query": "\0"}')], id="NUL"),
        pytest.param([call("nul\0", "{}", "nul\0")], id="NUL in name and id"),
        pytest.param([call("half\ud800", "{}", "half\ud800")], id="half a pair in name and id"),
        pytest.param([call("conversation_search", "[" * 100_000)], id="deep nesting"),
    ],
)
def test_whatever_a_model_calls_the_conversation_goes_on(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, calls: list[dict[str, Any]]
) -> None:
    agent = new_agent()
    scripted_model.reply_next({"content": None, "tool_calls": calls})
    response = say(client, agent, "hello")
    assert len(returns(response)) == len(calls)
    assert response.messages[-1].message_type == "assistant_message"
    assert say(client, agent, "ECHO and on").messages[-1].content == "and on"
    assert len(list(client.agents.messages.list(agent.id))) == 2 * len(calls) + 5


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"], ids=["NUL", "half a surrogate pair"])
@pytest.mark.every_case_on_both
def test_text_that_no_store_can_hold_is_mended(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel, text: str
) -> None:
    agent = new_agent()
    scripted_model.reply_next({"content": text})
    assert say(client, agent, "hello").messages[0].content == "a\ufffdb"
    assert say(client, agent, "ECHO and on").messages[-1].content == "and on"


HALF = {
    "send_message": r'{"message": "hi \ud83d"}',
    "memory_insert": r'{"label": "human", "new_string": "hi \ud83d"}',
    "archival_memory_insert": r'{"content": "kept", "tags": "[\"\\ud83d\"]"}',
}


@pytest.mark.parametrize(("tool", "arguments"), HALF.items())
def test_half_an_emoji_that_a_model_escapes_is_shown_as_none(
    client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel, tool: str, arguments: str
) -> None:
    agent = new_agent(memory_blocks=[{"label": "human", "value": ""}], tools=[tool])
    scripted_model.reply_next({"content": None, "tool_calls": [call(tool, arguments)]})
    turn = say(client, agent, "hello")
    assert [each.status for each in returns(turn)] in ([], ["success"])  # what is sent is shown as words
    assert tool != "send_message" or turn.messages[0].content == "hi \ufffd"
    for path in (f"/v1/agents/{agent.id}/messages", f"/agents/{agent.id}", "/activity"):
        assert http.get(path).status_code == 200, path
    assert say(client, agent, "ECHO and on").messages[-1].content == "and on"


def test_the_same_call_ids_in_every_step_do_not_confuse_the_history(
    client: Letta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    for _ in range(3):
        scripted_model.reply_next({"content": None, "tool_calls": [call("conversation_search", "{}", "call_0")]})
    response = say(client, agent, "\n".join(["CALL conversation_search {}"] * 3))
    assert len(returns(response)) == 3
    assert response.messages[-1].content == "done"
