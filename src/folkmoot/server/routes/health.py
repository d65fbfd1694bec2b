"""Health: is the server there, and can it work."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import Field

from folkmoot import __version__
from folkmoot.server.state import ServersStore
from folkmoot.server.wire.common import Reply

router = APIRouter(tags=["health"])


CONTRACT_VERSION = "0.16.8"
"""The level of the API that is served: clients compare it, and tell people to update the server when it is lower."""


class Health(Reply):
    """What is served and whether it is well."""

    version: str = Field(CONTRACT_VERSION, description="The level of the API that is served.")
    folkmoot: str = Field(__version__, description="Folkmoot's own version.")
    status: str = "ok"


@router.head("/v1/health", include_in_schema=False)  # what watches servers often asks for no more
@router.get("/v1/health")
async def health() -> Health:
    """Say that the server is there."""
    return Health()


class Ready(Health):
    """That the server can work, and what it can do."""

    sandbox: str = Field(description="What is enforced when code is run; what is missing, if it cannot be run.")


@router.head("/v1/ready", include_in_schema=False)
@router.get("/v1/ready")
async def ready(store: ServersStore, request: Request) -> Ready:
    """Say that the server can reach its database and write to it; 503 when it cannot."""
    await store.check()
    walls = request.app.state.server.shared.sandbox.known
    return Ready(sandbox=walls.line if walls is not None else "not tried yet")
