"""The fixtures of the tools' tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.fake_http import FakeHttp

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def fake() -> Iterator[FakeHttp]:
    """A fresh HTTP server that stands in for Exa or SearXNG."""
    with FakeHttp() as server:
        yield server
