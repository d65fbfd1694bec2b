"""Asking an agent through the door: its answer, how far it is, and what becomes of a turn that nobody waits for."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from members import GENERATIONS, NewMember, call, joined, knock_tool, refused

from support.fixtures import NewAgent, NewBlock, one_store
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

each_generation = pytest.mark.parametrize("generation", GENERATIONS)


def runs_of(http: httpx.Client, agent: Any) -> list[str]:
    return [run["status"] for run in http.get("/v1/runs", params={"agent_id": agent.id}).json()]


@each_generation
async def test_a_member_asks_an_agent_and_sees_how_far_it_is(
    server: ServerProcess, new_agent: NewAgent, new_block: NewBlock, new_member: NewMember, generation: str
) -> None:
    block = new_block(value="one")
    agent = new_agent(block_ids=[block.id])
    arguments = json.dumps({"label": block.label, "new_string": "two"})
    progress: list[str | None] = []

    async def on_progress(number: float, total: float | None, message: str | None) -> None:
        progress.append(message)

    asked = {"agent": agent.name, "message": f"Please:\nCALL memory_insert {arguments}\nTHEN ECHO It is noted."}
    async with joined(server.url, new_member(agents=[agent.name]), generation) as member:
        answer = await member.call_tool("ask_agent", asked, progress_callback=on_progress)
        assert answer.content[0].text == "It is noted."  # type: ignore[union-attr]
    assert any(message and "tool" in message for message in progress)
    assert "tool return" in progress


@one_store
async def test_only_the_agents_that_were_named_can_be_asked(
    server: ServerProcess, new_agent: NewAgent, new_member: NewMember
) -> None:
    mine, older, other = new_agent(), new_agent(agent_type="memgpt_agent"), new_agent()
    async with joined(server.url, new_member(agents=[mine.id, older.id])) as member:
        assert await call(member, "ask_agent", agent=mine.id, message="Please:\nECHO hello") == "hello"
        spoken = 'Please:\nCALL send_message {"message": "By my tool."}'
        assert await call(member, "ask_agent", agent=older.id, message=spoken) == "By my tool."
        for name in (other.id, other.name, "nobody"):
            assert name in await refused(member, "ask_agent", agent=name, message="Please:\nECHO hello")
    twin = f"twin_{uuid4().hex}"
    same = [new_agent(name=twin) for _ in range(2)]
    async with joined(server.url, new_member(agents=[each.id for each in same])) as member:
        told = await refused(member, "ask_agent", agent=twin, message="Please:\nECHO hello")
        assert all(each.id in told for each in same)


@one_store
async def test_a_turn_that_fails_says_why(
    server: ServerProcess, new_agent: NewAgent, new_member: NewMember, scripted_model: ScriptedModel
) -> None:
    agent = new_agent(tool_rules=[{"type": "requires_approval", "tool_name": "conversation_search"}])
    async with joined(server.url, new_member(agents=[agent.id])) as member:
        told = await call(
            member, "ask_agent", agent=agent.id, message='Please:\nCALL conversation_search {"query": "x"}'
        )
        assert "requires_approval" in told
        assert "approval" in await refused(member, "ask_agent", agent=agent.id, message="Please:\nECHO hello?")
    other = new_agent()
    async with joined(server.url, new_member(agents=[other.id])) as member:
        scripted_model.fail_next(400, message="no luck today")
        told = await refused(member, "ask_agent", agent=other.id, message="Please:\nECHO hello")
        assert other.name in told
        assert "no luck today" in told


@one_store
async def test_a_turn_whose_asker_gives_up_is_cancelled(
    server: ServerProcess, http: httpx.Client, new_agent: NewAgent, new_member: NewMember, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held:
        async with joined(server.url, new_member(agents=[agent.id])) as member:
            asking = asyncio.create_task(call(member, "ask_agent", agent=agent.id, message="Please:\nECHO too late"))
            await asyncio.to_thread(held.wait_for, 1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            async with asyncio.timeout(PATIENCE):
                while runs_of(http, agent) != ["cancelled"]:
                    await asyncio.sleep(0.01)


@one_store
async def test_a_turn_whose_client_drops_is_cancelled(
    server: ServerProcess, http: httpx.Client, new_agent: NewAgent, new_member: NewMember, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    asked = knock_tool(
        server.url, new_member(agents=[agent.id]), "ask_agent", agent=agent.id, message="Please:\nECHO hello"
    )
    with scripted_model.hold() as held:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            asking = asyncio.create_task(client.request(**asked))
            await asyncio.to_thread(held.wait_for, 1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        async with asyncio.timeout(PATIENCE):
            while runs_of(http, agent) != ["cancelled"]:
                await asyncio.sleep(0.01)
