"""Every screen as axe sees it, light and dark: names, roles, order of headings, contrast."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from support.fixtures import NewAgent, NewBlock, StartServer
from support.server import ServerProcess
from web.conftest import OpenPage
from web.test_without_scripts import screens

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

CONTRAST = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server of the test's own: what others have made would fill its screens."""
    return start_server()


def told(results: Any) -> list[str]:
    """Return what axe found wrong, each with the first elements that have it."""
    violations = results.response["violations"]
    return [f"{each['id']}: {[node['html'][:150] for node in each['nodes'][:2]]}" for each in violations]


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
    axe = Axe()
    page = open_page("/", color_scheme="light")
    found: dict[str, list[str]] = {}
    for name, screen in {**screens(http, new_block, new_agent), "nothing": lambda: "/blocks/nothing"}.items():
        page.emulate_media(color_scheme="light")
        page.goto(screen())
        problems = told(axe.run(page))
        page.emulate_media(color_scheme="dark")
        problems += told(axe.run(page, options=CONTRAST))
        problems += page.evaluate(BROKEN_WORDS)
        if problems:
            found[name] = problems
    assert found == {}
