"""Under which names the server answers, and which pages of other origins may use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.application import create_app
from folkmoot.errors import BadRequest
from folkmoot.server.hosts import Hosts, host_name
from folkmoot.settings import Settings
from support.clients import plain_client
from support.fixtures import StartServer
from support.raw import ask_raw
from support.server import ServerProcess

once = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

APP = "http://localhost:3000"
KEY = "plain-key"

OURS = ("localhost", "LocalHost.", "moot.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]")
FOREIGN = (
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evillocalhost",
    "192.168.1.5",
    "0.0.0.0",
    "[::]",
    "[fd00::1]",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
)
MALFORMED = (
    "",
    "a b",
    "user@localhost",
    "localhost/x",
    "[::1",
    "::1",
    "localhost:port",
    "l" * 300,
    "localhost,evil",
    "[x]",
)


# -- names ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without a key that lets pages of one other origin in."""
    home = tmp_path_factory.mktemp("alone")
    database, env = f"sqlite:///{home / 'folkmoot.sqlite3'}", {"FOLKMOOT_ALLOWED_ORIGINS": f"{APP}, https://b.example/"}
    with ServerProcess(database=database, home=home, env=env) as server:
        yield server


def serves(host: str, *allowed: str, listening: str = "127.0.0.1", own: str = "127.0.0.1") -> bool:
    return Hosts(listening, allowed, any_name=False).serves(host.encode("latin-1"), own)


@pytest.mark.parametrize("port", ["", ":8283", ":"])
def test_only_names_of_this_machine_are_served(port: str) -> None:
    for host in OURS:
        assert serves(host + port), host
    for host in FOREIGN:
        assert not serves(host + port), host


def test_what_was_named_and_what_is_listened_on_is_served() -> None:
    assert serves("Moot.Example.org:1", "moot.example.org")
    assert not serves("a.moot.example.org", "moot.example.org")
    assert serves("a.b.lan", "*.lan")
    assert not serves("lan", "*.lan")
    assert not serves("evil-lan", "*.lan")
    assert serves("moot.lan", listening="moot.lan", own="192.0.2.7")
    assert serves("192.0.2.7", listening="moot.lan", own="192.0.2.7")
    assert not serves("192.0.2.8", listening="moot.lan", own="192.0.2.7")
    for everywhere in ("0.0.0.0", "::"):
        assert serves("192.0.2.8", listening=everywhere), "an address is nobody's to rebind"
        assert not serves("evil.example", listening=everywhere)


@pytest.mark.parametrize("host", MALFORMED)
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(BadRequest, match="Host header"):
        Hosts("127.0.0.1", (), any_name=True).serves(host.encode(), "127.0.0.1")


@given(st.binary(max_size=40))
def test_whatever_comes_as_host_is_told_from_ours(host: bytes) -> None:
    try:
        served = serves(host.decode("latin-1"))
    except BadRequest:
        return
    name = host_name(host)
    assert served == (name == "localhost" or name.endswith(".localhost") or name == "::1" or name.startswith("127."))


def test_a_foreign_name_reads_and_writes_nothing(alone: ServerProcess) -> None:
    evil = f"evil.example:{alone.port}"
    headers = {"host": evil, "origin": f"http://{evil}", "sec-fetch-site": "same-origin"}
    with plain_client(alone.url) as client:
        for method, path in (
            ("GET", "/v1/agents"),
            ("POST", "/v1/blocks"),
            ("GET", "/openai/v1/models"),
            ("GET", "/"),
            ("GET", "/v1/health"),
            ("GET", "/static/style.css"),
            ("GET", "/openapi.json"),
            ("OPTIONS", "/v1/agents"),
            ("GET", "/nothing"),
        ):
            response = client.request(method, path, headers=headers)
            assert response.status_code == 421, (method, path)
            assert "FOLKMOOT_ALLOWED_HOSTS" in response.json()["detail"]
            assert "evil.example" in response.json()["detail"]
        assert client.get("/v1/blocks").json() == []
        for host in OURS:
            assert client.get("/v1/agents", headers={"host": f"{host}:{alone.port}"}).status_code == 200, host


def test_a_request_names_one_host(alone: ServerProcess) -> None:
    for hosts in (
        "",
        "Host: evil.example\r\nHost: localhost\r\n",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host:\r\n",
    ):
        for version in ("1.1", "1.0"):
            assert ask_raw(alone, f"GET /v1/agents HTTP/{version}\r\n{hosts}")[0] == 400, hosts


def test_a_name_in_the_requests_first_line_does_not_count(alone: ServerProcess) -> None:
    request = "GET http://localhost/v1/agents HTTP/1.1\r\nHost: evil.example\r\n"
    assert ask_raw(alone, request)[0] == 421


@once
def test_without_a_key_a_list_of_names_holds_for_a_public_server_too(start_server: StartServer) -> None:
    server = start_server(
        args=["--host", "0.0.0.0", "--insecure"], env={"FOLKMOOT_ALLOWED_HOSTS": "moot.example.org, *.lan"}
    )
    expected = {"moot.example.org": 200, "a.lan": 200, "localhost": 200, "10.1.2.3": 200, "evil.example": 421}
    for host, status in expected.items():
        assert httpx.get(f"{server.url}/v1/agents", headers={"host": host}).status_code == status, host


@once
def test_who_has_the_key_may_call_the_server_what_he_likes(start_server: StartServer) -> None:
    server = start_server(args=["--host", "0.0.0.0"], env={"FOLKMOOT_API_KEY": KEY})
    key = {"authorization": f"Bearer {KEY}"}
    for path in ("/v1/agents", "/v1/health", "/"):
        assert httpx.get(server.url + path, headers={"host": "moot.lan", **key}).status_code == 200
        assert httpx.get(server.url + path, headers={"host": "moot.lan"}).status_code == 421


# -- pages of other origins ----------------------------------------------------------------------------------


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    """Return what a browser sends for the TypeScript client's request."""
    return {
        "origin": origin,
        "sec-fetch-site": "cross-site",
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,x-stainless-lang,x-stainless-retry-count",
    }


def allowed(response: httpx.Response) -> str | None:
    """Return the origin whose pages may read a response; cookies never count."""
    assert "access-control-allow-credentials" not in response.headers
    return response.headers.get("access-control-allow-origin")


def test_pages_of_the_origins_named_use_the_api_and_others_do_not(alone: ServerProcess) -> None:
    with plain_client(alone.url) as client:
        for origin in (APP, "https://b.example"):
            for method in ("POST", "PATCH", "DELETE", "PUT"):
                response = client.options("/v1/agents", headers=preflight(origin, method))
                assert (response.status_code, allowed(response)) == (200, origin)
                assert "x-stainless-lang" in response.headers["access-control-allow-headers"]
            sent = {"origin": origin, "sec-fetch-site": "same-site"}
            response = client.post("/v1/blocks", json={"label": "a", "value": "b"}, headers=sent)
            assert (response.status_code, allowed(response)) == (200, origin)
            assert "etag" in response.headers["access-control-expose-headers"].lower()
        for origin in ("http://localhost:3001", "https://localhost:3000", "null", "http://evil.example", f"{APP}.evil"):
            assert allowed(client.options("/v1/agents", headers=preflight(origin))) is None
            assert allowed(client.get("/v1/agents", headers={"origin": origin})) is None
            response = client.post("/v1/blocks", json={"label": "a", "value": "b"}, headers={"origin": origin})
            assert (response.status_code, allowed(response)) == (403, None)


def test_errors_can_be_read_by_the_pages_too(alone: ServerProcess) -> None:
    with plain_client(alone.url, headers={"origin": APP}) as client:
        for response, status in (
            (client.get("/v1/agents/x"), 422),
            (client.get("/v1/nothing"), 404),
            (client.get("/v1/agents", headers={"host": "evil.example"}), 421),
            (client.get("/v1/agents", headers={"host": "a b"}), 400),
        ):
            assert (response.status_code, allowed(response)) == (status, APP)


async def test_so_can_an_unexpected_one() -> None:
    application = create_app(Settings(allowed_origins=APP), {})  # type: ignore[arg-type]

    async def fail() -> None:
        raise RuntimeError("not expected")

    application.router.routes.clear()
    application.add_api_route("/v1/health", fail)
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.get("/v1/health", headers={"origin": APP})
    assert (response.status_code, allowed(response)) == (500, APP)


async def test_all_origins_are_let_in_without_their_cookies() -> None:
    application = create_app(Settings(allowed_origins="*", api_key=KEY), {})  # type: ignore[arg-type]
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for response in (
            await client.get("/v1/health", headers={"origin": APP, "cookie": "folkmoot_session=x"}),
            await client.options("/v1/agents", headers=preflight(APP)),
        ):
            assert (response.status_code, allowed(response)) == (200, "*")


@once
def test_with_a_key_a_page_needs_it_and_a_session_does_not_do(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_API_KEY": KEY, "FOLKMOOT_ALLOWED_ORIGINS": APP})
    page: Mapping[str, str] = {"origin": APP, "sec-fetch-site": "same-site"}
    with plain_client(server.url) as client:
        assert client.options("/v1/agents", headers=preflight(APP)).status_code == 200
        response = client.get("/v1/agents", headers=page)
        assert (response.status_code, allowed(response)) == (401, APP)

        assert client.post("/login", data={"key": KEY}).status_code == 303
        body = {"label": "a", "value": "b"}
        response = client.post("/v1/blocks", json=body, headers=page)
        assert (response.status_code, allowed(response)) == (403, APP)
        response = client.post("/v1/blocks", json=body, headers={**page, "authorization": f"Bearer {KEY}"})
        assert (response.status_code, allowed(response)) == (200, APP)
