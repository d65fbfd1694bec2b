"""A store, and workers in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from folkmoot.jobs.kinds import JobKind
from folkmoot.jobs.worker import JobWorker
from folkmoot.store.engine import Store
from support.stores import open_default


@pytest.fixture
async def opened(database_url: str) -> AsyncIterator[Store]:
    """An open store over a fresh, migrated database."""
    store = await open_default(database_url)
    yield store
    await store.close()


@pytest.fixture
async def working(opened: Store) -> AsyncIterator[Callable[[JobKind], Awaitable[JobWorker]]]:
    """What starts a worker for a kind; it stops with the test."""
    async with AsyncExitStack() as stack:

        async def start(kind: JobKind) -> JobWorker:
            worker = JobWorker(opened, {kind.name: kind}, 3600)
            await worker.open(alone=False)
            stack.push_async_callback(worker.close)
            return worker

        yield start
