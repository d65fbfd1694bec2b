"""Figures of this process, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from folkmoot import metrics

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def show(request: Request) -> Response:
    """Return what was counted since the process began, and how it stands."""
    workers: int = request.app.state.server.shared.settings.workers
    return Response(metrics.page(workers), media_type=metrics.CONTENT_TYPE)
