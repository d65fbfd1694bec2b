"""Signing in, and what a page of another site may not do through its visitor's browser."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from folkmoot.web.attempts import PER_ADDRESS, SECONDS
from support.clients import plain_client
from support.fixtures import NewBlock, StartServer
from support.server import ServerProcess

once = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

PAGE = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
"""What a browser accepts when a person opens a page or sends a form."""

KEY = "a-key-nobody-guesses-✓"


@pytest.fixture
def guarded(start_server: StartServer) -> ServerProcess:
    """A server with an API key."""
    return start_server(env={"FOLKMOOT_API_KEY": KEY})


@pytest.fixture
def visitor(guarded: ServerProcess) -> Iterator[httpx.Client]:
    """A browser without a session."""
    with plain_client(guarded.url) as client:
        yield client


@once
def test_the_key_is_asked_for_once(visitor: httpx.Client) -> None:
    for path in ("/", "/blocks", "/blocks/new", "/agents", "/runs?status=failed", "/blocks/x", "/docs", "/nothing"):
        assert visitor.get(path).status_code == 401, path
        response = visitor.get(path, headers=PAGE)
        assert response.status_code == 303, path
        assert response.headers["location"].startswith("/login?next=%2F"), path
    assert (
        visitor.get("/runs?status=failed", headers=PAGE).headers["location"] == "/login?next=%2Fruns%3Fstatus%3Dfailed"
    )
    assert visitor.get("/agents", headers={"hx-request": "true"}).headers["hx-redirect"] == "/login?next=%2Fagents"
    assert visitor.get("/events", headers={"accept": "text/event-stream"}).status_code == 401
    assert visitor.post("/blocks/new", headers={"hx-request": "true"}).status_code == 401, "what was written stays"
    assert visitor.post("/logout", headers=PAGE).headers["location"] == "/login?next=%2F&ended=true"
    assert visitor.post("/start").status_code == 401
    for path in ("/blocks/new", "/blocks/x", "/blocks/x/delete", "/agents/x", "/agents/x/messages", "/runs/x/cancel"):
        assert visitor.post(path, data={"label": "a"}).status_code == 401, path

    lapsed = visitor.post("/blocks/x/delete", headers={"accept": "text/html"})
    assert (lapsed.status_code, lapsed.headers["location"]) == (303, "/login?next=%2Fblocks%2Fx&ended=true")
    asked = visitor.get(lapsed.headers["location"])
    assert "Sign in, then do it again." in asked.text
    assert 'name="next" value="/blocks/x"' in asked.text

    wrong = visitor.post("/login", data={"key": "wrong", "next": "/runs"})
    assert wrong.status_code == 401
    assert "not the server&#39;s API key" in wrong.text
    assert "set-cookie" not in wrong.headers

    right = visitor.post("/login", data={"key": KEY, "next": "/runs"})
    assert (right.status_code, right.headers["location"]) == (303, "/runs")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie, "the server does not speak TLS"
    assert "a-key" not in cookie

    assert visitor.get("/runs").status_code == 200
    assert visitor.get("/session").status_code == 204
    assert visitor.get("/v1/blocks").status_code == 200, "the page's own scripts ask the API"
    assert visitor.get("/v1/blocks", headers={"authorization": "Bearer wrong"}).status_code == 200

    assert visitor.post("/logout").status_code == 303
    assert visitor.get("/v1/blocks").status_code == 401


@once
def test_signing_in_leads_nowhere_else(visitor: httpx.Client) -> None:
    for address in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        response = visitor.post("/login", data={"key": KEY, "next": address})
        assert response.headers["location"] == "/", address


@once
def test_what_needs_no_session_stays_open(visitor: httpx.Client) -> None:
    assert visitor.get("/login").status_code == 200
    assert visitor.get("/static/style.css").status_code == 200
    assert visitor.get("/v1/health/").status_code == 200


@once
def test_a_cookie_that_was_changed_opens_nothing(visitor: httpx.Client) -> None:
    visitor.post("/login", data={"key": KEY})
    session, _, mac = visitor.cookies["folkmoot_session"].partition(".")
    visitor.cookies.clear()
    for value in (f"{session[:-1]}.{mac}", f"{session}.{mac[:-1]}", f"{session}.", session, "", ".", f"{session}.✓"):
        headers = {"cookie": f"folkmoot_session={value}".encode()}
        assert visitor.get("/v1/blocks", headers=headers).status_code == 401, value


@once
def test_cookies_of_other_programs_on_the_same_host_do_not_end_a_session(visitor: httpx.Client) -> None:
    visitor.post("/login", data={"key": KEY})
    session = visitor.cookies["folkmoot_session"]
    visitor.cookies.clear()
    for others in ("(a)/b=1; {}", "{}; folkmoot_session_2=x", 'c="; {}', "=; ;{};"):
        headers = {"cookie": others.format(f"folkmoot_session={session}")}
        assert visitor.get("/v1/blocks", headers=headers).status_code == 200, others


ELSEWHERE = (
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://["},
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9"},
)


@once
@pytest.mark.parametrize("headers", ELSEWHERE)
def test_a_page_of_another_site_changes_nothing(
    http: httpx.Client, new_block: NewBlock, headers: dict[str, str]
) -> None:
    block = new_block(value="before")
    for method, path, body in (
        ("POST", "/blocks/new", None),
        ("POST", "/start", None),
        ("POST", f"/blocks/{block.id}", None),
        ("POST", f"/blocks/{block.id}/delete", None),
        ("POST", "/agents/x/messages", None),
        ("POST", f"/v1/blocks/{block.id}/revert", {"version": 1}),
        ("PATCH", f"/v1/blocks/{block.id}", {"value": "after"}),
        ("DELETE", f"/v1/blocks/{block.id}", None),
    ):
        response = http.request(method, path, headers=headers, json=body)
        assert response.status_code == 403, (method, path)
        assert "another site" in response.json()["detail"]
    assert http.get(f"/v1/blocks/{block.id}").json()["value"] == "before"
    assert http.get(f"/v1/blocks/{block.id}", headers=headers).status_code == 200


@once
def test_a_session_does_not_help_a_page_of_another_site(guarded: ServerProcess, visitor: httpx.Client) -> None:
    visitor.post("/login", data={"key": KEY})
    fields = {"label": "a", "value": "b"}
    assert visitor.post("/v1/blocks", json=fields, headers={"origin": "https://evil.example"}).status_code == 403
    assert visitor.post("/v1/blocks", json=fields, headers={"origin": guarded.url}).status_code == 200
    bearer = {"authorization": f"Bearer {KEY}".encode(), "origin": b"https://other.example"}
    assert visitor.post("/v1/blocks", json=fields, headers=bearer).status_code == 200, "who has the key may"


def test_signing_out_ends_the_session_everywhere_and_for_good(
    guarded: ServerProcess, visitor: httpx.Client, start_server: StartServer, store: str
) -> None:
    visitor.post("/login", data={"key": KEY})
    stolen = {"cookie": f"folkmoot_session={visitor.cookies['folkmoot_session']}"}
    assert httpx.get(f"{guarded.url}/v1/agents", headers=stolen).status_code == 200
    second = guarded.url
    if store == "postgres":
        second = start_server(env={"FOLKMOOT_API_KEY": KEY}).url
        assert httpx.get(f"{second}/v1/agents", headers=stolen).status_code == 200, "one session for all processes"
    assert visitor.post("/logout").headers["location"] == "/login"
    for url in (guarded.url, second):
        assert httpx.get(f"{url}/v1/agents", headers=stolen).status_code == 401
    guarded.restart()
    assert httpx.get(f"{guarded.url}/v1/agents", headers=stolen).status_code == 401


@once
def test_signing_out_ends_what_is_being_read(visitor: httpx.Client, guarded: ServerProcess) -> None:
    visitor.post("/login", data={"key": KEY})
    with visitor.stream("GET", "/events") as stream:
        pieces = stream.iter_bytes()
        next(pieces)
        httpx.post(f"{guarded.url}/logout", cookies=dict(visitor.cookies))
        for piece in pieces:
            assert b"heartbeat" not in piece, "it goes on"


@once
def test_guessing_the_key_is_slow_and_is_logged(guarded: ServerProcess, visitor: httpx.Client) -> None:
    for _ in range(PER_ADDRESS):
        assert visitor.post("/login", data={"key": "a guess"}).status_code == 401
    refused = visitor.post("/login", data={"key": KEY})
    assert (refused.status_code, "set-cookie" in refused.headers) == (429, False)
    assert 0 < int(refused.headers["retry-after"]) <= SECONDS
    assert "Too many sign-ins" in refused.text
    assert visitor.get("/v1/agents", headers={"authorization": f"Bearer {KEY}".encode()}).status_code == 200
    log = guarded.log()
    assert log.count("A sign-in from '127.0.0.1' failed") == PER_ADDRESS
    assert "was not looked at" in log
    assert "a guess" not in log
    assert KEY not in log


@once
def test_a_proxy_is_believed_only_where_it_is_trusted(start_server: StartServer) -> None:
    headers = {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.7"}
    for trusted, secure, address in (("10.0.0.0/8", False, "127.0.0.1"), ("10.0.0.0/8,127.0.0.1", True, "192.0.2.7")):
        server = start_server(env={"FOLKMOOT_API_KEY": KEY, "FOLKMOOT_TRUSTED_PROXIES": trusted})
        response = httpx.post(f"{server.url}/login", data={"key": KEY}, headers=headers)
        assert ("Secure" in response.headers["set-cookie"]) is secure
        assert f"signed in from '{address}'" in server.log()
        server.stop()


def test_a_sign_in_is_a_small_form(visitor: httpx.Client) -> None:
    """Anybody may send one: a form of ten megabytes of escapes took 700 MB and seconds to read."""
    response = visitor.post("/login", data={"key": KEY + " " * 30_000, "next": "/"})
    assert response.status_code == 413
    assert "20,000 bytes" in response.text
