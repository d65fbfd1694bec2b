"""What reaches a provider of what clients say to the server, and what comes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fake_provider import Answer, Asked, FakeProvider, called, chat, chat_stream, responses, said, thought

from support.clients import plain_async_client
from support.fixtures import StartServer

MODEL = "openai/gpt-5-mini"
CALL = ("same", "conversation_search", '{"query": "x"}')
ANOTHER = ("same", "conversation_search", '{"query": "y"}')


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    """Answer in both of OpenAI's APIs: first with calls, when there are tool returns with a text."""

    def script(asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer({"data": []})
        body = asked.body
        turns = body.get("input") or body["messages"]
        returned = any(turn.get("role") == "tool" or turn.get("type") == "function_call_output" for turn in turns)
        if asked.path.endswith("/responses"):
            search = called("fc_1", "call_1", CALL[1], '{"query":"x"}')
            return (
                responses(thought("rs_2"), said("msg_1", "Done.")) if returned else responses(thought("rs_1"), search)
            )
        if not body.get("stream"):
            return chat("Done.") if returned else chat(None, [CALL, ANOTHER])
        pieces = [
            {"index": place, "type": "function", "id": name, "function": {"name": tool, "arguments": arguments}}
            for place, (name, tool, arguments) in enumerate([CALL, ANOTHER])
        ]
        return chat_stream({"content": "Done."}) if returned else chat_stream(*({"tool_calls": [p]} for p in pieces))

    async with FakeProvider(script) as fake:
        yield fake


async def agent_of(client: httpx.AsyncClient, **fields: Any) -> str:
    made = await client.post("/v1/agents", json={"model": MODEL, **fields})
    assert made.status_code == 200, made.text
    name: str = made.json()["id"]
    return name


async def say(client: httpx.AsyncClient, agent_id: str, text: str, **rest: Any) -> Any:
    answer = await client.post(f"/v1/agents/{agent_id}/messages", json={"input": text, **rest})
    assert answer.status_code == 200, answer.text
    return answer


def prompts(provider: FakeProvider) -> list[Any]:
    """Return what models were asked; the server asks for a list of them too."""
    return [asked.body for asked in provider.asked if asked.method == "POST"]


def connect(server: Any) -> httpx.AsyncClient:
    return plain_async_client(server.url)


async def test_reasoning_items_go_back_from_the_store(start_server: StartServer, provider: FakeProvider) -> None:
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{provider.address}/v1", "OPENAI_API": "responses"}
    async with connect(start_server(env=env)) as client:
        agent_id = await agent_of(client)
        await say(client, agent_id, "hello")
        await say(client, agent_id, "again")
    kinds = [item.get("type") or item["role"] for item in provider.asked[-1].body["input"]]
    assert kinds == [
        "user",
        "reasoning",
        "function_call",
        "function_call_output",
        "reasoning",
        "message",
        "user",
        "system",
    ]
    items = provider.asked[-1].body["input"]
    assert [item.get("id") for item in items if "id" in item] == ["rs_1", "fc_1", "rs_2", "msg_1"]
    assert [item["encrypted_content"] for item in items if item.get("type") == "reasoning"] == ["sealed", "sealed"]


async def test_a_trace_is_the_providers_own_json(start_server: StartServer, provider: FakeProvider) -> None:
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{provider.address}/v1", "FOLKMOOT_TRACE": "true"}
    async with connect(start_server(env=env)) as client:
        agent_id = await agent_of(client)
        turn = (await say(client, agent_id, "hello")).json()
        first = turn["messages"][0]
        trace = (await client.get(f"/v1/steps/{first['step_id']}/trace")).json()
        of_run = (await client.get(f"/v1/runs/{first['run_id']}/trace")).json()
    assert trace["request_json"] == prompts(provider)[0]
    assert trace["response_json"]["choices"][0]["message"]["tool_calls"][0]["id"] == "same"
    assert [step["request"]["messages"][1]["content"] for step in of_run] == ["hello", "hello"]


async def test_a_preview_is_the_request_that_follows(start_server: StartServer, provider: FakeProvider) -> None:
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{provider.address}/v1"}
    async with connect(start_server(env=env)) as client:
        agent_id = await agent_of(client, system="Be kind.", tool_rules=[{"type": "run_first", "tool_name": CALL[1]}])
        path = f"/v1/agents/{agent_id}/messages/preview-raw-payload"
        seen = (await client.post(path, json={"input": "hello"})).json()
        thread = (await client.post("/v1/conversations", params={"agent_id": agent_id}, json={})).json()["id"]
        beside = await client.post(f"/v1/conversations/{thread}/messages/preview-raw-payload", json={"input": "hello"})
        assert {**beside.json(), "messages": 0} == {**seen, "messages": 0}
        assert prompts(provider) == []
        await say(client, agent_id, "hello")
        assert (await client.post(path, json={"messages": []})).status_code == 422
    sent = prompts(provider)[0]
    assert seen["messages"][:-1] == sent["messages"][:-1]
    assert {**seen, "messages": 0} == {**sent, "messages": 0}


async def test_a_users_name_is_seen(start_server: StartServer, provider: FakeProvider) -> None:
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{provider.address}/v1"}
    picture = {"type": "image", "source": {"type": "url", "url": "http://pictures/1.png"}}
    async with connect(start_server(env=env)) as client:
        agent_id = await agent_of(client)
        path = f"/v1/agents/{agent_id}/messages"
        spoken = [
            {"role": "user", "content": "hello", "name": "Ada"},
            {"role": "user", "content": [{"type": "text", "text": "see"}, picture], "name": "Bo  B"},
            {"role": "user", "content": "and I"},
        ]
        assert (await client.post(path, json={"messages": spoken})).status_code == 200
    said_then = [message["content"] for message in prompts(provider)[0]["messages"] if message["role"] == "user"]
    assert (said_then[0], said_then[2]) == ("Ada: hello", "and I")
    assert [part.get("text") for part in said_then[1][:2]] == ["Bo B: ", "see"]


async def test_streamed_calls_of_one_id_are_stored_under_the_ids_of_their_pieces(
    start_server: StartServer, provider: FakeProvider
) -> None:
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{provider.address}/v1"}
    async with connect(start_server(env=env)) as client:
        agent_id = await agent_of(client)
        answer = await say(client, agent_id, "hello", streaming=True, stream_tokens=True)
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        listed = (await client.get(f"/v1/agents/{agent_id}/messages")).json()
    pieces = {e["tool_call"]["tool_call_id"]: e["id"] for e in events if e["message_type"] == "tool_call_message"}
    stored = {m["tool_call"]["tool_call_id"]: m["id"] for m in listed if m["message_type"] == "tool_call_message"}
    returned = {m["tool_call_id"] for m in listed if m["message_type"] == "tool_return_message"}
    assert len(stored) == 2
    assert pieces == stored
    assert returned == set(stored)
