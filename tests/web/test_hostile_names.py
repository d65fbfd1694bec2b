"""Every screen with names that no page expects: long ones, long words, right-to-left, markup; narrow and wide."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from support.fixtures import NewAgent, NewBlock, StartServer
from support.server import ServerProcess
from web.conftest import OpenPage
from web.test_without_scripts import screens

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

HOSTILE = f"{'W' * 70}_שלום_עולם_{'م' * 20}_<b>&amp;_\u202eolleh\u202c_ein langer Name "
WIDTHS = (390, 820, 2560)


@pytest.fixture
def server(start_server: StartServer) -> ServerProcess:
    """A server of the test's own: what others have made would fill its screens."""
    return start_server()


def test_no_name_is_too_wide_for_a_screen(
    open_page: OpenPage, http: httpx.Client, new_block: NewBlock, new_agent: NewAgent
) -> None:
    def block(**fields: Any) -> Any:
        hostile = {"label": f"{HOSTILE}{uuid4().hex}", "description": HOSTILE, "tags": [HOSTILE.strip()]}
        return new_block(**{**hostile, **fields})

    def agent(**fields: Any) -> Any:
        return new_agent(name=f"{HOSTILE}{uuid4().hex[:8]}", description=HOSTILE, tags=[HOSTILE.strip()], **fields)

    page = open_page("/login")  # the first page of an empty server would load itself anew, amid the next visit
    walked = screens(http, block, agent, HOSTILE.strip())
    too_wide: dict[str, dict[int, list[str]]] = {}
    for name, screen in {**walked, "searched": lambda: f"/search?q={'W' * 90}"}.items():
        page.goto(screen())
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            if over := page.evaluate(TOO_WIDE):
                too_wide.setdefault(name, {})[width] = over
    assert too_wide == {}


TOO_WIDE = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  return [...document.querySelectorAll("main *, header *")]
    .filter((each) => each.getBoundingClientRect().right > root.clientWidth + 1 && !each.closest("pre, nav, .table"))
    .concat(root).map((each) => each.cloneNode().outerHTML.slice(0, 120)).slice(0, 4);
}"""
"""What sticks out of a page that is wider than its window."""
