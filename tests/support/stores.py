"""A store in the test's own process, as the organisation sees it that everybody has who makes no other."""

from __future__ import annotations

from folkmoot.identifiers import ORGANIZATION
from folkmoot.store.engine import Store
from folkmoot.store.opening import open_store


async def open_default(url: str, wait: float = 10.0) -> Store:
    """Migrate and open the database at `url`; work waits `wait` seconds for it."""
    return (await open_store(url, wait)).of(ORGANIZATION)
