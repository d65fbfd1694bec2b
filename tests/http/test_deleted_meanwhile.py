"""What is deleted while a job works on it leaves nothing behind, at whichever stage the job is."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from starlette.types import Message, Scope
from uploading import follow

from chaos.moot import ok, rows
from folkmoot.application import create_app
from folkmoot.archives.archives import EMBED
from folkmoot.memory import history, watch
from folkmoot.settings import Settings
from folkmoot.store.engine import Transaction
from folkmoot.tools.registry import StoredTools
from folkmoot.tools.tool import Tool
from support.clients import plain_async_client, plain_client
from support.fixtures import MODEL, StartServer, one_store
from support.polling import PATIENCE, until
from support.scripted_model import ScriptedModel

EMBEDDING = "openai/text-embedding-3-small"
LONG = "".join(f"line {number} of a text that takes some time to read\n" for number in range(8_000)).encode()
PAGE = b"<!DOCTYPE html><html><body><p>The kettle is red.</p></body></html>"
LEFT = ("file_pieces", "file_chunks", "file_vectors", "passage_vectors", "passages")
"""Tables that a deletion empties here."""


def job(http: httpx.Client, subject_id: str, kind: str) -> dict[str, Any]:
    """Return a thing's job of a kind that is not over; with no status when there is none."""
    found = http.get("/v1/jobs/active", params={"limit": 100}).raise_for_status().json()
    mine = (each for each in found if (each["subject_id"], each["kind"]) == (subject_id, kind))
    return next(mine, {"status": None, "progress": {}})


STAGES: dict[str, tuple[bytes, Callable[[httpx.Client, str], bool]]] = {
    "before anything": (LONG, lambda http, file_id: True),
    "while it is opened": (PAGE, lambda http, file_id: job(http, file_id, "file")["status"] == "running"),
    "while it is read": (LONG, lambda http, file_id: bool(job(http, file_id, "file")["progress"].get("items_done"))),
    "while it is embedded": (PAGE, lambda http, file_id: job(http, file_id, "file_embedding")["status"] == "running"),
}


def until_nothing_is_left(http: httpx.Client, database: str) -> None:
    """Return when no job is left, and no row of what was deleted."""
    follow(http, "/v1/jobs/active", lambda found: found == [])
    with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as opened:

        def is_empty() -> bool:
            return not any(opened.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in LEFT)

        until(is_empty)


@one_store
@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
def test_a_file_or_folder_that_is_deleted_at_any_stage_leaves_nothing(
    start_server: StartServer, scripted_model: ScriptedModel, whole: bool
) -> None:
    server = start_server()
    scripted_model.embeddings.is_silent = True
    with plain_client(server.url) as http:
        for stage, (data, is_there) in STAGES.items():
            folder = http.post("/v1/folders", json={"name": stage, "embedding": EMBEDDING}).json()
            address = f"/v1/folders/{folder['id']}"
            file = http.post(f"{address}/upload", files={"file": ("a", data)}).json()
            while not is_there(http, file["id"]):
                pass
            deleted = http.delete(address if whole else f"{address}/{file['id']}")
            assert deleted.status_code in (200, 204), deleted.text
            until_nothing_is_left(http, server.database)


@one_store
def test_an_archive_that_is_deleted_while_it_is_embedded_leaves_nothing(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server()
    scripted_model.embeddings.is_silent = True
    with plain_client(server.url) as http:
        archive = http.post("/v1/archives", json={"name": "a", "embedding": EMBEDDING}).json()
        address = f"/v1/archives/{archive['id']}"
        http.post(f"{address}/passages", json={"text": "a heron"}).raise_for_status()
        until(lambda: job(http, archive["id"], EMBED)["status"] == "running")
        http.delete(address).raise_for_status()
        until_nothing_is_left(http, server.database)


@one_store
def test_an_upload_that_is_replaced_before_it_was_read_leaves_nothing(start_server: StartServer) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        address = f"/v1/folders/{http.post('/v1/folders', json={'name': 'a'}).json()['id']}"
        for data in (LONG, LONG + b"and more", LONG + b"and even more"):
            replacing = {"duplicate_handling": "replace"}
            file = http.post(f"{address}/upload", files={"file": ("a", data)}, params=replacing).json()
        found = follow(http, f"{address}/files/{file['id']}", lambda now: now["processing_status"] == "completed")
        assert found["file_size"] == len(LONG) + len("and even more")
        http.delete(f"{address}/{file['id']}").raise_for_status()
        until_nothing_is_left(http, server.database)


def test_a_block_that_is_deleted_while_a_model_reads_it_leaves_no_reading(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server()
    with plain_client(server.url) as http, scripted_model.hold() as held:
        block, kept = (http.post("/v1/blocks", json={"label": label, "value": "v"}).json()["id"] for label in "ab")
        agent = http.post("/v1/agents", json={"name": "a", "model": MODEL, "block_ids": [block, kept]}).json()["id"]
        begun = http.post(f"/v1/agents/{agent}/messages/async", json={"input": "hi"}).json()["id"]
        scripted_model.wait_for_requests(1)
        http.delete(f"/v1/blocks/{block}").raise_for_status()
        held.release()
        follow(http, f"/v1/runs/{begun}", lambda run: run["status"] == "completed")
    readings = asyncio.run(rows(server.database, "SELECT block_id FROM block_readers"))
    assert readings == [(kept,)]


COPY = """
INSERT INTO runs
SELECT (jsonb_populate_record(NULL::runs, to_jsonb(runs) || '{"id": "run-copy", "status": "created"}')).* FROM runs
"""
WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_run_that_is_stored_while_its_agent_is_deleted_goes_with_it(start_server: StartServer) -> None:
    """Another process has begun to store the run, and commits when the deletion is under way."""
    server = start_server()
    other = await asyncpg.connect(server.database)
    async with plain_async_client(server.url) as http:
        agent = (await http.post("/v1/agents", json={"name": "a", "model": MODEL})).json()["id"]
        (await http.post(f"/v1/agents/{agent}/messages", json={"input": "hi"})).raise_for_status()
        async with other.transaction():
            await other.fetch("SELECT id FROM agents WHERE id = $1 FOR KEY SHARE", agent)
            await other.execute(COPY)
            deleting = asyncio.create_task(http.delete(f"/v1/agents/{agent}"))
            while not await rows(server.database, WAITING):
                pass
        (await deleting).raise_for_status()
    await other.close()
    assert await rows(server.database, "SELECT id FROM runs") == []


@one_store
@pytest.mark.parametrize(
    "path", ["/v1/runs/{run}/stream", "/v1/responses/{response}?stream=true", "/v1/blocks/{block}/watch"]
)
async def test_a_stream_of_what_is_deleted_before_its_first_event_just_ends(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """Its head is out by then, so that no status can tell."""
    app = create_app(Settings(database=database_url, data=tmp_path), {})
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        block = ok(await http.post("/v1/blocks", json={"label": "b", "value": "v"}))["id"]
        agent = ok(await http.post("/v1/agents", json={"name": "a", "model": "offline/notetaker"}))["id"]
        ok(await http.post("/v1/responses", json={"model": agent, "input": "hi"}))
        (run,) = ok(await http.get("/v1/runs"))
        ids = {"run": run["id"], "block": block, "response": run["id"].replace("run-", "resp_")}
        deleted = f"/v1/blocks/{block}" if "block" in path else f"/v1/runs/{run['id']}"
        said: list[bytes] = []

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                assert message["status"] == 200
                (await http.delete(deleted)).raise_for_status()
            said.append(message.get("body", b""))

        url = httpx.URL(f"http://localhost{path.format(**ids)}")
        await app(scope_of(url), never, send)
    text = b"".join(said).decode()
    assert ("event: deleted" in text) == ("block" in path), text
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


def scope_of(url: httpx.URL) -> Scope:
    """Return a GET request as a server hands it to the application."""
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": url.path,
        "raw_path": url.raw_path.partition(b"?")[0],
        "query_string": url.query,
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
    }


async def never() -> Message:
    """Receive nothing: the reader stays."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_file_that_two_open_at_the_same_moment_is_open(start_server: StartServer) -> None:
    server = start_server()
    async with plain_async_client(server.url) as http:
        folder = ok(await http.post("/v1/folders", json={"name": "f"}))["id"]
        agent = ok(
            await http.post(
                "/v1/agents", json={"name": "a", "model": MODEL, "max_files_open": 1, "folder_ids": [folder]}
            )
        )["id"]
        for name in ("first", "second"):
            file = ok(await http.post(f"/v1/folders/{folder}/upload", files={"file": (name, b"text")}))["id"]
            while ok(await http.get(f"/v1/folders/{folder}/files/{file}"))["processing_status"] != "completed":
                await asyncio.sleep(0.02)
        await rows(server.database, "DELETE FROM agent_files")
        connection = await asyncpg.connect(server.database)
        try:
            async with connection.transaction():
                await connection.execute(
                    "INSERT INTO agent_files (organization_id, agent_id, file_id, is_open, accessed_at)"
                    " SELECT organization_id, $1, id, false, 1 FROM files WHERE id = $2",
                    agent,
                    file,
                )
                opening = asyncio.create_task(http.patch(f"/v1/agents/{agent}/files/{file}/open"))
                while not await rows(server.database, WAITING):
                    await asyncio.sleep(0.02)
        finally:
            await connection.close()
        answer = await opening
        assert answer.status_code == 200, answer.text
        opened = ok(await http.get(f"/v1/agents/{agent}/files", params={"is_open": True}))["files"]
    assert [each["file_id"] for each in opened] == [file]


TOOL = '''
def twice(word: str) -> str:
    """Say a word twice.

    Args:
        word: Which.
    """
    return word * 2
'''


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("way", ["attached", "made with", "set"])
async def test_a_tool_that_is_deleted_while_an_agent_gets_it_is_nobodys(start_server: StartServer, way: str) -> None:
    server = start_server()
    async with plain_async_client(server.url) as http:
        tool = ok(await http.post("/v1/tools", json={"source_code": TOOL}))["id"]
        agent = ok(await http.post("/v1/agents", json={"name": "a", "model": MODEL}))["id"]
        path = f"/v1/agents/{agent}"
        connection = await asyncpg.connect(server.database)
        try:
            async with connection.transaction():  # as another process deletes it
                await connection.execute("SELECT 1 FROM tools WHERE id = $1 FOR UPDATE", tool)
                await connection.execute("DELETE FROM tools WHERE id = $1", tool)
                getting = asyncio.create_task(
                    {
                        "attached": lambda: http.patch(f"{path}/tools/attach/{tool}"),
                        "made with": lambda: http.post(
                            "/v1/agents", json={"name": "b", "model": MODEL, "tool_ids": [tool]}
                        ),
                        "set": lambda: http.patch(path, json={"tool_ids": [tool]}),
                    }[way]()
                )
                while not (waits := await rows(server.database, WAITING)) and not getting.done():
                    await asyncio.sleep(0.02)
        finally:
            await connection.close()
        answer = await getting
        assert (answer.status_code, bool(waits)) == (404, True), answer.text
        assert len(ok(await http.get("/v1/agents"))) == 1


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("path", ["", "/tools", "/messages"])
async def test_a_tool_that_is_deleted_while_an_agents_tools_are_read_is_none_of_them(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    app = create_app(Settings(database=database_url, data=tmp_path), {})
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        tool = ok(await http.post("/v1/tools", json={"source_code": TOOL}))["id"]
        plan = {"name": "a", "model": "offline/notetaker", "tool_ids": [tool]}
        agent = ok(await http.post("/v1/agents", json=plan))["id"]
        by_ids = StoredTools.by_ids
        meanwhile = ["deleted"]

        async def late(self: StoredTools, transaction: Transaction, tool_ids: Sequence[str]) -> Mapping[str, Tool]:
            if tool in tool_ids and meanwhile:
                meanwhile.clear()
                (await http.delete(f"/v1/tools/{tool}")).raise_for_status()
            return await by_ids(self, transaction, tool_ids)

        monkeypatch.setattr(StoredTools, "by_ids", late)
        asked = {"method": "POST", "json": {"input": "hi"}} if path == "/messages" else {"method": "GET"}
        answer = await http.request(url=f"/v1/agents/{agent}{path}", **asked)
        assert (answer.status_code, meanwhile) == (200, []), answer.text
        assert tool not in answer.text


@asynccontextmanager
async def held_back(database: str, statement: str, *ids: str) -> AsyncIterator[None]:
    """Change rows as another process does, and commit as soon as somebody waits for that."""
    connection = await asyncpg.connect(database)
    try:
        async with connection.transaction():
            await connection.execute(statement, *ids)
            yield
            while not await rows(database, WAITING):
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_turn_whose_group_is_deleted_as_it_ends_ends_well(start_server: StartServer) -> None:
    server = start_server()
    async with plain_async_client(server.url) as http:
        agent, tender = [ok(await http.post("/v1/agents", json={"name": each, "model": MODEL}))["id"] for each in "ab"]
        manager = {"manager_type": "sleeptime", "manager_agent_id": agent}
        group = {"agent_ids": [tender], "description": "", "manager_config": manager}
        group_id = ok(await http.post("/v1/groups", json=group))["id"]
        async with held_back(server.database, "DELETE FROM groups WHERE id = $1", group_id):
            saying = asyncio.create_task(http.post(f"/v1/agents/{agent}/messages", json={"input": "ECHO well"}))
        assert ok(await saying)["messages"][-1]["content"] == "well"
        while ok(await http.get("/v1/jobs/active")):  # it finds that there is nothing to do
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_file_that_is_deleted_while_an_agent_opens_it_is_not_there(start_server: StartServer) -> None:
    server = start_server()
    async with plain_async_client(server.url) as http:
        folder = ok(await http.post("/v1/folders", json={"name": "f"}))["id"]
        file = ok(await http.post(f"/v1/folders/{folder}/upload", files={"file": ("a", b"text")}))["id"]
        while ok(await http.get(f"/v1/folders/{folder}/files/{file}"))["processing_status"] != "completed":
            await asyncio.sleep(0.02)
        agent = ok(await http.post("/v1/agents", json={"name": "a", "model": MODEL, "folder_ids": [folder]}))["id"]
        await rows(server.database, "DELETE FROM agent_files")
        opening = f"CALL open_files {json.dumps({'file_requests': [{'file_name': 'a'}]})}"
        async with held_back(server.database, "DELETE FROM files WHERE id = $1", file):
            saying = asyncio.create_task(http.post(f"/v1/agents/{agent}/messages", json={"input": opening}))
        returned = ok(await saying)["messages"][1]
        assert (returned["status"], "There is no file 'a'" in returned["tool_return"]) == ("error", True)


@one_store
async def test_the_bytes_of_an_upload_go_while_the_one_before_is_still_tidied_behind(start_server: StartServer) -> None:
    server = start_server()
    async with plain_async_client(server.url) as http:
        folder = ok(await http.post("/v1/folders", json={"name": "f"}))["id"]

        async def upload(text: bytes) -> str:
            address, replacing = f"/v1/folders/{folder}/upload", {"duplicate_handling": "replace"}
            file_id: str = ok(await http.post(address, files={"file": ("a", text)}, params=replacing))["id"]
            while ok(await http.get(f"/v1/folders/{folder}/files/{file_id}"))["processing_status"] != "completed":
                await asyncio.sleep(0.02)
            return file_id

        file = await upload(b"one")
        await rows(  # as it is for long behind a large file
            server.database,
            "INSERT INTO jobs (organization_id, id, kind, subject_id, status, details, progress, attempts, due_at,"
            f" created_at, updated_at) SELECT organization_id, 'job-x', 'file_tidying', '{file}', 'running', '{{}}',"
            f" '{{}}', 1, {2**52}, 1, 1 FROM files WHERE id = '{file}'",
        )
        await upload(b"two")
        while await rows(server.database, "SELECT 1 FROM file_pieces"):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_an_archive_that_another_agent_gets_meanwhile_outlives_its_own(start_server: StartServer) -> None:
    server = start_server()
    async with plain_async_client(server.url) as http:
        own, other = [ok(await http.post("/v1/agents", json={"name": each, "model": MODEL}))["id"] for each in "ab"]
        ok(await http.post(f"/v1/agents/{own}/archival-memory", json={"text": "The kettle is red."}))
        attach = (
            "INSERT INTO agent_archives (organization_id, agent_id, archive_id, access, attached_at)"
            " SELECT organization_id, $1, id, 'write', 1 FROM archives"
        )
        async with held_back(server.database, attach, other):
            deleting = asyncio.create_task(http.delete(f"/v1/agents/{own}"))
        (await deleting).raise_for_status()
        kept = ok(await http.get(f"/v1/agents/{other}/archival-memory"))
        assert [each["text"] for each in kept] == ["The kettle is red."]


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("late", ["watch.list_versions", "watch.read_texts", "history.LineHistory"])
async def test_a_block_that_is_deleted_while_its_history_is_read_is_not_there(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, late: str
) -> None:
    app = create_app(Settings(database=database_url, data=tmp_path), {})
    loop = asyncio.get_running_loop()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        block = ok(await http.post("/v1/blocks", json={"label": "b", "value": "one"}))["id"]
        for text in ("two", "three"):
            ok(await http.post(f"/v1/blocks/{block}/edits", json={"kind": "append", "content": text}))

        async def delete() -> None:
            (await http.delete(f"/v1/blocks/{block}")).raise_for_status()

        module = history if late.startswith("history") else watch
        name = late.partition(".")[2]
        original: Any = getattr(module, name)

        async def behind(*arguments: Any, **more: Any) -> Any:
            await delete()
            return await original(*arguments, **more)

        def on_a_thread() -> Any:
            asyncio.run_coroutine_threadsafe(delete(), loop).result(PATIENCE)
            return original()

        monkeypatch.setattr(module, name, on_a_thread if module is history else behind)
        path, headers = ("blame", {}) if module is history else ("watch", {"Last-Event-ID": "1"})
        answer = await http.get(f"/v1/blocks/{block}/{path}", headers=headers)
        assert answer.status_code == 404 if path == "blame" else "event: deleted" in answer.text, answer.text
    assert not [each for each in caplog.records if each.levelname == "ERROR"]
