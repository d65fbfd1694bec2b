"""Every screen with names that no page expects: axe finds nothing, light and dark, and nothing is too wide.

The names are long, of long words, from right to left, with markup in them.
"""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from support.fixtures import NewAgent, NewBlock, StartServer
from support.server import ServerProcess
from web.conftest import WINDOW, OpenPage
from web.test_without_scripts import screens

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

HOSTILE = f"{'W' * 70}_שלום_עולם_{'م' * 20}_<b>&amp;_\u202eolleh\u202c_ein langer Name "
WIDTHS = (390, 820, 2560)

ALL: dict[str, Any] = {"resultTypes": ["violations"], "selectors": False}
CONTRAST = {**ALL, "runOnly": ["color-contrast"]}


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server of the test's own: what others have made would fill its screens."""
    return start_server()


def test_no_screen_keeps_anybody_out_or_is_too_wide(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    def block(**fields: Any) -> Any:
        hostile = {"label": f"{HOSTILE}{uuid4().hex}", "description": HOSTILE, "tags": [HOSTILE.strip()]}
        return new_block(**{**hostile, **fields})

    def agent(**fields: Any) -> Any:
        return new_agent(name=f"{HOSTILE}{uuid4().hex[:8]}", description=HOSTILE, tags=[HOSTILE.strip()], **fields)

    axe = Axe().axe_script
    page = open_page(
        "/login", color_scheme="light"
    )  # an empty server's first page would load itself anew, amid a visit
    walked = {
        **screens(http, block, agent, HOSTILE.strip()),
        "nothing": lambda: "/blocks/nothing",
        "searched": lambda: f"/search?q={'W' * 90}",
    }
    found: dict[str, list[str]] = {}
    for name, screen in walked.items():
        page.emulate_media(color_scheme="light")
        page.goto(screen())
        page.evaluate(axe)
        problems = violations(page, ALL)
        page.emulate_media(color_scheme="dark")
        problems += violations(page, CONTRAST)
        problems += page.evaluate(BROKEN_WORDS)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            problems += [f"too wide at {width}: {each}" for each in page.evaluate(TOO_WIDE)]
        page.set_viewport_size(WINDOW)
        if problems:
            found[name] = problems
    assert found == {}


def violations(page: Page, options: dict[str, Any]) -> list[str]:
    """Return what axe, which the page has loaded, finds wrong, each with the first elements that have it."""
    return [
        f"{each['id']}: {[node['html'][:150] for node in each['nodes'][:2]]}"
        for each in page.evaluate("(options) => axe.run(options).then((results) => results.violations)", options)
    ]


BROKEN_WORDS = """() => [...document.querySelectorAll("label, button, th")].flatMap((each) => [...each.childNodes])
  .filter((each) => each.nodeType === Node.TEXT_NODE && !each.data.includes("WWW"))
  .flatMap((text) => [...text.data.matchAll(/[A-Za-z]+/g)].flatMap((word) => {
    const range = document.createRange();
    range.setStart(text, word.index);
    range.setEnd(text, word.index + word[0].length);
    const lines = new Set([...range.getClientRects()].map((each) => Math.round(each.top)));
    return lines.size > 1 ? [`${word[0]} is broken in two`] : [];
  }))"""
"""The words of labels, buttons and heads of columns that end on another line than they begin on; not hostile ones."""

TOO_WIDE = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  return [...document.querySelectorAll("main *, header *")]
    .filter((each) => each.getBoundingClientRect().right > root.clientWidth + 1 && !each.closest("pre, nav, .table"))
    .concat(root).map((each) => each.cloneNode().outerHTML.slice(0, 120)).slice(0, 4);
}"""
"""What sticks out of a page that is wider than its window."""
