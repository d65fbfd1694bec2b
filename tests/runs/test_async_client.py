"""The official client's asynchronous face, with what waits, what is cancelled and what is resumed."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from letta_client import AsyncLetta, BadRequestError, ConflictError

from runs.talking import SEARCH, followed, kinds, ok, whole
from support.fixtures import NewAgent
from support.scripted_model import ScriptedModel

pytestmark = pytest.mark.filterwarnings("ignore:deprecated")

ASKED = f"{SEARCH}\nTHEN ECHO one two three"
RULE: Any = {"type": "requires_approval", "tool_name": "conversation_search"}
LOOKUP: Any = {
    "name": "client_lookup",
    "description": "Look something up on the client's machine.",
    "parameters": {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]},
}


def decided(*decisions: dict[str, Any]) -> Any:
    return [{"type": "approval", "approvals": list(decisions)}]


def waiting(messages: list[Any]) -> str:
    """Return the call that the last of these messages asks about."""
    assert messages[-1].message_type == "approval_request_message"
    call_id: str = messages[-1].tool_call.tool_call_id
    return call_id


@pytest.mark.parametrize("approve", [True, False])
async def test_it_decides_about_a_tool_call(
    async_client: AsyncLetta, http: httpx.Client, new_agent: NewAgent, approve: bool
) -> None:
    agent = new_agent(tool_rules=[RULE])
    asked = await async_client.agents.messages.create(agent.id, input=ASKED)
    assert asked.stop_reason.stop_reason == "requires_approval"
    call_id = waiting(asked.messages)
    with pytest.raises(ConflictError):
        await async_client.agents.messages.create(agent.id, input="hello?")
    decision = {"type": "approval", "tool_call_id": call_id, "approve": approve}
    answer = await async_client.agents.messages.create(agent.id, messages=decided(decision))
    returned, said = answer.messages
    assert (returned.status, returned.tool_call_id) == ("success" if approve else "error", call_id)  # type: ignore[union-attr]
    assert said.content == "one two three"  # type: ignore[union-attr]
    with pytest.raises(BadRequestError):
        await async_client.agents.messages.create(agent.id, messages=decided(decision))
    whole(http, agent.id)


async def test_it_decides_in_a_stream(async_client: AsyncLetta, http: httpx.Client, new_agent: NewAgent) -> None:
    agent = new_agent(tool_rules=[RULE])
    stream = await async_client.agents.messages.stream(agent.id, input=ASKED)
    asked: list[Any] = [chunk async for chunk in stream]
    assert asked[-2].stop_reason == "requires_approval"
    decision = {"type": "approval", "tool_call_id": waiting(asked[:-2]), "approve": True}
    stream = await async_client.agents.messages.stream(agent.id, messages=decided(decision), stream_tokens=True)
    answer: list[Any] = [chunk async for chunk in stream]
    assert "".join(c.content for c in answer if c.message_type == "assistant_message") == "one two three"
    whole(http, agent.id)


async def test_it_returns_what_its_own_tool_came_to(
    async_client: AsyncLetta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    script = 'CALL client_lookup {"q": "x"}\nTHEN ECHO seven it is'
    asked = await async_client.agents.messages.create(agent.id, input=script, client_tools=[LOOKUP])
    assert asked.stop_reason.stop_reason == "requires_approval"
    returned = {"type": "tool", "tool_call_id": waiting(asked.messages), "tool_return": "7", "status": "success"}
    answer = await async_client.agents.messages.create(agent.id, messages=decided(returned), client_tools=[LOOKUP])
    assert answer.messages[0].tool_return == "7"  # type: ignore[union-attr]
    assert answer.messages[-1].content == "seven it is"  # type: ignore[union-attr]
    told = next(m for m in scripted_model.conversations[-1] if m["role"] == "tool")
    assert told["content"] == "7"
    whole(http, agent.id)


async def test_it_cancels_a_run(
    async_client: AsyncLetta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held:
        run = await async_client.agents.messages.create_async(agent.id, input=ASKED)
        waits = await async_client.agents.messages.create_async(agent.id, input="ECHO spared")
        await asyncio.to_thread(held.wait_for, 1)
        held.release(1)
        await asyncio.to_thread(held.wait_for, 2)
        outcome = await async_client.agents.messages.cancel(agent.id, run_ids=[run.id])
        assert outcome == {run.id: "cancelled"}
        held.release()
        chunks: list[Any] = [chunk async for chunk in await async_client.runs.messages.stream(run.id)]
        assert chunks[-1].stop_reason == "cancelled"
        await asyncio.to_thread(followed, http, waits.id)
    assert (await async_client.runs.retrieve(run.id)).status == "cancelled"
    assert (await async_client.runs.retrieve(waits.id)).status == "completed"
    assert await async_client.agents.messages.cancel(agent.id) == {}
    assert kinds(whole(http, agent.id))[1:] == [
        *("user_message", "tool_call_message", "tool_return_message"),
        *("user_message", "assistant_message"),
    ]


@pytest.mark.parametrize("tokens", [False, True], ids=["messages", "tokens"])
async def test_it_resumes_a_run_from_where_it_was(
    async_client: AsyncLetta, new_agent: NewAgent, scripted_model: ScriptedModel, tokens: bool
) -> None:
    """The first reader goes away between two steps; the second goes on behind the last that was seen."""
    agent = new_agent()
    with scripted_model.hold() as held:
        stream = await async_client.agents.messages.stream(agent.id, input=ASKED, background=True, stream_tokens=tokens)
        seen: list[Any] = [await anext(stream)]
        await asyncio.to_thread(held.wait_for, 1)
        held.release(1)
        while seen[-1].message_type != "tool_return_message":
            seen.append(await anext(stream))
        await stream.close()
        await asyncio.to_thread(held.wait_for, 2)
        run_id, last = seen[0].run_id, seen[-1].seq_id
        assert (await async_client.runs.retrieve(run_id)).status == "running"
        resumed = await async_client.runs.messages.stream(run_id, starting_after=last)
        held.release()
        rest: list[Any] = [chunk async for chunk in resumed]
    assert "".join(chunk.content for chunk in rest[:-2]) == "one two three"
    numbers = [chunk.seq_id for chunk in [*seen, *rest[:-2]]]
    assert numbers == sorted(set(numbers)), "every event once, in order"
    assert [chunk.message_type for chunk in rest[-2:]] == ["stop_reason", "usage_statistics"]
    everything = [chunk async for chunk in await async_client.runs.messages.stream(run_id)]
    assert everything == [*seen, *rest]


async def test_it_resumes_a_conversations_stream(
    async_client: AsyncLetta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    conversation = await async_client.conversations.create(agent_id=agent.id)
    with scripted_model.hold() as held:
        stream = await async_client.conversations.messages.create(conversation.id, input="ECHO one", background=True)
        ping: Any = await anext(aiter(stream))
        await stream.close()
        await asyncio.to_thread(held.wait_for, 1)
        resumed = await async_client.conversations.messages.stream(conversation.id, starting_after=ping.seq_id)
        held.release()
        rest: list[Any] = [chunk async for chunk in resumed]
    assert [chunk.message_type for chunk in rest] == ["assistant_message", "stop_reason", "usage_statistics"]
    assert rest[0].run_id == ping.run_id
    run = ok(await asyncio.to_thread(http.get, f"/v1/runs/{ping.run_id}"))
    assert run["conversation_id"] == conversation.id
