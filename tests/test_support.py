"""The tests' own supports do what the tests believe of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
from letta_client import Letta

from support.clients import official_client, plain_async_client, plain_client
from support.fixtures import NewAgent, NewBlock, StartServer
from support.forks import Preloaded, preloaded
from support.polling import PATIENCE, until
from support.ports import free_port
from support.postgres import PostgresDatabases, PostgresError, PostgresServer
from support.scripted_model import ScriptedModel
from support.server import FORKS, ServerFailed, ServerProcess

CALL = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def tool(call_id: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "3"}


def chat(*messages: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": list(messages), **extra}


@pytest.fixture
def model_http(scripted_model: ScriptedModel) -> Iterator[httpx.Client]:
    with plain_client(scripted_model.base_url) as http:
        yield http


def answer(http: httpx.Client, *messages: dict[str, Any]) -> dict[str, Any]:
    response = http.post("/chat/completions", json=chat(*messages))
    assert response.status_code == 200, response.text
    message: dict[str, Any] = response.json()["choices"][0]["message"]
    return message


def calls_of(message: dict[str, Any]) -> list[tuple[str, str]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in message["tool_calls"]]


# -- the scripted model: what it answers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("hello", "ok"),
        ("ECHO one two", "one two"),
        ("ECHO one\n two", "one\n two"),
        ([{"type": "text", "text": "ECHO parts"}], "parts"),
    ],
)
def test_model_answers_text(model_http: httpx.Client, script: Any, said: str) -> None:
    assert answer(model_http, {"role": "user", "content": script})["content"] == said


def test_model_ignores_a_trailing_system_message(model_http: httpx.Client) -> None:
    blocks = {"role": "system", "content": "<memory>CALL nothing {}</memory>"}
    assert answer(model_http, user("ECHO still here"), blocks)["content"] == "still here"


def test_model_follows_a_script_step_by_step_and_says_done(model_http: httpx.Client) -> None:
    history = [user('Please:\nCALL add {"a": 1}\nTHEN CALLS [["add", {"a": 2}], ["sub", {}]]')]
    first = answer(model_http, *history)
    assert calls_of(first) == [("add", '{"a": 1}')]
    history += [first, tool(first["tool_calls"][0]["id"])]
    second = answer(model_http, *history)
    assert calls_of(second) == [("add", '{"a": 2}'), ("sub", "{}")]
    history += [second, *[tool(call["id"]) for call in second["tool_calls"]]]
    assert answer(model_http, *history)["content"] == "done"


def test_model_passes_malformed_arguments_on(model_http: httpx.Client) -> None:
    assert calls_of(answer(model_http, user('CALL add {"a": '))) == [("add", '{"a":')]


def test_model_streams_the_same_answer(model_http: httpx.Client) -> None:
    script = 'CALL memory_insert {"label": "human", "new_string": "a long enough text"}'
    body = chat(user(script), stream=True, stream_options={"include_usage": True})
    events = model_http.post("/chat/completions", json=body).text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    parsed = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert parsed[-1]["usage"]["prompt_tokens"] == 100
    assert parsed[-2]["choices"][0]["finish_reason"] == "tool_calls"
    calls = [call for event in parsed[:-1] for call in event["choices"][0]["delta"].get("tool_calls", [])]
    assert "CALL memory_insert " + "".join(call["function"]["arguments"] for call in calls) == script


def test_model_thinks_before_it_answers(model_http: httpx.Client) -> None:
    message = answer(model_http, user("THINK three and four\nTHEN ECHO 7"))
    assert (message["reasoning_content"], message["content"]) == ("three and four", "7")
    body = chat(user("THINK three and four\nTHEN ECHO 7"), stream=True)
    text = model_http.post("/chat/completions", json=body).text
    assert text.index('"reasoning_content": "three "') < text.index('"content": "7"')


def test_model_breaks_a_stream_off(scripted_model: ScriptedModel, model_http: httpx.Client) -> None:
    scripted_model.break_next(after=2)
    text = model_http.post("/chat/completions", json=chat(user("ECHO one two"), stream=True)).text
    assert ('"one "' in text, '"error"' in text, '"two"' in text) == (True, True, False)


def test_model_lists_models_and_embeds_alike_texts_alike(model_http: httpx.Client) -> None:
    assert "gpt-4o-mini" in [model["id"] for model in model_http.get("/models").json()["data"]]
    body = {
        "model": "text-embedding-3-small",
        "input": ["red apple", "green apple", "old ship"],
        "dimensions": 256,
    }
    red, green, ship = [item["embedding"] for item in model_http.post("/embeddings", json=body).json()["data"]]
    assert sum(a * b for a, b in zip(red, green, strict=True)) > sum(a * b for a, b in zip(red, ship, strict=True))


def test_model_records_requests_and_forgets_them_on_reset(
    scripted_model: ScriptedModel, model_http: httpx.Client
) -> None:
    answer(model_http, user("first"))
    model_http.get("/models")
    assert [request["messages"][0]["content"] for request in scripted_model.requests] == ["first"]
    assert [request.path for request in scripted_model.received] == ["/v1/chat/completions", "/v1/models"]
    scripted_model.reset()
    assert scripted_model.received == []


# -- the scripted model: what goes wrong when told -----------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_model_fails_as_often_as_told(scripted_model: ScriptedModel, model_http: httpx.Client, status: int) -> None:
    scripted_model.fail_next(status, times=2)
    got = [model_http.post("/chat/completions", json=chat(user("hi"))).status_code for _ in range(3)]
    assert got == [status, status, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_model_drops_the_connection(scripted_model: ScriptedModel, model_http: httpx.Client, stream: bool) -> None:
    scripted_model.drop_next()
    with pytest.raises(httpx.TransportError):
        model_http.post("/chat/completions", json=chat(user("hi"), stream=stream))
    assert answer(model_http, user("hi"))["content"] == "ok"


def test_model_drops_the_connection_in_mid_stream(scripted_model: ScriptedModel, model_http: httpx.Client) -> None:
    scripted_model.drop_next(after=2)
    pieces: list[str] = []
    body = chat(user("ECHO one two three"), stream=True)
    with (
        pytest.raises(httpx.RemoteProtocolError),
        model_http.stream("POST", "/chat/completions", json=body) as got,
    ):
        pieces.extend(got.iter_text())
    assert "one " in "".join(pieces)
    assert "two" not in "".join(pieces)


def test_model_answers_nonsense(scripted_model: ScriptedModel, model_http: httpx.Client) -> None:
    scripted_model.nonsense_next()
    with pytest.raises(ValueError, match="Expecting value"):
        model_http.post("/chat/completions", json=chat(user("hi"))).json()


def test_model_answers_a_given_message(scripted_model: ScriptedModel, model_http: httpx.Client) -> None:
    scripted_model.reply_next({"content": ""}, finish_reason="length")
    choice = model_http.post("/chat/completions", json=chat(user("hi"))).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "length")


async def test_model_hangs_until_the_client_goes(scripted_model: ScriptedModel) -> None:
    scripted_model.hang_next()
    async with plain_async_client(scripted_model.base_url) as http:
        asking = asyncio.create_task(http.post("/chat/completions", json=chat(user("hi"))))
        await asyncio.to_thread(scripted_model.wait_for_requests, 1)
        asking.cancel()
        await asyncio.to_thread(scripted_model.wait_for_disconnects, 1)
        assert (await http.post("/chat/completions", json=chat(user("hi")))).status_code == 200


# -- the scripted model: holding answers back ----------------------------------------------------------------


def test_held_answers_wait_for_their_release(scripted_model: ScriptedModel, model_http: httpx.Client) -> None:
    with ThreadPoolExecutor() as pool, scripted_model.hold(matching="held") as held:
        asking = [pool.submit(answer, model_http, user(f"ECHO held {number}")) for number in range(3)]
        held.wait_for(3)
        assert answer(model_http, user("ECHO free"))["content"] == "free"
        assert not any(future.done() for future in asking)
        held.release()
        assert sorted(future.result()["content"] for future in asking) == ["held 0", "held 1", "held 2"]
        assert held.arrived == 3


def test_held_answers_are_released_one_by_one(scripted_model: ScriptedModel, model_http: httpx.Client) -> None:
    with ThreadPoolExecutor() as pool, scripted_model.hold() as held:
        first = pool.submit(answer, model_http, user("ECHO first"))
        held.wait_for(1)
        second = pool.submit(answer, model_http, user("ECHO second"))
        held.wait_for(2)
        held.release(1)
        assert first.result()["content"] == "first"
        assert not second.done()
    assert second.result()["content"] == "second"


def test_a_stream_is_held_after_its_first_pieces(scripted_model: ScriptedModel, model_http: httpx.Client) -> None:
    body = chat(user("ECHO one two"), stream=True)
    with (
        scripted_model.hold(after=2) as held,
        model_http.stream("POST", "/chat/completions", json=body) as got,
    ):
        lines = (line for line in got.iter_lines() if line)
        begin = [next(lines), next(lines)]
        held.wait_for(1)
        held.release()
        rest = list(lines)
    assert '"one "' in begin[1]
    assert '"two"' in rest[0]
    assert rest[-1] == "data: [DONE]"


# -- the scripted model: what the API would refuse -----------------------------------------------------------


def test_a_violation_is_recorded_and_refused() -> None:
    with ScriptedModel() as model, plain_client(model.base_url) as http:
        response = http.post("/chat/completions", json=chat(user("hi"), tool()))
        assert response.status_code == 400
        assert len(model.violations) == 1
        model.reset()
        assert model.violations == []


def test_the_fixture_fails_a_test_whose_server_violates_the_rules(tmp_path: Path) -> None:
    unanswered, blank = chat(user("hi"), tool()), chat(user(" "), max_tokens=1)
    source = f"""
import httpx
def test_openai(scripted_model):
    httpx.post(scripted_model.base_url + "/chat/completions", json={unanswered!r})
def test_anthropic(scripted_model):
    httpx.post(scripted_model.base_url + "/messages", json={blank!r})
def test_sound(scripted_model):
    pass
"""
    (tmp_path / "test_inner.py").write_text(source)
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-p", "no:schemathesis"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed, 2 errors" in done.stdout
    assert "which no call before it awaits" in done.stdout
    assert "must contain non-whitespace text" in done.stdout


# -- tables of cases and the stores --------------------------------------------------------------------------


def runs(request: pytest.FixtureRequest) -> set[tuple[int, str]]:
    """Return the cases of the test's table that this run has, each with its store."""
    name = request.function.__name__
    of_table = [
        each for each in request.session.items if isinstance(each, pytest.Function) and each.originalname == name
    ]
    return {(each.callspec.params["case"], each.callspec.params["store"]) for each in of_table}


@pytest.mark.parametrize("case", range(3))
def test_the_cases_of_a_table_take_turns(request: pytest.FixtureRequest, case: int, store: str) -> None:
    if request.config.getoption("thorough") or "[" in "".join(request.config.args):
        pytest.skip("all cases were asked for, or one by its name")
    assert runs(request) == {(0, "sqlite"), (1, "postgres"), (2, "sqlite")}


@pytest.mark.every_case_on_both
@pytest.mark.parametrize("case", range(2))
def test_every_case_of_a_table_that_is_marked_runs_on_both(
    request: pytest.FixtureRequest, case: int, store: str
) -> None:
    if "[" in "".join(request.config.args):
        pytest.skip("one case was asked for by its name")
    assert runs(request) == {(0, "sqlite"), (0, "postgres"), (1, "sqlite"), (1, "postgres")}


@pytest.mark.parametrize("store", ["postgres", "sqlite"], indirect=True)
@pytest.mark.parametrize("case", range(2))
def test_a_test_that_names_its_stores_runs_on_them(request: pytest.FixtureRequest, case: int, store: str) -> None:
    if "[" in "".join(request.config.args):
        pytest.skip("one case was asked for by its name")
    assert runs(request) == {(0, "sqlite"), (0, "postgres"), (1, "sqlite"), (1, "postgres")}


# -- PostgreSQL ----------------------------------------------------------------------------------------------


def test_postgres_gives_each_test_an_empty_database_that_can_be_dropped(
    postgres_server: PostgresDatabases,
) -> None:
    first, second = postgres_server.create_database(), postgres_server.create_database()
    names = [url.rpartition("/")[2] for url in (first, second)]
    postgres_server.run_sql("CREATE TABLE t (a int)", names[0])
    count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert [postgres_server.run_sql(count, name) for name in names] == ["1", "0"]
    postgres_server.drop_database(first)
    postgres_server.drop_database(second)
    left = postgres_server.run_sql("SELECT datname FROM pg_database")
    assert not set(names) & set(left.splitlines())


def test_postgres_copies_a_template(postgres_server: PostgresDatabases) -> None:
    template = postgres_server.create_database().rpartition("/")[2]
    postgres_server.run_sql("CREATE TABLE t AS SELECT 7 AS a", template)
    copy = postgres_server.create_database(template)
    assert postgres_server.run_sql("SELECT a FROM t", copy.rpartition("/")[2]) == "7"
    postgres_server.drop_database(copy)


def test_postgres_keeps_committed_rows_over_a_kill(postgres_server: PostgresDatabases) -> None:
    assert postgres_server.run_sql("SHOW fsync") == "off"
    with PostgresServer(durable=True) as postgres:
        assert postgres.run_sql("SHOW fsync") == "on"
        url = postgres.create_database()
        name = url.rpartition("/")[2]
        postgres.run_sql("CREATE TABLE t AS SELECT generate_series(1, 100) AS a", name)
        postgres.kill()
        with pytest.raises(PostgresError):
            postgres.run_sql("SELECT 1")
        postgres.start()
        assert postgres.run_sql("SELECT count(*) FROM t", name) == "100"
        assert "recovery" in postgres.log
        postgres.stop()
        postgres.start()
        assert postgres.url(name) == url
    assert not postgres.data.exists()


STARTS = """
import sys
from support.postgres import PostgresServer

with PostgresServer() as postgres:
    print(postgres.process.pid, postgres.data, flush=True)
    sys.stdin.read()
"""


def test_postgres_ends_with_a_process_that_is_killed() -> None:
    starts = [sys.executable, "-c", STARTS]
    with subprocess.Popen(starts, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid, data = process.stdout.readline().split()
        server = psutil.Process(int(pid))
        process.kill()
    until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
    until(lambda: not Path(data.decode()).parent.exists())


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_postgres_url_is_what_asyncpg_takes(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()


def test_database_url_names_the_store(database_url: str, store: str) -> None:
    assert database_url.startswith({"sqlite": "sqlite:///", "postgres": "postgresql://"}[store])


# -- the server process --------------------------------------------------------------------------------------


def test_a_server_that_ends_tells_why(tmp_path: Path) -> None:
    server = ServerProcess(database="sqlite:///x", home=tmp_path, args=["--no-such-option"])
    with pytest.raises(ServerFailed, match="ended with status"), server:
        pass


def test_a_server_restarts_over_its_store_after_a_kill(start_server: StartServer) -> None:
    server = start_server()
    with official_client(server.url) as client:
        block = client.blocks.create(label="kept", value="over a kill")
        server.kill()
        server.restart()
        assert client.blocks.retrieve(block.id).value == "over a kill"
    assert server.stop() == 0


def test_the_shared_server_reaches_the_scripted_model(
    client: Letta, new_agent: NewAgent, new_block: NewBlock, scripted_model: ScriptedModel
) -> None:
    block = new_block(label="notes", value="fresh")
    agent = new_agent(block_ids=[block.id])
    response = client.agents.messages.create(agent.id, input="ECHO hello")
    assert [m.content for m in response.messages if m.message_type == "assistant_message"] == ["hello"]
    assert "fresh" in json.dumps(scripted_model.requests[0])


@pytest.mark.skipif(not FORKS, reason="servers are forked on Linux only")
def test_a_forked_server_is_a_process_of_its_own(tmp_path: Path) -> None:
    """Two at once: each has its folder, session, variables and log, takes signals, and tells its exit status."""
    homes = [tmp_path / name for name in ("one", "two")]
    keys = ["first", "second"]
    with ExitStack() as servers:
        one, two = (
            servers.enter_context(
                ServerProcess(database=f"sqlite:///{home / 'x.db'}", home=home, env={"FOLKMOOT_API_KEY": key})
            )
            for home, key in zip(homes, keys, strict=True)
        )
        for server, home, key in zip((one, two), homes, keys, strict=True):
            assert psutil.Process(server.process.pid).cwd() == str(home)
            assert os.getsid(server.process.pid) == server.process.pid
            statuses = {
                each: httpx.get(f"{server.url}/v1/agents", timeout=PATIENCE, headers=bearer(each)).status_code
                for each in keys
            }
            assert [each for each, status in statuses.items() if status == 200] == [key]
            assert server.url in server.log()
        one.kill()
        assert one.process.poll() == -signal.SIGKILL
        assert two.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            two.process.wait(0)
        assert two.stop() == 0
        assert not psutil.pid_exists(one.process.pid)


@pytest.mark.skipif(not FORKS, reason="servers are forked on Linux only")
def test_what_was_forked_ends_when_its_client_hangs_up(tmp_path: Path) -> None:
    """So that nothing is left of a worker that dies, though the process that forked it serves others."""
    client = Preloaded(preloaded().address)
    log = tmp_path / "log"
    command = ["serve", "--port", str(free_port()), "--database", f"sqlite:///{tmp_path / 'x.db'}"]
    fork = client.fork(command, folder=tmp_path, environ={"HOME": str(tmp_path)}, output=log, errors=log)
    until(lambda: "127.0.0.1" in log.read_text() if log.exists() else False)
    client.close()
    until(lambda: not psutil.pid_exists(fork.pid))


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
