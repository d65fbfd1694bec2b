"""Build the application: its state, its routes, what every request passes first."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from folkmoot import __version__
from folkmoot.agents.services import Services
from folkmoot.memory.authors import Author
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.lazy import LazyModels
from folkmoot.runs.turns import Turns
from folkmoot.server.errors import add_error_handlers
from folkmoot.server.gate import Gate
from folkmoot.server.routes import agents, blocks, core_memory, health, messages, models, tools
from folkmoot.server.state import ServerState
from folkmoot.settings import Settings
from folkmoot.store.opening import open_store
from folkmoot.store.sealing import Sealer

logger = logging.getLogger(__name__)

ROUTERS = (
    health.router,
    blocks.router,
    agents.router,
    agents.tags_router,
    core_memory.router,
    messages.router,
    tools.router,
    models.router,
)


def create_app(settings: Settings, environ: Mapping[str, str] | None = None) -> FastAPI:
    """Return the application; it opens its store when it starts and closes it when it stops.

    Args:
        settings: Folkmoot's own settings.
        environ: the providers' variables; `os.environ` when None.
    """
    variables = os.environ if environ is None else environ

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        async with run_server(settings, variables) as state:
            application.state.server = state
            yield

    application = FastAPI(
        title="Folkmoot", version=__version__, lifespan=lifespan, redirect_slashes=False, docs_url="/docs"
    )
    for router in ROUTERS:
        application.include_router(router)
    add_error_handlers(application)
    key = settings.api_key.get_secret_value() if settings.api_key is not None else None
    application.add_middleware(Gate, api_key=key, max_body=settings.max_body)
    return application


@asynccontextmanager
async def run_server(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[ServerState]:
    """Open everything a server works with, and close it at the end.

    Raises:
        StartupError: the database cannot be used.
    """
    store = await open_store(settings.database_url, settings.store_wait)
    lent = LazyModels(settings, environ)
    secret = settings.secret_key.get_secret_value() if settings.secret_key is not None else None
    sealer = Sealer(secret, settings.data.expanduser())
    services = Services(store, lent, settings, environ, sealer)
    turns = Turns(services)
    catalogue = Catalogue(settings, environ)
    author = Author("api", name="local" if settings.api_key is None else "admin")
    warming = asyncio.create_task(lent.warm_up())
    try:
        await turns.open(alone=settings.database_url.startswith("sqlite"))
        yield ServerState(services, turns, catalogue, author)
    finally:
        warming.cancel()
        await turns.close()
        await catalogue.aclose()
        await lent.aclose()
        await store.close()
