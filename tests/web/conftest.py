"""A browser for the pages' tests: Debian's Chromium, driven by Playwright, one for all of them.

A test has a page of its own, or one that others had before it and that was emptied behind them (`Pages`).

Playwright's synchronous face keeps an event loop running in its thread, so no test in this folder is asynchronous, and
the browser is closed before tests of another folder run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, ViewportSize, expect, sync_playwright

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
)
WINDOW = ViewportSize(width=1280, height=720)
"""What a page has unless a test asks for another one."""
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


class Pages:
    """Pages of one server, each in a context of its own, lent to one test at a time and emptied behind it.

    A new page costs more than all that most tests do with it: a process, the styles and scripts of every page.
    """

    KEPT = 4

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[str, Page] = {}

    def lend(self, base_url: str, options: dict[str, Any]) -> Page:
        """Return a page of an empty context with these options."""
        page = self._free.pop(_named(base_url, options), None)
        return page or self._browser.new_context(base_url=base_url, **options).new_page()

    def take_back(self, page: Page, base_url: str, options: dict[str, Any]) -> None:
        """Empty a page's context, for the next test that wants the same options; who waited longest goes."""
        context = page.context
        for other in context.pages:
            if other is not page:
                other.close()
        visit(page, "/static/icon.svg")
        context.clear_cookies()
        page.evaluate("localStorage.clear(), sessionStorage.clear()")
        page.set_viewport_size(options.get("viewport", WINDOW))
        if len(self._free) == self.KEPT:
            self._free.pop(next(iter(self._free))).context.close()
        self._free[_named(base_url, options)] = page


def _named(base_url: str, options: dict[str, Any]) -> str:
    return repr([base_url, sorted(options.items())])


@pytest.fixture(scope="package")
def pages(browser: Browser) -> Pages:
    """The worker's pages; tests take `open_page`."""
    return Pages(browser)


@pytest.fixture
def open_page(browser: Browser, pages: Pages, server: ServerProcess, complaints: list[str]) -> Iterator[OpenPage]:
    """Open a page of the shared server in a browser of its own: `open_page("/", color_scheme="dark")`.

    The test fails if a script of a page failed or the security policy blocked anything. A test that listens to what
    happens on its page, or changes what it is answered, names the server (`url=server.url`): nobody has it afterwards.
    """
    listeners: dict[str, Callable[[Any], None]] = {
        "console": lambda message: _note(message, complaints),
        "pageerror": lambda error: complaints.append(str(error)),
    }
    with ExitStack() as given:

        def open_at(path: str, *, url: str | None = None, **options: Any) -> Page:
            if url is None:
                page = pages.lend(server.url, options)
                given.callback(pages.take_back, page, server.url, options)
            else:
                page = given.enter_context(browser.new_context(base_url=url, **options)).new_page()
            page.set_default_timeout(PATIENCE)
            for event, listener in listeners.items():
                page.on(event, listener)  # type: ignore[call-overload]
                given.callback(page.remove_listener, event, listener)
            page.goto(path)
            return page

        yield open_at
    assert complaints == []


def visit(page: Page, path: str, **options: Any) -> None:
    """Go to a page from one that may still be being led elsewhere, which aborts what a tab is told then."""
    while True:
        try:
            page.goto(path, **options)
        except Error as error:
            if "ERR_ABORTED" not in str(error):
                raise
        else:
            return


def is_live(page: Page) -> None:
    """Wait until the page hears what happens."""
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


def is_bound(page: Page) -> None:
    """Wait until the page's own script listens; what it shows may be seen earlier, as long as styles are missing."""
    expect(page.locator("html")).to_contain_class("own-bound")


def _note(message: ConsoleMessage, complaints: list[str]) -> None:
    # A refused request is logged by the browser itself; the page tells the person, which tests look at.
    if message.type == "error" and "Failed to load resource" not in message.text:
        complaints.append(message.text)
