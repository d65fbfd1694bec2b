"""A page of the browser that another test had before is as good as new."""

from __future__ import annotations

import pytest

from support.server import ServerProcess
from web.conftest import WINDOW, Pages

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

KEPT = "[document.cookie, localStorage.one, sessionStorage.one]"


def test_a_page_that_was_given_back_keeps_nothing(pages: Pages, server: ServerProcess) -> None:
    options = {"locale": "fr"}
    page = pages.lend(server.url, options)
    other = pages.lend(server.url, options)
    page.goto("/blocks")
    page.evaluate("document.cookie = localStorage.one = sessionStorage.one = 'a=b'")
    assert page.evaluate(KEPT) == ["a=b"] * 3
    page.set_viewport_size({"width": 390, "height": 700})
    page.context.new_page().goto("/agents")
    pages.take_back(page, server.url, options)
    assert pages.lend(server.url, options) is page
    assert other is not page
    page.goto("/blocks")
    assert page.evaluate(KEPT) == ["", None, None]
    assert page.viewport_size == WINDOW
    assert page.context.pages == [page]
    for each in (page, other):
        each.context.close()
