"""Requests at the same time: one agent's turns follow one another, different agents' turns do not wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from letta_client import AsyncLetta, Letta
from letta_client.types import AgentState
from letta_client.types.agents import LettaResponse

from support.fixtures import NewAgent, NewBlock
from support.scripted_model import ScriptedModel


async def say(client: AsyncLetta, agent: AgentState, text: str) -> LettaResponse:
    return await client.agents.messages.create(agent.id, input=text)


def said(request: dict[str, Any], role: str = "assistant") -> list[str]:
    return [message["content"] for message in request["messages"] if message["role"] == role]


@pytest.mark.parametrize("count", [2, 16])
@pytest.mark.every_case_on_both
async def test_requests_to_one_agent_are_answered_one_after_the_other(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, scripted_model: ScriptedModel, count: int
) -> None:
    agent, other = new_agent(), new_agent()
    with scripted_model.hold(matching="reply") as held:
        asking = [asyncio.create_task(say(async_client, agent, f"ECHO reply {n}")) for n in range(count)]
        await asyncio.to_thread(held.wait_for, 1)
        # While the first is with the model, the server does other work, and yet lets no second one through.
        for number in range(5):
            assert (await say(async_client, other, f"ECHO other {number}")).messages[0].content == f"other {number}"
        for number in range(1, count + 1):
            await asyncio.to_thread(held.wait_for, number)
            assert held.arrived == number
            held.release(1)
        answers = await asyncio.gather(*asking)
    requests = [request for request in scripted_model.requests if "reply" in str(request)]
    order = [said(request, "user")[-1].removeprefix("ECHO ") for request in requests]
    assert sorted(order) == sorted(f"reply {number}" for number in range(count))
    assert [said(request) for request in requests] == [order[:number] for number in range(count)]
    assert [answer.messages[0].content for answer in answers] == [f"reply {number}" for number in range(count)]
    kept = [m.content for m in client.agents.messages.list(agent.id, order="asc")][1:]
    assert kept == [text for reply in order for text in (f"ECHO {reply}", reply)]


async def test_a_turn_of_several_steps_is_not_broken_into(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold(matching="long") as held:
        long = asyncio.create_task(say(async_client, agent, "CALL conversation_search {}\nTHEN ECHO long"))
        await asyncio.to_thread(held.wait_for, 1)
        short = asyncio.create_task(say(async_client, agent, "ECHO short"))
        held.release(1)
        await asyncio.to_thread(held.wait_for, 2)
        assert not short.done()
        held.release(1)
        await asyncio.gather(long, short)
    kept = [m.message_type for m in client.agents.messages.list(agent.id, order="asc")][1:]
    assert kept == [
        *("user_message", "tool_call_message", "tool_return_message", "assistant_message"),
        *("user_message", "assistant_message"),
    ]


async def test_different_agents_are_with_the_model_at_once(
    async_client: AsyncLetta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agents = [new_agent() for _ in range(8)]
    with scripted_model.hold(matching="together") as held:
        asking = [asyncio.create_task(say(async_client, agent, "ECHO together")) for agent in agents]
        await asyncio.to_thread(held.wait_for, 8)
        held.release()
        answers = await asyncio.gather(*asking)
    assert [answer.messages[0].content for answer in answers] == ["together"] * 8


async def test_agents_that_insert_into_one_block_at_once_all_land(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block()
    agents = [new_agent(block_ids=[block.id]) for _ in range(16)]
    with scripted_model.hold(matching="memory_insert") as held:
        asking = [
            asyncio.create_task(
                say(
                    async_client,
                    agent,
                    f'CALL memory_insert {{"label": "{block.label}", "new_string": "line {number}"}}',
                )
            )
            for number, agent in enumerate(agents)
        ]
        await asyncio.to_thread(held.wait_for, len(agents))
        held.release()
        answers = await asyncio.gather(*asking)
    assert {m.status for a in answers for m in a.messages if m.message_type == "tool_return_message"} == {"success"}
    after = client.blocks.retrieve(block.id)
    assert sorted((after.value or "").splitlines()) == sorted(f"line {number}" for number in range(16))
    assert after.version == 17  # type: ignore[attr-defined]
    assert len(scripted_model.requests) == 32
