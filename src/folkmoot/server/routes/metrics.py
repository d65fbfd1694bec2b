"""Figures of this process, for Prometheus."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from folkmoot import metrics
from folkmoot.errors import StoreError
from folkmoot.store.engine import Store

router = APIRouter(include_in_schema=False)

SIZE_SECONDS = 2.0
"""How long a database that is away or busy is waited for; the other figures are told without it."""


@router.get("/metrics")
async def show(request: Request) -> Response:
    """Return what was counted since the process began, and how it stands."""
    workers: int = request.app.state.server.shared.settings.workers
    page = metrics.page(workers, await _store_bytes(request.app.state.server.store))
    return Response(page, media_type=metrics.CONTENT_TYPE)


async def _store_bytes(store: Store) -> dict[metrics.Labels, float]:
    """Return what the database takes and what its disk has left, as far as that can be told."""
    try:
        async with asyncio.timeout(SIZE_SECONDS):
            found = {"used": await store.engine.size(), "free": store.engine.free()}
    except (StoreError, TimeoutError, OSError):
        return {}
    return {(kind,): size for kind, size in found.items() if size is not None}
