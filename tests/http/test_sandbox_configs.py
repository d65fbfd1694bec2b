"""What holds for every call of an organisation's own tools."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest
from assertions import assert_error

from chaos.moot import ok, rows
from support.clients import plain_async_client, plain_client
from support.fixtures import StartServer, one_store
from support.server import ServerProcess

UNKNOWN = "00000000-0000-4000-8000-000000000000"
ROOT = "/v1/sandbox-config"
ENVIRONMENT = "environment-variable"


def test_there_is_one_set_of_settings_however_it_is_made(start_server: StartServer) -> None:
    """On a server of its own, since other tests' code would wait for the package."""
    with plain_client(start_server().url) as http:
        made = http.post(f"{ROOT}/local/default").json()
        assert (made["type"], made["id"].startswith("sandbox-")) == ("local", True)
        hosts = ["api.example.org", "*.example.com"]
        for path, body in (("", {"config": {"allowed_hosts": hosts}}), ("/local", {"allowed_hosts": hosts})):
            again = http.post(ROOT + path, json=body).json()
            assert (again["id"], again["config"]["allowed_hosts"]) == (made["id"], hosts)
        assert http.post(f"{ROOT}/local/recreate-venv").json()["id"] == made["id"]
        for query in ({}, {"sandbox_type": "local", "limit": 1}):
            assert [settings["id"] for settings in http.get(ROOT, params=query).json()] == [made["id"]]
        changed = http.patch(f"{ROOT}/{made['id']}", json={"config": {"pip_requirements": [{"name": "cowsay"}]}}).json()
        assert [each["name"] for each in changed["config"]["pip_requirements"]] == ["cowsay"]
        assert changed["config"]["allowed_hosts"] == []


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_there_is_one_set_also_when_several_make_it_at_the_same_moment(start_server: StartServer) -> None:
    server = start_server()
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    connection = await asyncpg.connect(server.database)
    try:
        async with plain_async_client(server.url) as http:
            async with connection.transaction():
                await connection.execute("LOCK TABLE sandbox_configs IN SHARE MODE")  # both look, and find none
                hosts = {"allowed_hosts": ["api.example.org"]}
                makers = [
                    asyncio.create_task(http.post(f"{ROOT}/{path}", json=body))
                    for path, body in (("local/default", {}), ("local", hosts))
                ]
                while len(await rows(server.database, waiting)) < 2:
                    await asyncio.sleep(0.02)
            made = {ok(await each)["id"] for each in makers}
            (settings,) = ok(await http.get(ROOT))
            assert ({settings["id"]}, settings["config"]["allowed_hosts"]) == (made, ["api.example.org"])
    finally:
        await connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")
def test_every_call_has_the_variables(http: httpx.Client) -> None:
    settings = http.post(f"{ROOT}/local/default").json()["id"]
    key = f"GLOBAL_{uuid4().hex[:8]}"
    variables = f"{ROOT}/{settings}/{ENVIRONMENT}"
    made = http.post(variables, json={"key": key, "value": "g1", "description": "global"}).json()
    again = http.post(variables, json={"key": key, "value": "g1b"}).json()
    assert (again["id"], again["value"], again["description"]) == (made["id"], "g1b", "global")
    assert made["id"].startswith("sandbox-env-")
    assert (again["value_enc"], again["sandbox_config_id"]) == (None, settings)
    assert key in {variable["key"] for variable in http.get(variables).json()}
    assert http.patch(f"{ROOT}/{ENVIRONMENT}/{made['id']}", json={"value": "g2"}).json()["value"] == "g2"
    run = {"source_code": f"def f():\n    import os\n    return os.environ.get({key!r})\n", "args": {}}
    assert http.post("/v1/tools/run", json=run).json()["tool_return"] == "g2"
    assert http.post("/v1/tools/run", json={**run, "env_vars": {key: "own"}}).json()["tool_return"] == "own"
    assert http.delete(f"{ROOT}/{ENVIRONMENT}/{made['id']}").status_code == 204
    assert http.post("/v1/tools/run", json=run).json()["tool_return"] == "None"
    assert_error(http.delete(f"{ROOT}/{ENVIRONMENT}/{made['id']}"), 404, made["id"])
    kept = http.post(variables, json={"key": key, "value": "x"}).json()
    assert http.delete(f"{ROOT}/{settings}").status_code == 204
    assert http.get(ROOT).json() == []
    assert_error(http.patch(f"{ROOT}/{ENVIRONMENT}/{kept['id']}", json={"value": "y"}), 404, kept["id"])


@one_store
def test_what_does_not_apply_is_refused_by_name(http: httpx.Client) -> None:
    for kind in ("e2b", "modal"):
        assert_error(http.post(f"{ROOT}/{kind}/default"), 400, "sandbox_type", kind, "local")
    assert_error(http.get(ROOT, params={"sandbox_type": "e2b"}), 400, "e2b")
    assert_error(http.post(ROOT, json={"config": {"template": "t"}}), 400, "E2B")
    assert_error(http.post(ROOT, json={"config": {"allowed_hosts": ["http://x"]}}), 422, "allowed_hosts", "http://x")
    assert_error(http.delete(f"{ROOT}/sandbox-{UNKNOWN}"), 404, UNKNOWN)
    assert_error(http.delete(f"{ROOT}/nonsense"), 422, "nonsense")
    settings = http.post(f"{ROOT}/local/default").json()["id"]
    bad = {"key": "A=B", "value": "x"}
    assert_error(http.post(f"{ROOT}/{settings}/{ENVIRONMENT}", json=bad), 422, "key")


@one_store
def test_a_value_is_not_in_the_database_in_clear(http: httpx.Client, server: ServerProcess) -> None:
    settings = http.post(f"{ROOT}/local/default").json()["id"]
    value = f"secret{uuid4().hex}"
    http.post(f"{ROOT}/{settings}/{ENVIRONMENT}", json={"key": "HIDDEN", "value": value}).raise_for_status()
    database = server.database.removeprefix("sqlite:///")
    files = [Path(database + ending) for ending in ("", "-wal")]
    assert all(value.encode() not in file.read_bytes() for file in files if file.exists())
