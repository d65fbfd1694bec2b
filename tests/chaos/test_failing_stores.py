"""A full disk, a database that cannot be written, a PostgreSQL that goes away: clear refusals, and then it goes on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from chaos.conftest import Connect, Mount
from chaos.moot import (
    assert_one_order,
    assert_whole_turns,
    end_leases,
    insertion,
    make_agent,
    make_block,
    ok,
    post,
    read,
    rows,
    say,
    write,
)
from support.fixtures import StartServer
from support.postgres import PostgresServer
from support.scripted_model import ScriptedModel
from support.server import ServerFailed

sqlite_only = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

BIG = 40_000


def refused(answer: httpx.Response, *words: str) -> str:
    """Check that `answer` says that the store cannot do it just now, in words, and return them."""
    assert answer.status_code == 503, f"{answer.status_code} {answer.text}"
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    for word in words:
        assert word in detail
    assert "retry-after" in answer.headers
    return detail


# -- a full disk ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(mount: Mount, tmp_path: Path) -> Path:
    """A file system of four megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=4m", "none", at=disk)
    return disk


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        for size in (65536, 4096, 1):
            try:
                while ballast.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


def relieve(disk: Path) -> None:
    """Make room again."""
    (disk / "ballast").unlink()


@sqlite_only
async def test_a_full_disk_refuses_edits_loses_none_and_recovers_by_itself(
    start_server: StartServer, connect: Connect, small_disk: Path
) -> None:
    server = start_server(database=f"sqlite:///{small_disk / 'folkmoot.sqlite3'}")
    http = connect(server.url)
    block = await make_block(http, "start")
    agent = await make_agent(http, block)
    await say(http, agent, insertion(block, "before"))
    fill(small_disk)
    acknowledged = "start\nbefore"
    refusals = 0
    for number in range(40):  # what the write-ahead log has already reserved may still be used
        text = f"{number} " + "x" * BIG
        answer = await write(http, block, text)
        if answer.status_code == 200:
            acknowledged = text
        else:
            refused(answer, "database", "full")
            refusals += 1
        assert (await read(http, block))["value"] == acknowledged
    assert refusals
    refused(await post(http, agent, "CALL memory_insert {}" + "y" * BIG), "database")
    relieve(small_disk)
    await end_leases(f"sqlite:///{small_disk / 'folkmoot.sqlite3'}")
    assert ok(await write(http, block, "room again"))["value"] == "room again"
    await say(http, agent, insertion(block, "after"))
    assert (await read(http, block))["value"] == "room again\nafter"
    await assert_whole_turns(http, agent)
    versions = ok(await http.get(f"/v1/blocks/{block['id']}/history", params={"order": "asc", "limit": 1000}))
    assert [version["version"] for version in versions] == list(range(1, len(versions) + 1))
    server.restart()
    assert (await read(http, block))["value"] == "room again\nafter"


@sqlite_only
async def test_a_step_that_finds_the_disk_full_leaves_nothing_behind(
    start_server: StartServer, connect: Connect, small_disk: Path, scripted_model: ScriptedModel
) -> None:
    database = f"sqlite:///{small_disk / 'folkmoot.sqlite3'}"
    server = start_server(database=database)
    http = connect(server.url)
    block = await make_block(http, "kept")
    agent = await make_agent(http, block)
    with scripted_model.hold(matching="memory_insert") as held:
        turn = asyncio.create_task(post(http, agent, insertion(block, "x" * BIG)))
        await asyncio.to_thread(held.wait_for, 1)
        fill(small_disk)
        # Use up what the log had reserved before the disk was full.
        while (await write(http, block, (await read(http, block))["value"][:4] + "x" * BIG)).status_code == 200:
            pass
        before = await read(http, block)
        held.release()
        refused(await turn, "database")
    assert await read(http, block) == before
    assert [m["message_type"] for m in await assert_whole_turns(http, agent)] == ["system_message"]
    relieve(small_disk)
    await end_leases(database)
    await say(http, agent, insertion(block, "after"))
    assert (await read(http, block))["version"] == before["version"] + 1
    assert len(await assert_whole_turns(http, agent)) == 5


# -- a database that cannot be written -----------------------------------------------------------------------


@sqlite_only
async def test_a_database_file_that_is_read_only_is_named_and_left_as_it_is(
    start_server: StartServer, connect: Connect, mount: Mount, tmp_path: Path
) -> None:
    path = tmp_path / "own" / "folkmoot.sqlite3"
    server = start_server(database=f"sqlite:///{path}")
    http = connect(server.url)
    block = await make_block(http, "kept")
    agent = await make_agent(http, block)
    server.stop()
    mount("--bind", path, at=path)
    mount("-o", "remount,ro,bind", path, at=path)
    with pytest.raises(ServerFailed, match="cannot be read and written"):
        await asyncio.to_thread(server.start)
    mount("-o", "remount,rw,bind", path, at=path)
    await asyncio.to_thread(server.start)
    await say(http, agent, insertion(block, "after"))
    assert (await read(http, block))["value"] == "kept\nafter"


# -- a PostgreSQL that goes away -----------------------------------------------------------------------------


@sqlite_only  # the address of this database is not used
@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_a_postgresql_that_goes_away_and_comes_back(
    start_server: StartServer,
    connect: Connect,
    durable_postgres: PostgresServer,
    scripted_model: ScriptedModel,
    way: str,
) -> None:
    url = durable_postgres.create_database()
    server = start_server(database=url)
    http = connect(server.url)
    block = await make_block(http, "kept")
    agent, cut = await make_agent(http, block), await make_agent(http, block)
    with scripted_model.hold(matching="cut") as held:
        turn = asyncio.create_task(post(http, cut, insertion(block, "cut")))
        await asyncio.to_thread(held.wait_for, 1)
        getattr(durable_postgres, way)()
        held.release()
        refused(await turn, "PostgreSQL")
    for answer in await asyncio.gather(
        http.get(f"/v1/blocks/{block['id']}"),
        http.get(f"/v1/blocks/{block['id']}/history"),
        http.get("/v1/ready"),
        write(http, block, "lost"),
        post(http, agent, insertion(block, "lost")),
        http.delete(f"/v1/blocks/{block['id']}"),
        http.get(f"/v1/blocks/{block['id']}/watch"),
    ):
        refused(answer, "PostgreSQL")
    assert (await http.get("/v1/health")).status_code == 200
    await asyncio.to_thread(durable_postgres.start)
    assert (await http.get("/v1/ready")).status_code == 200, "the first request after its return"
    await end_leases(url)
    assert (await read(http, block))["value"] == "kept"
    for one in (agent, cut):
        await say(http, one, insertion(block, "after"))
        await assert_whole_turns(http, one)
    assert [v["edit"]["kind"] for v in await assert_one_order(http, block)] == ["create", "insert", "insert"]
    assert (await read(http, block))["value"] == "kept\nafter\nafter"
    server.stop()


@pytest.mark.chaos
@sqlite_only  # the address of this database is not used
async def test_turns_outlive_a_postgresql_that_is_away_for_longer_than_a_lease(
    start_server: StartServer, connect: Connect, durable_postgres: PostgresServer, scripted_model: ScriptedModel
) -> None:
    url = durable_postgres.create_database()
    https = [connect(start_server(database=url).url) for _ in range(2)]
    agents = [await make_agent(http) for http in https]
    with scripted_model.hold(matching="through") as held:
        turns = [asyncio.create_task(say(*each, "ECHO through")) for each in zip(https, agents, strict=True)]
        await asyncio.to_thread(held.wait_for, 2)
        await asyncio.to_thread(durable_postgres.stop)
        await asyncio.sleep(17)
        await asyncio.to_thread(durable_postgres.start)
        # Whoever waits for a turn looks for the dead, and all have a lease that has ended.
        waiting = asyncio.create_task(post(https[1], agents[0], "ECHO next"))
        while await rows(url, f"SELECT 1 FROM runs WHERE lease_expires_at < {time.time_ns() // 1000}"):
            await asyncio.sleep(0.2)
        held.release()
        for turn in await asyncio.gather(*turns):
            assert turn["messages"][-1]["content"] == "through"
        assert (await waiting).status_code == 200
