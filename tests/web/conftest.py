"""A browser for the pages' tests: Debian's Chromium, driven by Playwright, one for all of them and a context each.

Playwright's synchronous face keeps an event loop running in its thread, so no test in this folder is asynchronous, and
the browser is closed before tests of another folder run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from support.server import ServerProcess

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first draws without the frame of a window, which costs half as much."""
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--renderer-process-limit=1",
)
PATIENCE = 45_000
"""Milliseconds that a page may take to show what is expected."""

OpenPage: TypeAlias = Callable[..., Page]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium; its tests are skipped where it is not installed, but not in CI."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing = "Chromium is not installed; `apt-get install chromium` brings it."
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def servers_of_tools_go(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove the MCP servers that a test added to the shared server: other tests count tools."""
    http: httpx.Client | None = request.getfixturevalue("http") if "http" in request.fixturenames else None
    yield
    if http is not None:
        for each in http.get("/v1/mcp-servers").json():
            http.delete(f"/v1/mcp-servers/{each['id']}")


@pytest.fixture
def complaints() -> list[str]:
    """What browsers of this test complained about: errors in scripts, and what the security policy blocked."""
    return []


@pytest.fixture
def open_page(browser: Browser, server: ServerProcess, complaints: list[str]) -> Iterator[OpenPage]:
    """Open a page of the shared server in a browser of its own: `open_page("/", color_scheme="dark")`.

    The test fails if a script of a page failed or the security policy blocked anything.
    """
    contexts: list[BrowserContext] = []

    def open_at(path: str, *, url: str | None = None, **options: Any) -> Page:
        context = browser.new_context(base_url=url or server.url, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: _note(message, complaints))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert complaints == []


def is_live(page: Page) -> None:
    """Wait until the page hears what happens."""
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


def _note(message: ConsoleMessage, complaints: list[str]) -> None:
    # A refused request is logged by the browser itself; the page tells the person, which tests look at.
    if message.type == "error" and "Failed to load resource" not in message.text:
        complaints.append(message.text)
