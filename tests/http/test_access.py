"""Who may use a server that has an API key, and who is let in without one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi.routing import APIRoute
from letta_client import AuthenticationError, Letta

from folkmoot.server.app import ROUTERS
from support.clients import PATIENCE
from support.fixtures import StartServer, one_store
from support.server import ServerProcess

KEY = "a-key-nobody-guesses-✓"
NAMES = {
    "agent_id": "agent-00000000-0000-4000-8000-000000000000",
    "block_id": "block-00000000-0000-4000-8000-000000000000",
    "tool_id": "tool-00000000-0000-4000-8000-000000000000",
}
OPEN = {"/v1/health", "/v1/ready"}


@pytest.fixture
def guarded(start_server: StartServer) -> ServerProcess:
    """A server with an API key. Its fixture's own health check comes without one."""
    return start_server(env={"FOLKMOOT_API_KEY": KEY})


@pytest.fixture
def http(guarded: ServerProcess) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=guarded.url, timeout=60) as client:
        yield client


def bearer(key: str) -> dict[str, bytes]:
    return {"authorization": b"Bearer " + key.encode()}


def routes() -> list[tuple[str, str]]:
    """Return method and path of every route, with identifiers filled in."""
    found = [
        (method, re.sub(r"{(\w+)}", lambda match: NAMES.get(match[1], "x"), route.path))
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods)
    ]
    assert len(found) > 20
    return found


@one_store
def test_every_route_but_health_wants_the_key(http: httpx.Client) -> None:
    wrong = (
        {},
        bearer("wrong"),
        {"authorization": b"Bearer"},
        bearer(KEY[:-1]),
        bearer(KEY + "x"),
        {"authorization": KEY.encode()},
    )
    for method, path in routes():
        if path in OPEN or not path.startswith("/v1"):
            continue
        for headers in wrong:
            for variant in (path, path + "/", path + "?x=1"):
                response = http.request(method, variant, headers=headers)
                assert response.status_code == 401, (method, variant, headers)
        assert response.headers["www-authenticate"] == "Bearer"
        assert "Authorization" in response.json()["detail"]


def test_the_right_key_passes_every_route(http: httpx.Client) -> None:
    for method, path in routes():
        response = http.request(method, path, headers=bearer(KEY))
        assert response.status_code not in (401, 403, 500), (method, path, response.text)


@one_store
def test_the_description_of_the_api_is_served(http: httpx.Client) -> None:
    assert len(http.get("/openapi.json", headers=bearer(KEY)).json()["paths"]) > 20
    assert http.get("/docs", headers=bearer(KEY)).status_code == 200


@one_store
def test_health_needs_no_key(http: httpx.Client) -> None:
    for path in OPEN:
        for variant in (path, path + "/"):
            assert http.get(variant).status_code == 200


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
        "/v1/nothing-here",
        "/v1",
        "/v1/",
    ],
)
@one_store
def test_no_way_of_writing_a_path_gets_round_the_key(http: httpx.Client, path: str) -> None:
    url = httpx.URL(str(http.base_url).rstrip("/")).copy_with(raw_path=path.encode())
    response = http.send(httpx.Request("GET", url))
    assert response.status_code in (401, 404), response.text
    assert not response.text.startswith("[")


@one_store
def test_the_official_client_is_refused_with_another_key(guarded: ServerProcess) -> None:
    with (
        Letta(base_url=guarded.url, api_key="another-key", max_retries=0) as client,
        pytest.raises(AuthenticationError, match="API key"),
    ):
        client.agents.list()


def test_the_official_client_works_with_the_key(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "plain-key"})
    with Letta(base_url=server.url, api_key="plain-key", max_retries=0) as client:
        block = client.blocks.create(label="human", value="")
        assert client.blocks.retrieve(block.id).updated_by["name"] == "admin"  # type: ignore[attr-defined]


@one_store
def test_the_key_is_not_in_the_log(guarded: ServerProcess, http: httpx.Client) -> None:
    http.get("/v1/agents", headers=bearer("a wrong one"))
    http.get("/v1/agents", headers=bearer(KEY))
    guarded.stop()
    assert KEY not in guarded.log()
    assert "a wrong one" not in guarded.log()
    assert "needed (FOLKMOOT_API_KEY)" in guarded.log()


@one_store
def test_a_public_server_with_a_key_starts(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": "plain-key"}, args=["--host", "0.0.0.0"])
    assert httpx.get(server.url + "/v1/agents", timeout=PATIENCE).status_code == 401


@one_store
def test_a_public_server_without_a_key_starts_when_it_is_said_to(start_server: StartServer) -> None:
    server = start_server(args=["--host", "0.0.0.0", "--insecure"])
    assert httpx.get(server.url + "/v1/agents", timeout=PATIENCE).status_code == 200
