"""A store in the test's own process, on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from folkmoot.store.engine import Store
from folkmoot.store.opening import open_store


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Store]:
    """An open store over a fresh, migrated database."""
    store = await open_store(database_url, 10.0)
    yield store
    await store.close()
