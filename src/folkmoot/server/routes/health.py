"""Health: is the server there, and can it work."""

from __future__ import annotations

from fastapi import APIRouter

from folkmoot import __version__
from folkmoot.server.state import ServersStore
from folkmoot.server.wire.common import Reply

router = APIRouter(tags=["health"])


class Health(Reply):
    """The server's version and whether it is well."""

    version: str
    status: str


@router.get("/v1/health")
async def health() -> Health:
    """Say that the server is there."""
    return Health(version=__version__, status="ok")


@router.get("/v1/ready")
async def ready(store: ServersStore) -> Health:
    """Say that the server can reach its database and write to it; 503 when it cannot."""
    await store.check()
    return Health(version=__version__, status="ok")
