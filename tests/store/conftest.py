"""A store in the test's own process, on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from folkmoot.store.engine import Store
from support.stores import open_default


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Store]:
    """An open store over a fresh, migrated database."""
    store = await open_default(database_url)
    yield store
    await store.close()
