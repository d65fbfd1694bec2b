"""Signing in, and what a page of another site may not do through its visitor's browser."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.fixtures import NewBlock, StartServer
from support.server import ServerProcess

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

KEY = "a-key-nobody-guesses-✓"


@pytest.fixture
def guarded(start_server: StartServer) -> ServerProcess:
    """A server with an API key."""
    return start_server(env={"FOLKMOOT_API_KEY": KEY})


@pytest.fixture
def visitor(guarded: ServerProcess) -> Iterator[httpx.Client]:
    """A browser without a session."""
    with httpx.Client(base_url=guarded.url, timeout=60) as client:
        yield client


def test_the_key_is_asked_for_once(visitor: httpx.Client) -> None:
    for path in ("/", "/blocks", "/blocks/new", "/agents", "/runs?status=failed", "/blocks/x"):
        response = visitor.get(path)
        assert response.status_code == 303, path
        assert response.headers["location"].startswith("/login?next=%2F"), path
    assert visitor.get("/events").status_code == 303
    assert visitor.post("/start").status_code == 401
    for path in ("/blocks/new", "/blocks/x", "/blocks/x/delete", "/agents/x", "/agents/x/messages", "/runs/x/cancel"):
        assert visitor.post(path, data={"label": "a"}).status_code == 401, path

    lapsed = visitor.post("/blocks/x/delete", headers={"accept": "text/html"})
    assert lapsed.status_code == 401
    assert "Sign in, then do it again." in lapsed.text
    assert 'name="next" value="/blocks/x"' in lapsed.text

    wrong = visitor.post("/login", data={"key": "wrong", "next": "/runs"})
    assert wrong.status_code == 401
    assert "not the server&#39;s API key" in wrong.text
    assert "set-cookie" not in wrong.headers

    right = visitor.post("/login", data={"key": KEY, "next": "/runs"})
    assert (right.status_code, right.headers["location"]) == (303, "/runs")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "a-key" not in cookie

    assert visitor.get("/runs").status_code == 200
    assert visitor.get("/session").status_code == 204
    assert visitor.get("/v1/blocks").status_code == 200, "the page's own scripts ask the API"
    assert visitor.get("/v1/blocks", headers={"authorization": "Bearer wrong"}).status_code == 200

    assert visitor.post("/logout").status_code == 303
    assert visitor.get("/v1/blocks").status_code == 401


def test_signing_in_leads_nowhere_else(visitor: httpx.Client) -> None:
    for address in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        response = visitor.post("/login", data={"key": KEY, "next": address})
        assert response.headers["location"] == "/", address


def test_what_needs_no_session_stays_open(visitor: httpx.Client) -> None:
    assert visitor.get("/login").status_code == 200
    assert visitor.get("/static/style.css").status_code == 200
    assert visitor.get("/v1/health/").status_code == 200


def test_a_cookie_that_was_changed_opens_nothing(visitor: httpx.Client) -> None:
    visitor.post("/login", data={"key": KEY})
    end, _, mac = visitor.cookies["folkmoot_session"].partition(".")
    visitor.cookies.clear()
    for value in (f"{int(end) + 1}.{mac}", f"{end}.{mac[:-1]}", f"{end}.", "", ".", "9999999999.00", f"{end}.✓"):
        headers = {"cookie": f"folkmoot_session={value}".encode()}
        assert visitor.get("/v1/blocks", headers=headers).status_code == 401, value


ELSEWHERE = (
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9"},
)


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


def test_a_session_does_not_help_a_page_of_another_site(guarded: ServerProcess, visitor: httpx.Client) -> None:
    visitor.post("/login", data={"key": KEY})
    fields = {"label": "a", "value": "b"}
    assert visitor.post("/v1/blocks", json=fields, headers={"origin": "https://evil.example"}).status_code == 403
    assert visitor.post("/v1/blocks", json=fields, headers={"origin": guarded.url}).status_code == 200
    bearer = {"authorization": f"Bearer {KEY}".encode(), "origin": b"https://other.example"}
    assert visitor.post("/v1/blocks", json=fields, headers=bearer).status_code == 200, "who has the key may"
