"""`folkmoot serve`: what keeps it from starting, in one line; and how it stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from folkmoot import demo, serving
from folkmoot.application import create_app
from folkmoot.errors import StartupError
from folkmoot.serving import check_settings
from folkmoot.settings import Settings
from folkmoot.store.opening import open_store
from folkmoot.web.views import start as tutorial
from support.clients import official_async_client, plain_async_client, plain_client
from support.fixtures import MODEL, StartServer, one_store
from support.polling import PATIENCE
from support.ports import free_port
from support.postgres import PostgresDatabases
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

Folkmoot = Callable[..., subprocess.CompletedProcess[str]]


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The command said in one line why it cannot start."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("folkmoot: ")
    for word in words:
        assert word in done.stderr


# -- what keeps it from starting -----------------------------------------------------------------------------


@pytest.mark.by_command
def test_a_public_address_without_a_key_is_refused(folkmoot: Folkmoot) -> None:
    assert_refused(folkmoot("serve", "--host", "0.0.0.0"), "FOLKMOOT_API_KEY", "--insecure")


def test_a_public_address_from_a_variable_is_refused_too(folkmoot: Folkmoot) -> None:
    assert_refused(folkmoot("serve", FOLKMOOT_HOST="::"), "FOLKMOOT_API_KEY")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_an_address_that_others_reach_is_public(host: str) -> None:
    with pytest.raises(StartupError, match=r"FOLKMOOT_API_KEY.*--insecure"):
        check_settings(Settings(_env_file=None, host=host))
    check_settings(Settings(_env_file=None, host=host, insecure=True))
    check_settings(Settings(_env_file=None, host=host, api_key="a key"))


def test_an_empty_key_is_refused(folkmoot: Folkmoot) -> None:
    assert_refused(folkmoot("serve", "--host", "0.0.0.0", FOLKMOOT_API_KEY=""), "FOLKMOOT_API_KEY")
    with pytest.raises(StartupError, match="FOLKMOOT_API_KEY is empty"):
        check_settings(Settings(_env_file=None, api_key=""))


def test_a_port_that_is_taken_is_told(folkmoot: Folkmoot) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert_refused(folkmoot("serve", "--port", port), port, "--port")


def test_settings_that_cannot_be_used_are_named(folkmoot: Folkmoot) -> None:
    wrong = {
        "PORT": "99999",
        "LOG_LEVEL": "loud",
        "MODEL_TIMEOUT": "0",
        "MAX_STEPS": "0",
        "INSECURE": "perhaps",
        "ALLOWED_HOSTS": "a.example, http://b.example:8283",
        "ALLOWED_ORIGINS": "app.example",
        "TRUSTED_PROXIES": "the-proxy",
    }
    done = folkmoot("serve", **{f"FOLKMOOT_{name}": value for name, value in wrong.items()})
    assert_refused(done, *(name.lower() for name in wrong))
    assert_refused(folkmoot("serve", FOLKMOOT_MODEL_TIMEOUT="soon"), "model_timeout")
    assert_refused(folkmoot("serve", FOLKMOOT_ALLOWED_ORIGINS="*"), "allowed_origins")


@pytest.mark.parametrize("address", ["mysql://localhost/x", "nothing", "sqlite://", "sqlite:///", "postgresql:"])
async def test_an_address_that_is_no_database_is_named(address: str) -> None:
    with pytest.raises(StartupError, match=r"database.*sqlite:///"):
        await open_store(address, 1.0)


def test_a_start_without_a_database_is_refused(folkmoot: Folkmoot) -> None:
    assert_refused(folkmoot("serve", "--port", "0", "--database", "nothing"), "database", "sqlite:///")


def test_a_postgresql_that_cannot_be_reached_is_told(folkmoot: Folkmoot) -> None:
    done = folkmoot("serve", "--port", "0", "--database", "postgresql://ada:secret@127.0.0.1:1/x")
    assert_refused(done, "PostgreSQL at 127.0.0.1:1 cannot be reached")
    assert "secret" not in done.stderr


@pytest.mark.parametrize("place", ["127.0.0.1:1/x", "no-such-host.invalid/x", "127.0.0.1:1/x?sslmode=disable"])
async def test_no_address_of_a_postgresql_that_is_not_there_is_waited_for(place: str) -> None:
    with pytest.raises(StartupError, match=r"PostgreSQL at \S+ cannot be reached"):
        await open_store(f"postgresql://{place}", 1.0)


def test_a_postgresql_database_that_does_not_exist_is_told(
    folkmoot: Folkmoot, postgres_server: PostgresDatabases
) -> None:
    assert_refused(folkmoot("serve", "--port", "0", "--database", postgres_server.url("absent")), "absent")


def test_a_postgresql_user_who_may_not_make_tables_is_told(
    folkmoot: Folkmoot, postgres_server: PostgresDatabases
) -> None:
    url = postgres_server.create_database()
    name = url.rpartition("/")[2]
    user = f"guest_{name[-12:]}"
    postgres_server.run_sql(f"CREATE ROLE {user} LOGIN")
    done = folkmoot("serve", "--port", "0", "--database", url.replace("postgres@", f"{user}@"))
    postgres_server.drop_database(url)
    postgres_server.run_sql(f"DROP ROLE {user}")
    assert_refused(done, "permission denied")


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_options_in_a_postgresql_address_are_understood(start_server: StartServer, database_url: str) -> None:
    server = start_server(database=database_url + "?sslmode=disable")
    assert httpx.get(server.url + "/v1/ready", timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize("content", [b"not a database at all, just some text\n" * 100, bytes(range(256)) * 9])
def test_a_file_that_is_no_database_is_told_and_left_alone(folkmoot: Folkmoot, home: Path, content: bytes) -> None:
    path = home / "notes.txt"
    path.write_bytes(content)
    assert_refused(folkmoot("serve", "--port", "0", "--database", f"sqlite:///{path}"), str(path), "not")
    assert path.read_bytes() == content


def test_a_folder_in_the_place_of_the_file_is_told(folkmoot: Folkmoot, home: Path) -> None:
    (home / "folder").mkdir()
    assert_refused(folkmoot("serve", "--port", "0", "--database", f"sqlite:///{home / 'folder'}"), "folder")


def test_a_data_folder_that_cannot_be_made_is_told(folkmoot: Folkmoot, home: Path) -> None:
    (home / "file").write_text("")
    assert_refused(folkmoot("serve", "--port", "0", "--data", str(home / "file")), "file")


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 0x7A000000)  # nobody knows that one, as in OpenShift
    with pytest.raises(StartupError, match="FOLKMOOT_DATA"):
        _ = Settings().database_url


@pytest.mark.parametrize(
    "start",
    [lambda: serving.serve({"host": "no-host.invalid", "insecure": True}), lambda: demo.run(None)],
    ids=["serve", "demo"],
)
def test_a_machine_without_a_place_for_temporary_files_is_told_what_to_do(
    start: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)  # not looked for yet
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])  # as where the root is read-only
    monkeypatch.setattr(os, "umask", lambda mask: mask)
    assert start() == 1
    assert "TMPDIR" in "".join(capsys.readouterr())


def test_a_database_of_a_newer_version_is_told(
    start_server: StartServer, folkmoot: Folkmoot, database_url: str, postgres_server: PostgresDatabases
) -> None:
    start_server().stop()
    statement = "UPDATE alembic_version SET version_num = '9999'"
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database, database:
            database.execute(statement)
    else:
        postgres_server.run_sql(statement, database_url.rpartition("/")[2])
    done = folkmoot("serve", "--port", "0", "--database", database_url)
    assert_refused(done, "newer", "9999")


@one_store
def test_a_database_that_lacks_a_table_is_told(
    start_server: StartServer, folkmoot: Folkmoot, database_url: str
) -> None:
    start_server().stop()
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database, database:
        database.execute("DROP TABLE model_providers")
    assert_refused(folkmoot("serve", "--port", "0", "--database", database_url), "model_providers")


@one_store
def test_a_second_server_on_one_sqlite_file_is_refused(
    start_server: StartServer, folkmoot: Folkmoot, database_url: str
) -> None:
    server = start_server()
    done = folkmoot("serve", "--port", "0", "--database", database_url)
    assert_refused(done, "another Folkmoot process", str(server.process.pid), "PostgreSQL")
    assert httpx.get(server.url + "/v1/ready", timeout=PATIENCE).status_code == 200
    server.restart()
    assert httpx.get(server.url + "/v1/ready", timeout=PATIENCE).status_code == 200


# -- how it starts -------------------------------------------------------------------------------------------


@one_store
def test_a_folder_may_have_any_name(start_server: StartServer, tmp_path: Path) -> None:
    folder = tmp_path / "a b#c?d%20é&'\""
    folder.mkdir()
    server = start_server(database=f"sqlite:///{folder / 'moot.sqlite3'}")
    assert httpx.get(server.url + "/v1/ready", timeout=PATIENCE).status_code == 200
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("a b")] == [folder.name]


@one_store
def test_settings_are_read_from_the_env_file(start_server: StartServer, tmp_path: Path) -> None:
    home = tmp_path / "server-1"
    home.mkdir()
    (home / ".env").write_text('FOLKMOOT_API_KEY="from the file"\nSOMETHING_ELSE=1\n')
    server = start_server()
    assert httpx.get(server.url + "/v1/agents", timeout=PATIENCE).status_code == 401
    assert (
        httpx.get(
            server.url + "/v1/agents", timeout=PATIENCE, headers={"authorization": "Bearer from the file"}
        ).status_code
        == 200
    )


@one_store
def test_variables_come_before_the_env_file_and_options_before_both(start_server: StartServer, tmp_path: Path) -> None:
    home = tmp_path / "server-1"
    home.mkdir()
    wrong, port = str(free_port()), str(free_port())
    (home / ".env").write_text(f"FOLKMOOT_API_KEY=file\nFOLKMOOT_PORT={wrong}\nFOLKMOOT_LOG_LEVEL=loud\n")
    server = start_server(env={"FOLKMOOT_API_KEY": "variable", "FOLKMOOT_PORT": port, "FOLKMOOT_LOG_LEVEL": "info"})
    assert (
        httpx.get(server.url + "/v1/agents", timeout=PATIENCE, headers={"authorization": "Bearer variable"}).status_code
        == 200
    )


# -- how it stops --------------------------------------------------------------------------------------------


async def test_a_stop_wakes_a_server_that_would_sleep_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = asyncio.timeout
    monkeypatch.setattr(serving, "begin_to_stop", lambda *_, **__: None)
    monkeypatch.setattr(asyncio, "timeout", lambda _: limited(None))
    server = serving._Server(FastAPI(), uvicorn.Config(FastAPI()))
    looping = asyncio.create_task(server.main_loop())
    while not server.server_state.default_headers:  # it has looked once, and sleeps
        await asyncio.sleep(0)
    server._stop()
    for _ in range(20):  # turns of the loop, in which nothing is waited for
        await asyncio.sleep(0)
    ended = looping.done()
    looping.cancel()
    assert ended


@one_store
async def test_the_tutorial_asks_nothing_of_a_server_that_stops(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tutorial, "OPENING_SECONDS", 0.0)
    app = create_app(Settings(database=database_url, data=tmp_path, default_model="offline/notetaker"), {})
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        app.state.server.runs.supervisor.stop_after(PATIENCE)
        assert (await http.post("/start")).status_code == 303
        await asyncio.gather(*tutorial._questions)
        assert (await http.get("/v1/runs")).json() == []


@pytest.mark.by_command
@one_store
def test_it_says_where_it_is_shows_no_secret_and_stops_at_a_signal_with_status_0(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "hush-hush", "FOLKMOOT_SECRET_KEY": "quiet"})
    assert_stops(server, signal.SIGTERM)
    for shown in (server.url, "sqlite:///", "OpenAI", "needed"):
        assert shown in server.log()
    assert "hush" not in server.log()
    assert "quiet" not in server.log()
    assert "scripted" not in server.log()


@pytest.mark.by_command
@one_store
def test_a_server_without_a_key_stops_at_ctrl_c_with_status_0(start_server: StartServer) -> None:
    assert_stops(start_server(), signal.SIGINT)


@one_store
def test_standard_streams_may_be_closed(database_url: str, tmp_path: Path) -> None:
    closed = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    with ServerProcess(database=database_url, home=tmp_path / "own", through=closed) as server:
        with plain_client(server.url) as http:
            source = 'def hello() -> str:\n    """Say hello."""\n    print(\'out\')\n    return \'hello\''
            ran = http.post("/v1/tools/run", json={"source_code": source, "args": {}}).json()
        assert (ran["status"], ran["tool_return"]) == ("success", "hello"), ran
        assert server.stop() == 0


def assert_stops(server: ServerProcess, number: signal.Signals) -> None:
    """The idle server ends well at a signal."""
    server.process.send_signal(number)
    assert server.process.wait(PATIENCE) == 0
    assert "Traceback" not in server.log()
    assert "ERROR" not in server.log()


@pytest.mark.parametrize(
    ("store", "number"), [("sqlite", signal.SIGTERM), ("postgres", signal.SIGINT)], indirect=["store"]
)
async def test_a_turn_in_flight_is_finished_before_the_server_stops(
    start_server: StartServer, scripted_model: ScriptedModel, number: signal.Signals
) -> None:
    server = start_server()
    async with official_async_client(server.url) as client:
        agent = await client.agents.create(model=MODEL)
        with scripted_model.hold() as held:
            script = "CALL conversation_search {}\nTHEN ECHO finished"
            turn = asyncio.create_task(client.agents.messages.create(agent.id, input=script))
            await asyncio.to_thread(held.wait_for, 1)
            server.process.send_signal(number)
            await asyncio.to_thread(wait_until_closed, server.port)
            held.release()
            answer = await turn
    assert answer.messages[-1].content == "finished"
    assert await asyncio.to_thread(server.process.wait, 60) == 0
    assert "Traceback" not in server.log()
    server.start()
    async with official_async_client(server.url) as client:
        kept = [m.message_type async for m in client.agents.messages.list(agent.id, order="asc")]
    assert kept[-1] == "assistant_message"
    assert len(kept) == 5


@one_store
async def test_a_turn_that_does_not_end_is_given_up_after_the_wait(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server(env={"FOLKMOOT_SHUTDOWN_WAIT": "1"})
    async with official_async_client(server.url) as client:
        agent = await client.agents.create(model=MODEL)
        with scripted_model.hold() as held:
            turn = asyncio.create_task(client.agents.messages.create(agent.id, input="lost"))
            await asyncio.to_thread(held.wait_for, 1)
            server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.process.wait, 60) == 0
            await asyncio.gather(turn, return_exceptions=True)
    server.start()
    async with official_async_client(server.url) as client:
        assert (await client.agents.messages.create(agent.id, input="ECHO hi")).messages[0].content == "hi"


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_whatever_a_stop_cuts_ends_with_something_that_says_so(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    """One deadline ends a plain request, streams of a reply and of a background run, and watches before all."""
    server = start_server(env={"FOLKMOOT_SHUTDOWN_WAIT": "1"})
    async with plain_async_client(server.url) as http:
        agents = [(await http.post("/v1/agents", json={"model": MODEL})).json()["id"] for _ in range(4)]
        block = (await http.post("/v1/blocks", json={"label": "watched", "value": "x"})).json()["id"]

        async def read(method: str, path: str, opened: asyncio.Event, body: object = None) -> list[str]:
            async with http.stream(method, path, json=body) as response:
                lines = []
                async for line in response.aiter_lines():
                    opened.set()
                    lines.append(line)
                return lines

        with scripted_model.hold() as held:
            said = {"input": "lost"}
            run = (await http.post(f"/v1/agents/{agents[0]}/messages/async", json=said)).json()["id"]
            chat = {"model": agents[3], "messages": [{"role": "user", "content": "lost"}], "stream": True}
            opened = [asyncio.Event() for _ in range(4)]
            streams = [
                asyncio.create_task(read("GET", f"/v1/blocks/{block}/watch", opened[0])),
                asyncio.create_task(read("GET", f"/v1/runs/{run}/stream", opened[1])),
                asyncio.create_task(read("POST", f"/v1/agents/{agents[1]}/messages/stream", opened[2], said)),
                asyncio.create_task(read("POST", "/v1/chat/completions", opened[3], chat)),
            ]
            plain = asyncio.create_task(http.post(f"/v1/agents/{agents[2]}/messages", json=said))
            await asyncio.to_thread(held.wait_for, 4)
            await asyncio.gather(*(each.wait() for each in opened[:3]))
            server.process.send_signal(signal.SIGTERM)
            watch, followed, streamed, chunks = await asyncio.gather(*streams)
            answer = await plain
            assert await asyncio.to_thread(server.process.wait, 60) == 0
    assert "event: stopping" in watch
    assert "open the stream again" in watch[watch.index("event: stopping") + 1].lower()
    for lines in (followed, streamed):
        *_, error, reason, done = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        assert (json.loads(error)["message_type"], json.loads(error)["error_type"]) == (
            "error_message",
            "server_stopped",
        )
        assert json.loads(error)["message"]
        assert json.loads(reason) == {"message_type": "stop_reason", "stop_reason": "error"}
        assert done == "[DONE]"
    assert any('"server_stopped"' in line for line in chunks)
    assert answer.status_code == 503
    assert "stopped" in answer.json()["detail"]
    assert "Traceback" not in server.log()
    assert "ERROR" not in server.log()


@one_store
async def test_a_request_that_is_no_turn_is_told_of_the_stop_that_cuts_it(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    server = start_server(env={"FOLKMOOT_SHUTDOWN_WAIT": "0.1"})
    async with plain_async_client(server.url) as http:
        agent = (await http.post("/v1/agents", json={"model": MODEL})).json()["id"]
        with scripted_model.hold() as held:
            asked = asyncio.create_task(http.post(f"/v1/agents/{agent}/generate", json={"prompt": "lost"}))
            await asyncio.to_thread(held.wait_for, 1)
            server.process.send_signal(signal.SIGTERM)
            answer = await asked
            assert await asyncio.to_thread(server.process.wait, 60) == 0
    assert answer.status_code == 503
    assert "stopped" in answer.json()["detail"]
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_stream_of_another_processs_run_ends_with_its_own_process(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    stopped, working = start_server(env={"FOLKMOOT_SHUTDOWN_WAIT": "1"}), start_server()
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        agent = (await http.post(f"{working.url}/v1/agents", json={"model": MODEL})).json()["id"]
        with scripted_model.hold() as held:
            said = {"input": "ECHO went on"}
            run = (await http.post(f"{working.url}/v1/agents/{agent}/messages/async", json=said)).json()["id"]
            await asyncio.to_thread(held.wait_for, 1)
            async with http.stream("GET", f"{stopped.url}/v1/runs/{run}/stream") as response:
                lines = response.aiter_lines()
                assert "ping" in await anext(lines)
                stopped.process.send_signal(signal.SIGTERM)
                *_, error, done = [line.removeprefix("data: ") async for line in lines if line.startswith("data: ")]
            assert json.loads(error)["error_type"] == "server_stopped"
            assert "may go on" in json.loads(error)["message"]
            assert done == "[DONE]"
            assert await asyncio.to_thread(stopped.process.wait, 60) == 0
            held.release()
        rest = (await http.get(f"{working.url}/v1/runs/{run}/stream")).text
        assert "went on" in rest


@pytest.mark.by_command
@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_workers_keep_the_lists_of_names_and_stop_like_a_single_process(
    start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    lists = {
        "FOLKMOOT_ALLOWED_HOSTS": "a.example,b.example",
        "FOLKMOOT_ALLOWED_ORIGINS": "http://localhost:3000,https://b.example",
    }
    server = start_server(env={"FOLKMOOT_SHUTDOWN_WAIT": "1", **lists}, args=["--workers", "2"])
    for _ in range(6):  # twelve connections, each of which either worker may take
        headers = {"origin": "https://b.example"}
        for host, status in (("b.example", 200), ("evil.example", 421)):
            async with plain_async_client(server.url, headers={"host": host, **headers}) as other:
                answer = await other.get("/v1/agents")
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == "https://b.example"
    async with plain_async_client(server.url) as http:
        agent = (await http.post("/v1/agents", json={"model": MODEL})).json()["id"]
        with scripted_model.hold() as held:
            body = {"input": "lost"}
            async with http.stream("POST", f"/v1/agents/{agent}/messages/stream", json=body) as response:
                lines = response.aiter_lines()
                assert "ping" in await anext(lines)
                await asyncio.to_thread(held.wait_for, 1)
                server.process.send_signal(signal.SIGTERM)
                *_, error, _, done = [line.removeprefix("data: ") async for line in lines if line.startswith("data: ")]
            assert json.loads(error)["error_type"] == "server_stopped"
            assert done == "[DONE]"
            assert await asyncio.to_thread(server.process.wait, 60) == 0
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_does_not_wait(
    start_server: StartServer, scripted_model: ScriptedModel, number: signal.Signals
) -> None:
    server = start_server(env={"FOLKMOOT_SHUTDOWN_WAIT": "3600"})
    async with official_async_client(server.url) as client:
        agent = await client.agents.create(model=MODEL)
        with scripted_model.hold() as held:
            await client.agents.messages.create_async(agent.id, input="lost")
            await asyncio.to_thread(held.wait_for, 1)
            server.process.send_signal(number)
            await asyncio.to_thread(wait_until_closed, server.port)
            server.process.send_signal(number)
            assert await asyncio.to_thread(server.process.wait, 60) == 0


def wait_until_closed(port: int) -> None:
    """Return when nobody listens on the port any more: the server has taken notice of the signal."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            return
