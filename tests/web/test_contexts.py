"""A context of the browser that another test had before is as good as new."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from support.server import ServerProcess
from web.conftest import Contexts

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

KEPT = "[document.cookie, localStorage.one, sessionStorage.one]"


def test_a_context_that_was_given_back_keeps_nothing(contexts: Contexts, server: ServerProcess) -> None:
    def opened() -> Page:
        page = context.new_page()
        page.goto("/blocks")
        return page

    options = {"locale": "fr"}
    context = contexts.lend(server.url, options)
    other = contexts.lend(server.url, options)
    page = opened()
    page.evaluate("document.cookie = localStorage.one = sessionStorage.one = 'a=b'")
    assert page.evaluate(KEPT) == ["a=b"] * 3
    contexts.take_back(context, server.url, options)
    assert contexts.lend(server.url, options) is context
    assert other is not context
    assert opened().evaluate(KEPT) == ["", None, None]
    for each in (context, other):
        each.close()
