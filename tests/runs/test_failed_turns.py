"""A turn that fails: what stays, what the run says, and that the next message works."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import asyncpg
import pytest
from letta_client import APIStatusError, AsyncLetta, Letta, NotFoundError
from letta_client.types import AgentState

from support.clients import official_async_client
from support.fixtures import MODEL, NewAgent, NewBlock, StartServer, each_provider
from support.scripted_model import ScriptedModel
from support.server import ServerProcess


def say(client: Letta, agent: AgentState, text: str) -> Any:
    return client.agents.messages.create(agent.id, input=text)


def kept(client: Letta, agent: AgentState) -> list[Any]:
    return list(client.agents.messages.list(agent.id, order="asc"))


async def rows(server: ServerProcess, statement: str) -> list[tuple[Any, ...]]:
    """Read from the server's database, beside the server."""
    url = server.database
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            return [tuple(row) for row in database.execute(statement)]
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def runs_of(server: ServerProcess, agent: AgentState) -> list[tuple[str, str | None, dict[str, Any]]]:
    """Return status, stop reason and details of the agent's runs, oldest first."""
    found = await rows(
        server,
        f"SELECT status, stop_reason, details FROM runs WHERE agent_id = '{agent.id}' ORDER BY created_at",
    )
    return [(status, reason, json.loads(details)) for status, reason, details in found]


def insertion(block: Any, text: str) -> str:
    return f"CALL memory_insert {json.dumps({'label': block.label, 'new_string': text})}"


@each_provider
@pytest.mark.parametrize("spoken", [False, True], ids=["in its first turn", "in a later turn"])
def test_a_failure_before_the_first_whole_step_leaves_everything_as_it_was(
    client: Letta, new_agent: NewAgent, server: ServerProcess, scripted_model: ScriptedModel, spoken: bool
) -> None:
    agent = new_agent()
    if spoken:
        say(client, agent, "CALL conversation_search {}")
    before = kept(client, agent)
    scripted_model.fail_next(400, message="no such luck")
    with pytest.raises(APIStatusError):
        say(client, agent, "lost")
    assert kept(client, agent) == before
    assert client.agents.retrieve(agent.id).message_ids == [message.id for message in before]
    assert say(client, agent, "ECHO and on").messages[0].content == "and on"
    assert len(kept(client, agent)) == len(before) + 2
    runs = asyncio.run(runs_of(server, agent))
    assert [(status, reason) for status, reason, _ in runs[-2:]] == [
        ("failed", "llm_api_error"),
        ("completed", "end_turn"),
    ]
    assert "no such luck" in runs[-2][2]["error"]["message"]
    assert runs[-2][2]["error"]["type"] == "ProviderRejected"
    assert runs[-1][2]["usage"].items() >= {"prompt_tokens": 100, "completion_tokens": 10, "step_count": 1}.items()


@each_provider
def test_a_failure_at_the_second_step_keeps_the_first_one_whole(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, server: ServerProcess, scripted_model: ScriptedModel
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    functions = [
        {"name": "memory_insert", "arguments": json.dumps({"label": block.label, "new_string": text})}
        for text in ("one", "two")
    ]
    calls = [{"id": f"call_{place}", "type": "function", "function": each} for place, each in enumerate(functions)]
    scripted_model.reply_next({"content": None, "tool_calls": calls})
    scripted_model.fail_next(400)
    with pytest.raises(APIStatusError) as failed:
        say(client, agent, "hello")
    assert failed.value.status_code == 502
    assert [m.message_type for m in kept(client, agent)] == [
        *("system_message", "user_message"),
        *["tool_call_message"] * 2,
        *["tool_return_message"] * 2,
    ]
    assert client.blocks.retrieve(block.id).value == "one\ntwo"
    ((status, reason, details),) = asyncio.run(runs_of(server, agent))
    assert (status, reason, details["error"]["type"]) == ("failed", "llm_api_error", "ProviderRejected")
    assert say(client, agent, "ECHO and on").messages[0].content == "and on"
    assert [m["role"] for m in scripted_model.conversations[-1]][1:6] == [
        *("user", "assistant", "tool", "tool"),
        "user",
    ]


def test_steps_are_stored_with_their_runs_and_the_versions_they_saw(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, server: ServerProcess
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    response = say(client, agent, insertion(block, "one"))
    run_id = response.messages[0].run_id
    steps = asyncio.run(
        rows(
            server,
            f"SELECT id, stop_reason, prompt_tokens, completion_tokens FROM steps WHERE run_id = '{run_id}'"
            " ORDER BY created_at",
        )
    )
    first, last = response.messages[0].step_id, response.messages[-1].step_id
    assert steps == [(first, None, 100, 10), (last, "end_turn", 100, 10)]
    readers = asyncio.run(
        rows(server, f"SELECT step_id, version FROM block_readers WHERE run_id = '{run_id}' ORDER BY version")
    )
    assert readers == [(first, 1), (last, 2)]


@each_provider
async def test_an_agent_deleted_in_its_turn_is_404_and_its_run_ends(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, server: ServerProcess, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    with scripted_model.hold() as held:
        turn = asyncio.create_task(async_client.agents.messages.create(agent.id, input="hello"))
        await asyncio.to_thread(held.wait_for, 1)
        client.agents.delete(agent.id)
        held.release()
        with pytest.raises(NotFoundError, match=agent.id):
            await turn
    runs = await runs_of(server, agent)
    assert all(status == "failed" for status, _, _ in runs), runs


async def test_a_turn_whose_model_is_silent_ends_when_its_agent_is_deleted(
    client: Letta, async_client: AsyncLetta, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    """Nobody waits for the model, a stop of the server neither."""
    agent = new_agent()
    with scripted_model.hold() as held:
        turn = asyncio.create_task(async_client.agents.messages.create(agent.id, input="hello"))
        await asyncio.to_thread(held.wait_for, 1)
        client.agents.delete(agent.id)
        with pytest.raises(NotFoundError, match=agent.id):
            await turn
        await asyncio.to_thread(scripted_model.wait_for_disconnects, 1)


async def test_a_server_starts_again_after_an_agent_was_deleted_in_its_turn(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    """The run is left behind without its conversation, and the next start has to settle it."""
    server = start_server()
    async with official_async_client(server.url) as client:
        agent = await client.agents.create(model=MODEL)
        with scripted_model.hold() as held:
            turn = asyncio.create_task(client.agents.messages.create(agent.id, input="hello"))
            await asyncio.to_thread(held.wait_for, 1)
            await client.agents.delete(agent.id)
            await asyncio.to_thread(server.kill)
            with pytest.raises(Exception, match=r"Connection|disconnected"):
                await turn
    await age_runs(server)
    await asyncio.to_thread(server.start)
    async with official_async_client(server.url) as client:
        agent = await client.agents.create(model=MODEL)
        assert (await client.agents.messages.create(agent.id, input="ECHO hi")).messages[0].content == "hi"


@each_provider
async def test_a_run_of_a_killed_server_is_failed_at_the_next_start_and_the_agent_goes_on(
    start_server: StartServer, scripted_model: ScriptedModel, model: str
) -> None:
    server = start_server()
    async with official_async_client(server.url) as client:
        agent = await client.agents.create(model=model)
        with scripted_model.hold() as held:
            turn = asyncio.create_task(client.agents.messages.create(agent.id, input="lost"))
            await asyncio.to_thread(held.wait_for, 1)
            await asyncio.to_thread(server.kill)
            with pytest.raises(Exception, match=r"Connection|disconnected"):
                await turn
    await age_runs(server)
    await asyncio.to_thread(server.start)
    async with official_async_client(server.url) as client:
        assert (await client.agents.messages.create(agent.id, input="ECHO hi")).messages[0].content == "hi"
        texts = [m.content async for m in client.agents.messages.list(agent.id, order="asc")]  # type: ignore[union-attr]
    assert texts[1:] == ["ECHO hi", "hi"]
    (dead, (status, reason, _)) = await runs_of(server, agent)
    assert (dead[0], dead[1], dead[2]["error"]["type"]) == ("failed", "error", "process_died")
    assert (status, reason) == ("completed", "end_turn")


async def age_runs(server: ServerProcess) -> None:
    """Let the leases of runs be over, as after some seconds of waiting."""
    url = server.database
    statement = "UPDATE runs SET lease_expires_at = 1 WHERE status = 'running'"
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
            database.execute(statement)
        return
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_one_agent_takes_one_turn_at_a_time_among_several_processes(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    servers = [start_server(), start_server()]
    clients = [official_async_client(server.url) for server in servers]
    agent, other = await clients[0].agents.create(model=MODEL), await clients[0].agents.create(model=MODEL)
    with scripted_model.hold(matching="reply") as held:
        asking = [
            asyncio.create_task(clients[number % 2].agents.messages.create(agent.id, input=f"ECHO reply {number}"))
            for number in range(6)
        ]
        await asyncio.to_thread(held.wait_for, 1)
        for client in clients:
            for _ in range(3):
                await client.agents.messages.create(other.id, input="ECHO meanwhile")
        for number in range(1, len(asking) + 1):
            await asyncio.to_thread(held.wait_for, number)
            assert held.arrived == number
            held.release(1)
        await asyncio.gather(*asking)
    requests = [request for request in scripted_model.requests if "reply" in str(request["messages"])]
    counts = [sum(m["role"] == "assistant" for m in request["messages"]) for request in requests]
    assert counts == list(range(6))
    for client in clients:
        await client.close()
