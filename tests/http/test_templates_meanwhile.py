"""Agents of a template that are led to a version behind the answer, while others change what they have."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from chaos.moot import rows
from support.clients import plain_client
from support.fixtures import MODEL, StartServer
from support.polling import PATIENCE, until
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

pytestmark = pytest.mark.parametrize("store", ["postgres"], indirect=True)

HELD_UP = "SELECT 1 FROM pg_stat_activity WHERE {pid} = ANY(pg_blocking_pids(pid))"
WAITS = "SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'"


def ok(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


class Shop:
    """A template of two agents, with a second version that has a block more, and what was made of the first."""

    def __init__(self, http: httpx.Client, database: str, deployments: int = 2) -> None:
        self.http, self._database = http, database
        single = ok(http.post("/v1/agents", json={"model": MODEL}))
        self.folder_id = ok(http.post("/v1/folders", json={"name": "papers"}))["id"]
        ok(http.post("/v1/templates", json={"type": "agent", "agent_id": single["id"], "name": "shop"}))
        self._plan()
        self.save()
        self.made = [ok(http.post("/v1/templates/shop:2/agents", json={})) for _ in range(deployments)]

    def _plan(self, **fields: Any) -> None:
        agents = [{"entityId": each, "name": each, "model": MODEL, "systemPrompt": "s"} for each in ("boss", "clerk")]
        agents[0].update(fields)
        blocks = [{"entityId": "b", "label": "goals", "value": "v"}] if fields else []
        relationships = [{"agentEntityId": "boss", "blockEntityId": "b"}] if fields else []
        plan = {"agents": agents, "blocks": blocks, "relationships": relationships}
        ok(self.http.put("/v1/templates/p/shop:current/snapshot", json=plan))

    def save(self, **fields: Any) -> None:
        """Save the current version, and have the agents led to it if `fields` are planned for the first of them."""
        if fields:
            self._plan(**fields)
        ok(self.http.post("/v1/templates/shop/save", json={"migrate_agents": bool(fields)}))

    def deployments(self) -> list[Any]:
        """Return what is said of what was made, the oldest first, once nobody leads it any more."""
        until(lambda: ok(self.http.get("/v1/jobs/active")) == [])
        return list(reversed(ok(self.http.get("/v1/templates/p/shop/deployments"))))

    async def wait_until(self, state: str, connection: asyncpg.Connection) -> None:
        """Return when a connection waits for a lock, or holds one up that another waits for."""
        while not await rows(self._database, state.format(pid=connection.get_server_pid())):
            await asyncio.sleep(0.01)


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server of the test's own, in which nobody gives up waiting for a lock, however busy the machine is."""
    return start_server(env={"FOLKMOOT_STORE_WAIT": str(PATIENCE)})


@pytest.fixture
def shop(server: ServerProcess) -> Iterator[Shop]:
    """What is led."""
    with plain_client(server.url) as http:
        yield Shop(http, server.database)


async def test_agents_are_led_though_another_of_their_deployment_is_deleted_just_then(
    shop: Shop, server: ServerProcess
) -> None:
    boss, clerk = shop.made[0]["agent_ids"]
    other = await asyncpg.connect(server.database)
    async with other.transaction():
        await other.fetch("SELECT id FROM agents WHERE id = $1 FOR UPDATE", boss)
        shop.save(systemPrompt="new")
        await shop.wait_until(HELD_UP, other)
        ok(shop.http.delete(f"/v1/agents/{clerk}"))
    await other.close()
    assert [(each["version"], each["error"]) for each in shop.deployments()] == [("3", None)] * 2
    assert ok(shop.http.get(f"/v1/agents/{boss}"))["system"] == "new"


async def test_who_names_an_agent_does_not_wait_until_it_is_led(shop: Shop, server: ServerProcess) -> None:
    boss, _ = shop.made[0]["agent_ids"]
    other = await asyncpg.connect(server.database)
    async with other.transaction():
        await other.fetch("SELECT id FROM folders WHERE id = $1 FOR UPDATE", shop.folder_id)
        shop.save(sourceIds=[shop.folder_id])
        await shop.wait_until(HELD_UP, other)
        # As whoever tells it something, or gives it something.
        await other.fetch("SELECT id FROM agents WHERE id = $1 FOR KEY SHARE NOWAIT", boss)
    await other.close()
    assert [each["version"] for each in shop.deployments()] == ["3", "3"]


async def test_agents_for_whom_something_was_changed_at_the_same_moment_are_led_again(
    shop: Shop, server: ServerProcess
) -> None:
    other = await asyncpg.connect(server.database)
    async with other.transaction():
        await other.execute("DELETE FROM folders WHERE id = $1", shop.folder_id)
        shop.save(sourceIds=[shop.folder_id])
        await shop.wait_until(HELD_UP, other)
    await other.close()
    found = shop.deployments()
    assert [each["version"] for each in found] == ["2", "2"]
    assert all(shop.folder_id in each["error"] for each in found), found


async def test_what_befell_one_deployment_is_not_said_of_another_one(shop: Shop, server: ServerProcess) -> None:
    """The first cannot be led, and somebody mends that before it is said of it."""
    boss, _ = shop.made[0]["agent_ids"]
    block = ok(shop.http.post("/v1/blocks", json={"label": "goals", "value": "its own"}))["id"]
    ok(shop.http.patch(f"/v1/agents/{boss}/core-memory/blocks/attach/{block}"))
    connections = [await asyncpg.connect(server.database) for _ in range(4)]
    # Who waits for a table has it next; the next to ask for a row can take it before who waits for it is awake.
    take_jobs = "LOCK TABLE jobs IN EXCLUSIVE MODE"

    async def begin() -> None:
        shop.save(systemPrompt="new")

    for holder, waiter in (connections[:2], connections[2:]):  # it is tried twice
        async with holder.transaction():
            await holder.fetch("SELECT id FROM agents WHERE id = $1 FOR UPDATE", boss)
            await begin()
            await shop.wait_until(HELD_UP, holder)
            holding = waiter.transaction()
            await holding.start()
            taking = asyncio.create_task(waiter.execute(take_jobs))
            await shop.wait_until(WAITS, waiter)
        await taking  # it has failed, and waits before it goes on
        begin = holding.commit
    ok(shop.http.patch(f"/v1/agents/{boss}/core-memory/blocks/detach/{block}"))
    path = f"/v1/templates/p/shop/deployments/{shop.made[0]['deployment_id']}/migrate"
    ok(shop.http.post(path, json={"version": "3"}))
    await holding.commit()
    for each in connections:
        await each.close()
    assert [(each["version"], each["error"]) for each in shop.deployments()] == [("3", None)] * 2


SHORT_TURNS = """
import runpy, sys
import folkmoot.jobs.worker
folkmoot.jobs.worker.TURN_SECONDS = 0.0
sys.argv = sys.argv[3:]
runpy.run_module("folkmoot", run_name="__main__")
"""


async def test_agents_of_one_organisation_do_not_wait_for_the_many_of_another(
    database_url: str, tmp_path: Path, scripted_model: ScriptedModel
) -> None:
    through, env = [sys.executable, "-c", SHORT_TURNS], {"FOLKMOOT_API_KEY": "admin"}
    url = scripted_model.base_url
    with (
        ServerProcess(database=database_url, home=tmp_path / "own", model_url=url, env=env, through=through) as server,
        plain_client(server.url, headers={"authorization": "Bearer admin"}) as http,
    ):
        ok(http.post("/v1/organizations", json={"name": "others"}))
        key = ok(http.post("/v1/keys", json={"name": "other", "role": "admin", "organization": "others"}))["key"]
        with plain_client(server.url, headers={"authorization": f"Bearer {key}"}) as theirs:
            many, single = Shop(http, database_url, 8), Shop(theirs, database_url, 1)
            other = await asyncpg.connect(database_url)
            async with other.transaction():
                await other.fetch("SELECT id FROM agents WHERE id = $1 FOR UPDATE", many.made[0]["agent_ids"][0])
                many.save(systemPrompt="new")
                await many.wait_until(HELD_UP, other)
                single.save(systemPrompt="new")
            await other.close()
            assert [each["version"] for each in many.deployments() + single.deployments()] == ["3"] * 9
            ended = [ok(each.get("/v1/jobs"))[0]["completed_at"] for each in (theirs, http)]
            assert ended == sorted(ended)
