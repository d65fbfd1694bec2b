"""Build the application: its state, its routes, what every request passes first."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from folkmoot import __version__
from folkmoot.agents.services import Services
from folkmoot.errors import FolkmootError, NotFound
from folkmoot.memory.authors import Author
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.providers import OFFLINE, default_model, resolve
from folkmoot.models.requests import ModelClient
from folkmoot.runs.service import RunService
from folkmoot.server.errors import add_error_handlers
from folkmoot.server.gate import Gate
from folkmoot.server.routes import (
    agents,
    all_messages,
    blocks,
    chat_completions,
    context,
    conversations,
    core_memory,
    health,
    history,
    messages,
    models,
    runs,
    steps,
    tools,
)
from folkmoot.server.state import ServerState
from folkmoot.settings import Settings, read_environ
from folkmoot.store.opening import open_store
from folkmoot.store.sealing import Sealer
from folkmoot.web.pages import add_pages
from folkmoot.web.session import Sessions

logger = logging.getLogger(__name__)

ROUTERS = (
    health.router,
    blocks.router,
    history.router,
    history.agent_router,
    agents.router,
    agents.tags_router,
    core_memory.router,
    all_messages.agents_router,
    messages.router,
    conversations.router,
    context.router,
    all_messages.router,
    chat_completions.router,
    runs.router,
    steps.router,
    tools.router,
    models.router,
)


def create_app(settings: Settings, environ: Mapping[str, str] | None = None) -> FastAPI:
    """Return the application; it opens its store when it starts and closes it when it stops.

    Args:
        settings: Folkmoot's own settings.
        environ: the providers' variables; the environment's and the `.env` file's when None.
    """
    variables = read_environ() if environ is None else environ

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
    sessions = Sessions(settings.api_key.get_secret_value() if settings.api_key is not None else None)
    add_pages(application, sessions)
    add_error_handlers(application)
    application.add_middleware(Gate, sessions=sessions, max_body=settings.max_body)
    return application


@asynccontextmanager
async def run_server(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[ServerState]:
    """Open everything a server works with, and close it at the end.

    Raises:
        StartupError: the database cannot be used.
    """
    store = await open_store(settings.database_url, settings.store_wait)
    client = ModelClient(settings, environ)
    secret = settings.secret_key.get_secret_value() if settings.secret_key is not None else None
    sealer = Sealer(secret, settings.data.expanduser())
    catalogue = Catalogue(settings, environ)

    def context_window(handle: str) -> int:
        try:
            return catalogue.known_context_window(resolve(handle, environ))
        except NotFound:
            return settings.context_window

    services = Services(store, client, settings, environ, sealer, context_window)
    runs_service = RunService(services)
    author = Author("api", name="local" if settings.api_key is None else "admin")
    warming = asyncio.create_task(_warm_up(client, settings, environ))
    try:
        await runs_service.open(alone=settings.database_url.startswith("sqlite"))
        yield ServerState(services, runs_service, catalogue, author)
    finally:
        warming.cancel()
        await runs_service.close()
        await catalogue.aclose()
        await client.aclose()
        await store.close()


async def _warm_up(client: ModelClient, settings: Settings, environ: Mapping[str, str]) -> None:
    """Load the default model's packages, which take a second, so that the first turn need not wait for them."""
    handle = default_model(settings, environ)
    if handle is None or handle.startswith(f"{OFFLINE.name}/"):
        return
    try:
        await client.prepare(handle)
        gc.freeze()  # the packages stay; searching their quarter of a million objects for garbage takes 0.15 s
    except FolkmootError as error:
        logger.warning("The default model cannot be used: %s", error.message)
