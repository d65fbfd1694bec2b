"""The application, put together: routes and pages, what they work with, what every request passes first."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from folkmoot import __version__, tracing
from folkmoot.access.authentication import Authentication
from folkmoot.access.organizations import list_organizations
from folkmoot.access.principals import ADMIN, LOCAL
from folkmoot.agents.ephemeral import ephemeral_kind
from folkmoot.agents.services import Services
from folkmoot.agents.trace_keeping import TraceKeeping
from folkmoot.archives.embedding import embed_kind
from folkmoot.errors import FolkmootError, InvalidInput, StartupError
from folkmoot.files.embedding import FileEmbedder
from folkmoot.files.reading import FileReader
from folkmoot.groups.consolidation import consolidation_kind
from folkmoot.groups.turn_ends import after_turn
from folkmoot.jobs.kinds import JobKind
from folkmoot.jobs.worker import JobWorker
from folkmoot.mcp_server.endpoint import PATH, Door
from folkmoot.metrics import LEASES, READERS, RUNS
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.directory import Directory
from folkmoot.models.embeddings import EmbeddingClient
from folkmoot.models.providers import OFFLINE, default_model
from folkmoot.models.requests import ModelClient
from folkmoot.runs.batches import batch_kind, callback_kind
from folkmoot.runs.supervisor import RunSupervisor
from folkmoot.sandbox.calls import read_limits
from folkmoot.sandbox.environments import Environments
from folkmoot.sandbox.installer import Installer
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.schedules.starter import ScheduleStarter
from folkmoot.server.compression import Compression
from folkmoot.server.dependencies import give_directly
from folkmoot.server.description import description
from folkmoot.server.errors import PROBLEMS, add_error_handlers
from folkmoot.server.event_stream import readers
from folkmoot.server.gate import Gate
from folkmoot.server.hosts import Hosts
from folkmoot.server.routes import (
    administration,
    agent_files,
    agent_folders,
    agent_mcp_servers,
    agent_search,
    agents,
    all_messages,
    archival_memory,
    archives,
    backup,
    batches,
    blocks,
    capturing,
    chat_completions,
    context,
    conversation_items,
    conversations,
    core_memory,
    elsewhere,
    embeddings,
    folders,
    group_messages,
    groups,
    health,
    history,
    identities,
    jobs,
    keys,
    mcp_connect,
    mcp_servers,
    memory_files,
    messages,
    metrics,
    models,
    old_mcp_servers,
    organizations,
    projects,
    providers,
    responses,
    runs,
    sandbox_configs,
    schedules,
    standing_approvals,
    steps,
    templates,
    tokens,
    tool_runs,
    tools,
)
from folkmoot.server.routing import RoutesByShape
from folkmoot.server.state import ServerState
from folkmoot.server.uploads import AROUND_FILE
from folkmoot.settings import ENV_FILE, Settings, read_environ
from folkmoot.store.engine import Store
from folkmoot.store.files import close_data_folder
from folkmoot.store.migrate import copies_beside
from folkmoot.store.opening import SqliteAddress, open_store, read_address
from folkmoot.store.sealing import Sealer
from folkmoot.templates.migrating import migrate_kind
from folkmoot.tools.custom.custom_tool import CustomTool
from folkmoot.tools.mcp.service import McpServers, McpTool
from folkmoot.tools.registry import BuiltinTools, StoredTools, ToolRegistry
from folkmoot.web.pages import add_pages

logger = logging.getLogger(__name__)

ROUTERS = (
    health.router,
    metrics.router,
    blocks.router,
    blocks.internal_router,
    history.router,
    history.agent_router,
    agent_files.router,
    agent_files.import_router,
    agent_search.router,  # before the agents, whose identifiers its path would pass for
    agents.router,
    agents.tags_router,
    agents.internal_router,
    core_memory.router,
    archives.agent_router,
    archival_memory.router,
    agent_mcp_servers.router,
    schedules.router,
    capturing.router,
    memory_files.router,
    all_messages.agents_router,
    batches.router,
    messages.router,
    conversations.router,
    conversation_items.router,
    context.router,
    standing_approvals.router,
    all_messages.router,
    chat_completions.router,
    responses.router,
    runs.router,
    runs.internal_router,
    templates.router,
    steps.router,
    steps.telemetry_router,
    mcp_connect.router,  # before the servers, whose identifiers its paths would pass for
    mcp_servers.router,
    old_mcp_servers.router,
    tool_runs.router,
    sandbox_configs.router,
    tools.router,
    folders.router,
    folders.sources_router,
    agent_folders.router,
    archives.router,
    archives.passages_router,
    models.router,
    embeddings.router,
    providers.router,
    projects.router,
    jobs.router,
    keys.router,
    tokens.router,
    elsewhere.router,  # before the organisations, for one of which its path would pass
    organizations.router,
    administration.router,
    backup.router,
    identities.router,
    identities.attachments_router,
    groups.router,
    group_messages.router,
    groups.agent_router,
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
            await authentication.open(state.store)
            try:
                yield
            finally:
                await door.close()
                await authentication.close()

    application = _Application(
        title="Folkmoot",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        origins=settings.allowed_origins,
        responses=PROBLEMS,
        # FastAPI's own; it would look for three kinds of receivers in each request, and there is none to set up here.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for router in ROUTERS:
        application.include_router(router)
    api_key = settings.api_key.get_secret_value() if settings.api_key is not None else None
    authentication = Authentication(api_key, insecure=settings.insecure)
    application.state.authentication = authentication
    door = application.state.door = Door(settings.max_body)
    application.router.routes += (
        Route(PATH, door, methods=["GET", "POST", "DELETE"], name="mcp"),
        Route("/openapi.json", description, methods=["GET"]),
    )
    add_pages(application)
    add_error_handlers(application)
    any_name = settings.insecure and api_key is None and not settings.allowed_hosts
    application.add_middleware(Compression)
    application.add_middleware(
        Gate,
        authentication=authentication,
        hosts=Hosts(settings.host, settings.allowed_hosts, any_name=any_name),
        origins=settings.allowed_origins,
        max_body=settings.max_body,
        max_upload=settings.max_file + AROUND_FILE,
    )
    return application


class _Application(FastAPI):
    """FastAPI, behind what tells browsers that pages of other origins may read the answers, be they errors or not."""

    def __init__(self, *, origins: Sequence[str], **options: Any) -> None:
        self._included: list[BaseRoute] = []
        super().__init__(**options)
        self._origins = origins

    def include_router(self, router: APIRouter, **options: Any) -> None:
        """Add a router's routes as they are, to what is served and to the description of the API."""
        if options:
            raise TypeError("What a router's routes have in common is said where it is made.")
        self._included += router.routes
        super().include_router(router)
        for route in router.routes:
            if isinstance(route, APIRoute):
                give_directly(route)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the application with all that stands before it."""
        own = (route for route in (*self.router.routes, *self._included) if isinstance(route, Route | Mount))
        self.router.middleware_stack = RoutesByShape(self.router, own)
        stack = super().build_middleware_stack()
        if not self._origins:
            return stack
        # Without cookies: a page of another origin proves itself with the key, where there is one.
        return CORSMiddleware(
            stack,
            allow_origins=self._origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["ETag", "Retry-After", "WWW-Authenticate"],
            allow_private_network=True,
        )


@asynccontextmanager
async def run_server(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[ServerState]:
    """Open everything a server works with, and close it at the end.

    Raises:
        StartupError: the database cannot be used, or code would run without walls among several organisations.
    """
    close_data_folder(settings.data_folder)
    store = await open_store(settings.database_url, settings.store_wait, settings.database_connections)
    if settings.tool_sandbox == "trusted":
        await _refuse_strangers(store)
    directory = Directory(environ)
    client = ModelClient(settings, environ, directory=directory)
    kinds: dict[str, JobKind] = {}
    services = _make_services(store, client, directory, kinds, settings, environ)
    supervisor = RunSupervisor(services, after_turn(settings.sleeptime_idle))
    state = ServerState(services, supervisor, LOCAL if settings.api_key is None else ADMIN)
    kinds |= {kind.name: kind for kind in _job_kinds(state)}  # which work with all the others
    starter = ScheduleStarter(services, supervisor)
    worker = JobWorker(store, kinds, settings.keep_jobs, lambda: supervisor.is_stopping)
    tracing.begin()
    trying = asyncio.create_task(services.sandbox.walls_behind())
    warming = asyncio.create_task(_warm_up(client, settings, environ))
    try:
        await directory.open(store, services.sealer)
        alone = settings.database_url.startswith("sqlite")
        await supervisor.open(alone=alone)
        await worker.open(alone=alone)
        _read_figures(supervisor, worker)
        await starter.open()
        yield state
    finally:
        for begun in (warming, trying):
            begun.cancel()
        await starter.close()
        await supervisor.close()
        await worker.close()
        await directory.close()
        await services.mcp.close()
        await asyncio.gather(warming, trying, return_exceptions=True)  # what a trial has started ends with it
        await services.sandbox.close()
        await services.catalogue.aclose()
        await client.aclose()
        await services.embeddings.aclose()
        await store.close()
        await asyncio.to_thread(tracing.end)


def _make_services(
    store: Store,
    client: ModelClient,
    directory: Directory,
    kinds: Mapping[str, JobKind],
    settings: Settings,
    environ: Mapping[str, str],
) -> Services:
    """Return what rooms work with; `kinds` may be filled later."""
    secret = settings.secret_key.get_secret_value() if settings.secret_key is not None else None
    sealer = Sealer(secret, settings.data_folder)
    sandbox = _make_sandbox(settings)
    mcp = McpServers(store, settings, sealer, sandbox)
    stored = StoredTools({"custom": partial(CustomTool, sealer=sealer), "external_mcp": partial(McpTool, servers=mcp)})
    return Services(
        store=store,
        models=client,
        settings=settings,
        environ=environ,
        sealer=sealer,
        catalogue=Catalogue(settings, environ, directory=directory),
        tools=ToolRegistry((BuiltinTools(), stored)),
        sandbox=sandbox,
        embeddings=EmbeddingClient(settings, environ, directory),
        job_kinds=kinds,
        mcp=mcp,
        directory=directory,
        traces=TraceKeeping(settings),
    )


def _job_kinds(state: ServerState) -> list[JobKind]:
    """Return the kinds of work that outlives a request, as this server does it."""
    services, settings = state.shared, state.shared.settings
    return [
        embed_kind(services.embeddings),
        *FileReader(services.sandbox, FileEmbedder(services.embeddings)).kinds,
        ephemeral_kind(),
        batch_kind(services, state.supervisor),
        callback_kind(settings),
        consolidation_kind(lambda principal: state.of(principal, "").runs, settings.sleeptime_idle),
        migrate_kind(services),
    ]


def _read_figures(supervisor: RunSupervisor, worker: JobWorker) -> None:
    """Let the page of figures read how this process stands."""

    def runs() -> dict[tuple[str, ...], float]:
        begun = sum(run.began_at is not None for run in supervisor.active.values())
        return {("working",): begun, ("waiting",): len(supervisor.active) - begun}

    RUNS.read = runs
    LEASES.read = lambda: {("run",): len(supervisor.active), ("job",): worker.leases}
    READERS.read = lambda: {(): readers()}


async def _refuse_strangers(store: Store) -> None:
    """Refuse to run code without walls where it would read what is another organisation's.

    Raises:
        StartupError: there is more than one.
    """
    organizations = await store.everywhere.read(list_organizations)
    if len(organizations) > 1:
        await store.close()
        raise StartupError(
            f"FOLKMOOT_TOOL_SANDBOX=trusted: there are {len(organizations)} organisations here, and code without walls "
            "reads the data of all. Use strict or off."
        )


def _make_sandbox(settings: Settings) -> Sandbox:
    own = _own_files(settings)
    installer = Installer(settings.tool_sandbox == "strict", tuple(str(path.resolve()) for path in own))
    environments = Environments(
        settings.data_folder / "environments",
        installer,
        keep=settings.keep_tool_packages,
        most_bytes=settings.tool_packages_size,
    )
    try:
        return Sandbox(
            settings.tool_sandbox,
            own,
            environments=environments,
            limits=read_limits(settings.tool_limits),
            private_hosts=settings.tool_private_hosts,
            running=settings.tool_calls,
        )
    except InvalidInput as error:
        raise StartupError(f"A setting cannot be used: {error.message}") from error


def _own_files(settings: Settings) -> list[Path]:
    """Return where the server keeps what no code of others may see."""
    address = read_address(settings.database_url)
    file = address.path if isinstance(address, SqliteAddress) else None
    beside = [Path(f"{file}{ending}") for ending in ("", "-wal", "-shm", "-journal", ".lock") if file]
    copies = copies_beside(file) if file else ()
    return [settings.data_folder, *beside, *copies, Path(ENV_FILE)]


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
