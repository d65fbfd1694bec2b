"""What a person reads where a page is refused, is none or is over, or what was written is too large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from support.clients import official_client, plain_client
from support.fixtures import StartServer, one_store
from support.server import ServerProcess
from web.conftest import OpenPage, is_bound, is_live
from web.test_without_scripts import screens

pytestmark = one_store

KEY = "the-first-admin"
MOST = 100_000
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def guarded(start_server: StartServer) -> ServerProcess:
    """A server with a key that takes small requests."""
    return start_server(env={"FOLKMOOT_API_KEY": KEY, "FOLKMOOT_MAX_BODY": str(MOST)})


@pytest.fixture
def admin(guarded: ServerProcess) -> Iterator[httpx.Client]:
    """The API, with the first admin's key."""
    with plain_client(guarded.url, headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


def in_pieces(size: int) -> Iterator[bytes]:
    """A body whose length is not told beforehand."""
    yield b"label=a&value="
    yield b"x" * size


def test_what_is_refused_before_a_page_is_asked_is_a_page_for_people_and_json_for_programs(
    guarded: ServerProcess, admin: httpx.Client
) -> None:
    reader = admin.post("/v1/keys", json={"name": "eye", "role": "reader"}).json()["key"]
    large = {"label": "a", "value": "x" * MOST}
    role, size = "the role member", f"larger than {MOST:,} bytes"
    cases = [
        ("GET", "/nothing", {}, 404, "There is nothing at GET /nothing."),
        ("GET", "/blocks/%00", {}, 400, "NUL"),
        ("GET", "/members", {}, 403, "the role admin"),
        ("GET", "/blocks/new", {}, 403, role),
        ("POST", "/blocks/new", {"data": {"label": "a"}}, 403, role),
        ("POST", "/blocks/block-1/delete", {}, 403, role),
        ("POST", "/login", {"data": large}, 413, size),
    ]
    with plain_client(guarded.url) as visitor:
        visitor.post("/login", data={"key": reader})
        for method, path, body, status, words in cases:
            page = visitor.request(method, path, headers=BROWSER, **body)
            assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8"), path
            assert words in page.text, path
            assert "default-src 'self'" in page.headers["content-security-policy"]
            answer = visitor.request(method, path, **body)
            assert (answer.status_code, words in answer.json()["detail"]) == (status, True), path
        assert ">reads only</span>" in visitor.get("/blocks").text
        refused = visitor.post("/blocks/new", headers=BROWSER, data={"label": "a"}).text
        assert '<a class="button" href="/blocks/new">Go back</a>' in refused
        for path in ("/v1/nothing", "/static/nothing.js"):
            assert visitor.get(path, headers=BROWSER).json()["detail"] == f"There is nothing at GET {path}."
    with plain_client(guarded.url) as stranger:
        assert stranger.get("/v1/blocks", headers=BROWSER).status_code == 303


def test_a_form_that_comes_in_pieces_is_too_large_when_it_is(guarded: ServerProcess, admin: httpx.Client) -> None:
    """Its length is not told beforehand."""
    key = admin.post("/v1/keys", json={"name": "writer", "role": "member"}).json()["key"]
    with plain_client(guarded.url) as visitor:
        visitor.post("/login", data={"key": key})
        page = visitor.post("/blocks/new", headers=BROWSER, content=in_pieces(MOST))
        assert (page.status_code, page.headers["content-type"]) == (413, "text/html; charset=utf-8")
        assert f"larger than {MOST:,} bytes" in page.text
        own_bound = visitor.post("/login", headers=BROWSER, content=in_pieces(MOST))
        assert (own_bound.status_code, own_bound.headers["content-type"]) == (413, "text/html; charset=utf-8")


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    is_live(page)


def test_a_form_that_is_too_large_is_told_and_keeps_what_was_written(
    guarded: ServerProcess, open_page: OpenPage
) -> None:
    page = open_page("/login?next=/blocks/new", url=guarded.url)
    sign_in(page, KEY)
    is_bound_page(page)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.get_by_label("Label").fill("long")
    page.get_by_label("Text").fill("ö" * (MOST // 6))
    page.get_by_role("button", name="Make block").click()
    expect(page.get_by_role("alert")).to_contain_text("the server takes 100,000. Nothing was sent.")
    assert page.get_by_label("Text").input_value() == "ö" * (MOST // 6)
    assert "POST" not in sent
    page.get_by_label("Text").fill("ö")
    page.get_by_role("button", name="Make block").click()
    expect(page.locator(".line-of-text")).to_have_text("ö")
    page.goto("/agents/import")
    is_bound_page(page)
    page.get_by_label("Agent file").set_input_files({"name": "a.af", "mimeType": "", "buffer": b"x" * MOST})
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was sent.")


def test_a_reader_is_offered_nothing_that_would_be_refused(
    guarded: ServerProcess, admin: httpx.Client, open_page: OpenPage, model: str
) -> None:
    reader = admin.post("/v1/keys", json={"name": "eye", "role": "reader"}).json()["key"]
    # An empty server's first page would load itself anew, amid a visit.
    page = open_page("/blocks", url=guarded.url, extra_http_headers={"authorization": f"Bearer {reader}"})
    offered: dict[str, list[str]] = {}
    with official_client(guarded.url, api_key=KEY) as client:

        def block(**fields: Any) -> Any:
            return client.blocks.create(**{"label": f"label_{uuid4().hex}", "value": "", **fields})

        def agent(**fields: Any) -> Any:
            return client.agents.create(model=model, **fields)

        for name, screen in screens(admin, block, agent).items():
            page.goto(screen())
            if offers := page.evaluate(OFFERS):
                offered[name] = offers
    assert offered == {}


OFFERS = """() => [...document.querySelectorAll("main button, main a, main summary, main [type=file]")]
  .filter((each) => each.checkVisibility())
  .filter((each) => each.form?.method === "post" || each.dataset.opens || each.closest(".attach")
    || /(\\/new|\\/import|edit=[^&]+)$/.test(each.href ?? "") || each.name === "edit")
  .map((each) => each.outerHTML.slice(0, 120))"""
"""What a page offers to change, as far as one sees it."""


def is_bound_page(page: Page) -> None:
    """Wait until the script that every page has listens."""
    expect(page.locator("html")).to_contain_class("page-bound")


def test_a_page_whose_session_ended_in_another_tab_says_so_and_one_of_somebody_else_is_theirs(
    guarded: ServerProcess, admin: httpx.Client, open_page: OpenPage
) -> None:
    reader = admin.post("/v1/keys", json={"name": "eye", "role": "reader"}).json()
    block = admin.post("/v1/blocks", json={"label": "shared", "value": "one"}).json()["id"]
    page = open_page(f"/login?next=/blocks/{block}", url=guarded.url)
    sign_in(page, KEY)
    other = page.context.new_page()
    other.goto("/login?next=/blocks")
    is_live(other)
    other.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    sign_in(page, KEY)
    expect(page.locator(".line-of-text")).to_have_text("one")
    is_bound(page)
    page.context.clear_cookies()
    sign_in_by_request(page, reader["key"])
    admin.patch(f"/v1/blocks/{block}", json={"value": "two"}).raise_for_status()
    expect(page.locator("html")).to_have_attribute("data-whose", reader["id"])


def sign_in_by_request(page: Page, key: str) -> None:
    """Sign in as another tab would."""
    assert page.request.post("/login", form={"key": key}).ok
