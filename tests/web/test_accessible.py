"""Every screen as axe sees it, light and dark: names, roles, order of headings, contrast."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from support.fixtures import NewAgent, NewBlock, StartServer
from support.server import ServerProcess
from web.conftest import OpenPage
from web.test_without_scripts import screens

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

ALL: dict[str, Any] = {"resultTypes": ["violations"], "selectors": False}
CONTRAST = {**ALL, "runOnly": ["color-contrast"]}


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server of the test's own: what others have made would fill its screens."""
    return start_server()


def violations(page: Page, options: dict[str, Any]) -> list[str]:
    """Return what axe, which the page has loaded, finds wrong, each with the first elements that have it."""
    return [
        f"{each['id']}: {[node['html'][:150] for node in each['nodes'][:2]]}"
        for each in page.evaluate("(options) => axe.run(options).then((results) => results.violations)", options)
    ]


BROKEN_WORDS = """() => [...document.querySelectorAll("label, button, th")].flatMap((each) => [...each.childNodes])
  .filter((each) => each.nodeType === Node.TEXT_NODE)
  .flatMap((text) => [...text.data.matchAll(/[A-Za-z]+/g)].flatMap((word) => {
    const range = document.createRange();
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    const lines = new Set([...range.getClientRects()].map((each) => Math.round(each.top)));
    return lines.size > 1 ? [`${word[0]} is broken in two`] : [];
  }))"""
"""The words of labels, buttons and heads of columns that end on another line than they begin on."""


def test_no_screen_keeps_anybody_out(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    axe = Axe().axe_script
    page = open_page("/login", color_scheme="light")  # see `test_hostile_names`
    found: dict[str, list[str]] = {}
    for name, screen in {**screens(http, new_block, new_agent), "nothing": lambda: "/blocks/nothing"}.items():
        page.emulate_media(color_scheme="light")
        page.goto(screen())
        page.evaluate(axe)
        problems = violations(page, ALL)
        page.emulate_media(color_scheme="dark")
        problems += violations(page, CONTRAST)
        problems += page.evaluate(BROKEN_WORDS)
        if problems:
            found[name] = problems
    assert found == {}
