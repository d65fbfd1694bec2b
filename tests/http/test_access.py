"""Who may use a server that has an API key, and who is let in without one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from letta_client import AuthenticationError

from folkmoot.application import create_app
from folkmoot.server.authorization import METRICS
from folkmoot.server.gate import OPEN_FOLDER, OPEN_PATHS, is_open
from folkmoot.settings import Settings
from support.clients import official_client, plain_client
from support.fixtures import StartServer
from support.raw import ask_raw
from support.routes import walk
from support.server import ServerProcess

once = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

KEY = "a-key-nobody-guesses-✓"
NAMES = {
    "agent_id": "agent-00000000-0000-4000-8000-000000000000",
    "block_id": "block-00000000-0000-4000-8000-000000000000",
    "tool_id": "tool-00000000-0000-4000-8000-000000000000",
}


@pytest.fixture
def guarded(start_server: StartServer) -> ServerProcess:
    """A server with an API key. Its fixture's own health check comes without one."""
    return start_server(env={"FOLKMOOT_API_KEY": KEY})


@pytest.fixture(scope="module")
def shared_guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The same for many small questions: one for this module."""
    home = tmp_path_factory.mktemp("guarded")
    database = f"sqlite:///{home / 'folkmoot.sqlite3'}"
    with ServerProcess(database=database, home=home, env={"FOLKMOOT_API_KEY": KEY}) as server:
        yield server


@pytest.fixture
def http(shared_guarded: ServerProcess) -> Iterator[httpx.Client]:
    """A client without a key."""
    with plain_client(shared_guarded.url) as client:
        yield client


def bearer(key: str) -> dict[str, bytes]:
    return {"authorization": b"Bearer " + key.encode()}


def routes() -> list[tuple[str, str]]:
    """Return method and path of every route of the application, with identifiers filled in."""
    application: FastAPI = create_app(Settings(), {})
    found = {
        (method, re.sub(r"{(\w+)(:\w+)?}", lambda match: NAMES.get(match[1], "x"), path))
        for method, path in walk(application.routes)
    }
    paths = {path for _, path in found}
    assert len(paths) > 60
    for path in ("/openapi.json", "/docs", "/redoc", "/openai/v1/models", "/events", "/static/x", "/v1/agents/"):
        assert path in paths or path.rstrip("/") in paths
    return sorted(found)


def test_every_route_that_is_not_on_the_open_list_wants_the_key(http: httpx.Client) -> None:
    variants = [(method, path + end) for method, path in routes() for end in ("", "/")]
    for method, path in variants:
        if path.rstrip("/") in OPEN_PATHS or is_open(path) or path.rstrip("/") == METRICS:  # told on this machine
            continue
        for one in (method, "HEAD", "OPTIONS"):
            response = http.request(one, path)
            assert response.status_code == 401, (one, path)
            assert response.headers["www-authenticate"] == "Bearer"


def test_the_open_list_is_short(http: httpx.Client) -> None:
    assert sorted(OPEN_PATHS) == ["/login", "/v1/health", "/v1/ready", "/v1/tools/mcp/oauth/callback"]
    assert OPEN_FOLDER == "/static/"
    for path in OPEN_PATHS:
        assert http.get(path).status_code == (400 if path.endswith("/callback") else 200)
    for path in ("/v1/health/", "/v1/ready/", "/static/style.css"):
        assert http.get(path).status_code == 200
    for path in ("/v1/health", "/v1/ready"):
        asked = http.head(path)  # as programs that watch servers do
        assert (asked.status_code, asked.content) == (200, b"")
    wrong = bearer("wrong")
    assert http.get("/v1/health", headers=wrong).status_code == 200


def test_only_the_key_itself_is_the_key(http: httpx.Client) -> None:
    wrong = (
        bearer("wrong"),
        {"authorization": b"Bearer"},
        bearer(KEY[:-1]),
        bearer(KEY + "x"),
        {"authorization": KEY.encode()},
        {"authorization": b"Basic " + KEY.encode()},
        {"x-bare-password": b"password wrong"},
        {"x-bare-password": KEY.encode()},
        {"cookie": b"folkmoot_session=" + KEY.encode()},
    )
    for headers in wrong:
        for path in ("/v1/agents", "/openai/v1/models", "/openapi.json", "/nothing-here"):
            response = http.get(path, headers=headers)
            assert response.status_code == 401, (path, headers)
            assert "Authorization" in response.json()["detail"]


def test_the_key_may_come_in_the_older_header(http: httpx.Client) -> None:
    older = {"x-bare-password": f"password {KEY}".encode()}
    for headers in (older, {**older, **bearer("not-needed")}):
        assert http.get("/v1/agents", headers=headers).status_code == 200


def test_the_right_key_passes_every_route(http: httpx.Client) -> None:
    for method, path in routes():
        with http.stream(method, path, headers=bearer(KEY)) as response:
            assert response.status_code not in (401, 403, 421, 500), (method, path)


def test_openai_clients_are_told_in_their_own_form(http: httpx.Client) -> None:
    assert "API key" in http.get("/openai/v1/models").json()["error"]["message"]


def test_the_description_of_the_api_is_served_to_who_has_the_key(http: httpx.Client) -> None:
    assert len(http.get("/openapi.json", headers=bearer(KEY)).json()["paths"]) > 20
    for path in ("/docs", "/redoc"):
        assert http.get(path, headers=bearer(KEY)).status_code == 200
        led = http.get(path, headers={"accept": "text/html,*/*;q=0.8"})
        assert (led.status_code, led.headers["location"]) == (303, f"/login?next=%2F{path[1:]}")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/agents//",
        "//v1/agents",
        "/v1//agents",
        "/%76%31/agents",
        "/v1%2Fagents",
        "/V1/agents",
        "/v1/health/../agents",
        "/v1/health/%2e%2e/agents",
        "/v1/health%2f..%2fagents",
        "/v1/health;/../agents",
        "/v1/nothing-here",
        "/v1",
        "/v1/",
        "//openai/v1/models",
        "/openai/v1/models/",
        "/OpenAI/v1/models",
        "/openai%2Fv1/models",
        "/./openai/v1/models",
        "/login/",
        "/login/../agents",
        "/static",
        "/static/../openapi.json",
        "/static/%2e%2e/openapi.json",
        "/static/..%2fopenapi.json",
        "/static//etc/passwd",
        "http://127.0.0.1/openai/v1/models",
    ],
)
def test_no_way_of_writing_a_path_gets_round_the_key(shared_guarded: ServerProcess, path: str) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "POST"):
        status, body = ask_raw(shared_guarded, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n")
        if path.startswith("/static/"):
            assert status in (404, 405), (method, status)
        else:
            assert status == 401, (method, status)
        assert b"3.1.0" not in body
        assert b"root:" not in body


def test_a_websocket_is_no_way_in(shared_guarded: ServerProcess) -> None:
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    for path in ("/v1/agents", "/events", "/static/x"):
        status, _ = ask_raw(shared_guarded, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{upgrade}")
        assert status == 403, path


def test_the_official_client_is_refused_with_another_key(shared_guarded: ServerProcess) -> None:
    with (
        official_client(shared_guarded.url, api_key="another-key") as client,
        pytest.raises(AuthenticationError, match="API key"),
    ):
        client.agents.list()


@once
def test_the_official_client_works_with_the_key(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "plain-key"})
    with official_client(server.url, api_key="plain-key") as client:
        block = client.blocks.create(label="human", value="")
        assert client.blocks.retrieve(block.id).updated_by["name"] == "admin"  # type: ignore[attr-defined]


@once
def test_the_key_is_not_in_the_log(guarded: ServerProcess) -> None:
    for key in ("a wrong one", KEY):
        httpx.get(f"{guarded.url}/v1/agents", headers=bearer(key))
        httpx.post(f"{guarded.url}/login", data={"key": key})
    guarded.stop()
    assert KEY not in guarded.log()
    assert "a wrong one" not in guarded.log()
    assert "needed (FOLKMOOT_API_KEY)" in guarded.log()


@once
def test_a_public_server_with_a_key_starts(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "plain-key"}, args=["--host", "0.0.0.0"])
    assert httpx.get(server.url + "/v1/agents").status_code == 401


@once
def test_a_public_server_without_a_key_starts_when_it_is_said_to(start_server: StartServer) -> None:
    server = start_server(args=["--host", "0.0.0.0", "--insecure"])
    for host in ("127.0.0.1", "moot.example.org"):
        assert httpx.get(server.url + "/v1/agents", headers={"host": host}).status_code == 200
