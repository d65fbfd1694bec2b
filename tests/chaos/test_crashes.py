"""Servers and databases that die at any moment: what was acknowledged is there, what was cut is whole or marked."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random

import httpx
import pytest

from chaos.conftest import Connect
from chaos.load import Load
from chaos.moot import assert_whole_turns, end_leases, insertion, make_agent, make_block, post, read, rows, say
from support.fixtures import StartServer
from support.postgres import PostgresServer
from support.scripted_model import ScriptedModel
from support.server import ServerFailed, ServerProcess


async def kill_under_load(server: ServerProcess, http: httpx.AsyncClient, database: str, random: Random) -> Load:
    """Let agents write, kill the server at a random moment, start it again, and check what it finds."""
    load = await Load.prepare(http, agents=8)
    writing = asyncio.create_task(load.run(http))
    await load.reaches(random.randrange(1, 40))
    await asyncio.sleep(random.uniform(0, 0.02))  # any moment of a step, not only just after an acknowledgement
    server.kill()
    await writing
    await asyncio.to_thread(server.start)
    await load.check(http, database)
    assert load.statuses == {200}
    return load


async def rounds_of_kills(server: ServerProcess, http: httpx.AsyncClient, database: str, rounds: int) -> None:
    """Kill and check again and again over one database; then every agent that was cut answers."""
    random = Random(rounds)
    loads = [await kill_under_load(server, http, database, random) for _ in range(rounds)]
    if database.startswith("postgres"):
        await end_leases(database)
    for load in loads:
        answers = [post(http, agent, insertion(load.noted, f"after {agent['id']}")) for agent in load.agents]
        assert {answer.status_code for answer in await asyncio.gather(*answers)} == {200}
        for agent in load.agents:
            load.tried.add(f"after {agent['id']}")
        await load.check(http, database)
    assert await rows(database, "SELECT id FROM runs WHERE status NOT IN ('completed', 'failed')") == []


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    server = start_server()
    await rounds_of_kills(server, connect(server.url), database_url, 2)


@pytest.mark.chaos
async def test_nothing_acknowledged_is_lost_in_thirty_kills_of_the_server(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    server = start_server()
    await rounds_of_kills(server, connect(server.url), database_url, 30)


@pytest.mark.chaos
@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_one_of_three_processes_is_killed_and_the_others_go_on(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    servers = [start_server() for _ in range(3)]
    https = [connect(server.url) for server in servers]
    random = Random(3)
    for round_number in range(10):
        loads = [await Load.prepare(https[0], agents=4) for _ in servers]
        writing = [asyncio.create_task(load.run(http)) for load, http in zip(loads, https, strict=True)]
        victim = round_number % 3
        await loads[victim].reaches(random.randrange(1, 20))
        servers[victim].kill()
        reached = [len(load.acknowledged) for load in loads]
        others = [load for number, load in enumerate(loads) if number != victim]
        for number, load in enumerate(loads):
            if number != victim:
                await load.reaches(reached[number] + 10)
        for load in others:
            load.stopped = True
        await asyncio.gather(*writing)
        for load in loads:
            await load.check(https[(victim + 1) % 3], database_url)
        await asyncio.to_thread(servers[victim].start)


async def kill_database_under_load(postgres: PostgresServer, http: httpx.AsyncClient, url: str, random: Random) -> None:
    """Kill PostgreSQL at a random moment; the server finds it again by itself."""
    load = await Load.prepare(http, agents=8)
    writing = asyncio.create_task(load.run(http))
    await load.reaches(random.randrange(1, 30))
    await asyncio.sleep(random.uniform(0, 0.02))
    postgres.kill()
    down = len(load.acknowledged)
    await asyncio.to_thread(postgres.start)
    await end_leases(url)  # of the turns that were cut
    await load.reaches(down + 20)
    load.stopped = True
    await writing
    await load.check(http, url)


async def kills_of_the_database(
    postgres: PostgresServer, start_server: StartServer, connect: Connect, rounds: int
) -> None:
    url = postgres.create_database()
    server = start_server(database=url)
    http = connect(server.url)
    random = Random(rounds)
    for _ in range(rounds):
        await kill_database_under_load(postgres, http, url, random)
    server.stop()


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)  # the address of this database is not used
async def test_nothing_acknowledged_is_lost_when_postgresql_is_killed(
    durable_postgres: PostgresServer, start_server: StartServer, connect: Connect
) -> None:
    await kills_of_the_database(durable_postgres, start_server, connect, 1)


@pytest.mark.chaos
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)  # the address of this database is not used
async def test_nothing_acknowledged_is_lost_in_ten_kills_of_postgresql(
    durable_postgres: PostgresServer, start_server: StartServer, connect: Connect
) -> None:
    await kills_of_the_database(durable_postgres, start_server, connect, 10)


async def test_a_turn_that_was_cut_leaves_whole_steps_and_a_failed_run(
    start_server: StartServer, connect: Connect, database_url: str, store: str, scripted_model: ScriptedModel
) -> None:
    """The first step is stored; the server dies while the model thinks about the second."""
    server = start_server()
    http = connect(server.url)
    block = await make_block(http)
    agent = await make_agent(http, block)
    with scripted_model.hold(matching="first") as held:
        script = f"{insertion(block, 'first')}\n{insertion(block, 'second')}"
        turn = asyncio.create_task(post(http, agent, script))
        await asyncio.to_thread(held.wait_for, 1)
        held.release(1)
        await asyncio.to_thread(held.wait_for, 2)
        server.kill()
        with pytest.raises(httpx.TransportError):
            await turn
    await asyncio.to_thread(server.start)
    if store == "postgres":
        await end_leases(database_url)
    assert (await read(http, block))["value"] == "first"
    messages = await assert_whole_turns(http, agent)
    types = [message["message_type"] for message in messages]
    assert types == ["system_message", "user_message", "tool_call_message", "tool_return_message"]
    turn_after = await say(http, agent, insertion(block, "after"))
    assert turn_after["stop_reason"]["stop_reason"] == "end_turn"
    assert (await read(http, block))["value"] == "first\nafter"
    found = await rows(database_url, "SELECT status, stop_reason, details FROM runs ORDER BY created_at")
    assert [row[:2] for row in found] == [("failed", "error"), ("completed", "end_turn")]
    assert "process_died" in found[0][2]
    await assert_whole_turns(http, agent)


@pytest.mark.chaos
async def test_a_server_killed_while_it_starts_starts_on_what_it_finds(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    """Killed at random moments of its start on an empty database, which it migrates first."""
    random = Random(7)
    server = start_server()  # its folder and port are used again on the database as it becomes
    server.kill()
    for table in ("blocks", "agents"):
        assert await rows(database_url, f"SELECT id FROM {table}") == []
    for _ in range(8):
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        await asyncio.sleep(random.uniform(0.05, 2.0))
        server.kill()
        with suppress(ServerFailed):
            await starting
    await asyncio.to_thread(server.start)
    http = connect(server.url)
    block = await make_block(http, "well")
    assert (await read(http, block))["value"] == "well"


@pytest.mark.chaos
@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_dead_processs_turn_is_freed_by_its_lease_alone(
    start_server: StartServer, connect: Connect, database_url: str, scripted_model: ScriptedModel
) -> None:
    """Fifteen seconds in which nobody touches the database by hand."""
    dying, living = start_server(), start_server()
    http, other = connect(dying.url), connect(living.url)
    block = await make_block(http)
    agent = await make_agent(http, block)
    with scripted_model.hold(matching="cut") as held:
        turn = asyncio.create_task(post(http, agent, insertion(block, "cut")))
        await asyncio.to_thread(held.wait_for, 1)
        dying.kill()
        with pytest.raises(httpx.TransportError):
            await turn
    await say(other, agent, insertion(block, "after"))
    assert (await read(other, block))["value"] == "after"
    statuses = await rows(database_url, "SELECT status FROM runs ORDER BY created_at")
    assert statuses == [("failed",), ("completed",)]
