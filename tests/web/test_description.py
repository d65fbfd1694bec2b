"""The API's description for people is drawn with files of this server alone, under a policy that allows no others.

The pages are given the server's description with some of its paths only, and all its types: to draw two hundred of them
keeps a browser busy for ten seconds.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Request, Route, expect

from support.server import ServerProcess
from web.conftest import OpenPage

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


PATHS = ("/v1/health", "/v1/agents/{agent_id}/messages", "/v1/blocks/{block_id}")


def shorten(route: Route) -> None:
    """Leave most paths out of the description."""
    response = route.fetch()
    described = response.json()
    described["paths"] = {path: described["paths"][path] for path in PATHS}
    route.fulfill(response=response, json=described)


@pytest.fixture
def page(open_page: OpenPage, server: ServerProcess) -> Page:
    """A page that is given a short description."""
    page = open_page("/login", url=server.url)
    page.route("**/openapi.json", shorten)
    return page


def asked_elsewhere(page: Page, server: ServerProcess) -> list[str]:
    """Return the addresses that the page will have asked other servers for."""
    elsewhere: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith((server.url, "data:", "blob:")):
            elsewhere.append(request.url)

    page.on("request", note)
    return elsewhere


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_description_is_drawn_with_nothing_from_elsewhere(page: Page, server: ServerProcess, path: str) -> None:
    elsewhere = asked_elsewhere(page, server)
    response = page.goto(path)
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert not re.search(r"unsafe|https?:|[*]", policy)
    expect(page.get_by_text("/v1/agents/{agent_id}/messages").first).to_be_attached(timeout=60_000)
    expect(page.get_by_text("Folkmoot").first).to_be_visible()
    assert elsewhere == []


def test_a_call_can_be_tried(page: Page) -> None:
    page.goto("/docs")
    health = page.locator(".opblock", has_text=re.compile(r"/v1/health"))
    health.locator(".opblock-summary").click()
    health.get_by_role("button", name="Try it out").click()
    health.get_by_role("button", name="Execute").click()
    expect(health.get_by_text('"status": "ok"').first).to_be_visible()
