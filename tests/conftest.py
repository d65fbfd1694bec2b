"""The fixtures of all tests.

Every test that uses `store`, be it through `database_url`, `server` or `client`, runs on SQLite and on
PostgreSQL. A test of one store alone says so: `@pytest.mark.parametrize("store", ["postgres"], indirect=True)`.
The cases of a table take turns: the first runs on SQLite, the second on PostgreSQL, and so on. Where each case is a
question of its own to the store, the mark `every_case_on_both` has all of them run on both. With `--thorough` every
case of every table does, and Hypothesis tries four times as many examples.

A test that uses `provider` and is marked `each_provider` (`support.fixtures`) runs on one store with a model of
Anthropic's; its agents take the fixture `model`, as those of `new_agent` do.

Servers are forked from a process that has imported everything. A test that is marked `by_command` starts them, and
whatever else it does with the command, in fresh interpreters, which takes seconds.

`server` is shared by all tests of a worker, so a test names what it makes freshly (`new_block` and `new_agent`
do) and never counts what others may have made. A test that kills, configures or counts takes `start_server`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, settings
from letta_client import AsyncLetta, Letta
from letta_client.types import AgentState, BlockResponse

from folkmoot.store.migrate import migrate_postgres, migrate_sqlite
from support import forks, postgres
from support.clients import official_async_client, official_client, plain_async_client, plain_client
from support.fixtures import MODELS, NewAgent, NewBlock, StartServer
from support.forks import PreloadedProcess
from support.polling import PATIENCE
from support.postgres import PostgresDatabases, PostgresServer
from support.scripted_model import ScriptedModel
from support.server import FORKS, ServerProcess
from support.turns import STORES, out_of_turn

LONG = ("web", "bench", "clients", "cli", "contract", "transfer", "chaos")
"""The folders with the longest tests, which begin, so that no worker is left alone with one at the end."""

BROWSERS = 2
"""Workers that share the tests of the pages; the others meanwhile have those that often wait."""

# A request that says nothing of it is given up after five seconds, which a busy machine may well take.
for _wait in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _wait, PATIENCE)

# How long an example takes says nothing on a machine that others use too.
settings.register_profile("thorough", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=25)


@pytest.fixture(scope="session")
def session_model() -> Iterator[ScriptedModel]:
    """The worker's one scripted model; tests take `scripted_model`."""
    with ScriptedModel() as model:
        yield model


@pytest.fixture
def scripted_model(session_model: ScriptedModel) -> Iterator[ScriptedModel]:
    """The scripted model, nothing received yet; the test fails if the API would have refused one of its requests."""
    session_model.reset()
    yield session_model
    violations = session_model.violations
    session_model.reset()
    assert violations == []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what this file reads."""
    parser.addoption("--thorough", action="store_true", help="every case on both stores, and more examples")


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples are tried."""
    settings.load_profile("thorough" if config.getoption("thorough") else "quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes long, leave out what only tries more, and let cases of a table take turns on the stores.

    Those that were asked for by their name all run.
    """
    items.sort(key=lambda item: LONG.index(item.path.parent.name) if item.path.parent.name in LONG else len(LONG))
    if config.getoption("thorough") or any("[" in argument for argument in config.args):
        return
    left_out = {item for item in items if item.get_closest_marker("thorough")}.union(out_of_turn(items))
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect with the garbage collector at rest; what was loaded stays, and is not looked through again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return two more than there are processors, for the tests that wait: for a lease to run out, for the next try."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker whole files, and two of them all that needs a browser, which takes seconds to start."""
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):  # type: ignore[misc]
        browsers: dict[str, int] = {}

        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            if Path(file).parent.name != "web":
                return file
            return f"browser {self.browsers.setdefault(file, len(self.browsers) % BROWSERS)}"

    return Files(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Start what the workers share, before them."""
    shared = ExitStack()
    config.add_cleanup(shared.close)
    if FORKS:
        preloaded = shared.enter_context(closing(PreloadedProcess()))
        os.environ[forks.SHARED] = str(preloaded.address)
    os.environ[postgres.SHARED] = str(shared.enter_context(PostgresServer()).port)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresDatabases]:
    """The run's one PostgreSQL server; where no worker shares it, it is started when a test first needs it."""
    if port := os.environ.get(postgres.SHARED):
        yield PostgresDatabases(int(port))
        return
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    """The kind of store under test."""
    kind: str = request.param
    return kind


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> str:
    """Whose API the scripted model is asked by: OpenAI's, unless the test is marked `each_provider`."""
    name: str = getattr(request, "param", "openai")
    return name


@pytest.fixture
def model(provider: str) -> str:
    """The handle under which the test's agents reach the scripted model."""
    return MODELS[provider]


@pytest.fixture(scope="session")
def sqlite_schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the schema in place, to be copied."""
    path = tmp_path_factory.mktemp("schema") / "folkmoot.sqlite3"
    migrate_sqlite(path)
    return path


@pytest.fixture(scope="session")
def postgres_schema(postgres_server: PostgresDatabases) -> str:
    """The name of a database with the schema in place, to be copied."""
    url = postgres_server.create_database()
    with ThreadPoolExecutor(1) as thread:  # this one has an event loop that runs, once a browser has been opened
        thread.submit(lambda: asyncio.run(migrate_postgres(url))).result()
    return url.rpartition("/")[2]


@pytest.fixture
def database_url(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database with the schema in place and nothing else."""
    if store == "sqlite":
        path = tmp_path / "folkmoot.sqlite3"
        shutil.copyfile(request.getfixturevalue("sqlite_schema"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresDatabases = request.getfixturevalue("postgres_server")
    url = server.create_database(request.getfixturevalue("postgres_schema"))
    yield url
    server.drop_database(url)


@pytest.fixture
def empty_database_url(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database without a table, as `folkmoot serve` finds it at its first start."""
    if store == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite3'}"
        return
    server: PostgresDatabases = request.getfixturevalue("postgres_server")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def by_command(request: pytest.FixtureRequest) -> bool:
    """Whether the command itself is started, in a fresh interpreter, and not a fork of a preloaded one."""
    return not FORKS or request.node.get_closest_marker("by_command") is not None


@pytest.fixture
def start_server(
    database_url: str, provider: str, scripted_model: ScriptedModel, tmp_path: Path, by_command: bool
) -> Iterator[StartServer]:
    """Start servers of the test's own."""
    with ExitStack() as servers:
        count = 0

        def start(
            *, database: str | None = None, env: Mapping[str, str] | None = None, args: Sequence[str] = ()
        ) -> ServerProcess:
            nonlocal count
            count += 1
            server = ServerProcess(
                database=database or database_url,
                home=tmp_path / f"server-{count}",
                model_url=scripted_model.base_url,
                anthropic_url=scripted_model.base_url if provider == "anthropic" else None,
                env=env,
                args=args,
                by_command=by_command,
            )
            return servers.enter_context(server)

        yield start


@pytest.fixture(scope="session")
def shared_sqlite(session_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The worker's one server on SQLite; tests take `server`."""
    home = tmp_path_factory.mktemp("shared-sqlite")
    database = f"sqlite:///{home / 'folkmoot.sqlite3'}"
    with ServerProcess(database=database, home=home, model_url=session_model.base_url) as server:
        yield server


@pytest.fixture(scope="session")
def shared_postgres(
    session_model: ScriptedModel, postgres_server: PostgresDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """The worker's one server on PostgreSQL; tests take `server`."""
    home = tmp_path_factory.mktemp("shared-postgres")
    database = postgres_server.create_database()
    with ServerProcess(database=database, home=home, model_url=session_model.base_url) as server:
        yield server


@pytest.fixture(scope="session")
def shared_sqlite_with_anthropic(
    session_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """The worker's one server that knows Anthropic's models beside OpenAI's; tests take `server`."""
    home = tmp_path_factory.mktemp("shared-anthropic")
    database, url = f"sqlite:///{home / 'folkmoot.sqlite3'}", session_model.base_url
    with ServerProcess(database=database, home=home, model_url=url, anthropic_url=url) as server:
        yield server


@pytest.fixture
def server(store: str, provider: str, request: pytest.FixtureRequest, scripted_model: ScriptedModel) -> ServerProcess:
    """A running server on `store`, shared with the other tests, its model scripted. Do not stop it."""
    name = "shared_sqlite_with_anthropic" if provider == "anthropic" else f"shared_{store}"
    running: ServerProcess = request.getfixturevalue(name)
    return running


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Letta]:
    """The official client of the 1.x line; it does not retry, so that a fault shows."""
    with official_client(server.url) as client:
        yield client


@pytest.fixture
async def async_client(server: ServerProcess) -> AsyncIterator[AsyncLetta]:
    """The official client's asynchronous face."""
    async with official_async_client(server.url) as client:
        yield client


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    """A plain HTTP client of the server, for what no official client would send."""
    with plain_client(server.url) as client:
        yield client


@pytest.fixture
async def async_http(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """The same for tests that do several things at once."""
    async with plain_async_client(server.url) as client:
        yield client


@pytest.fixture
def new_block(client: Letta) -> NewBlock:
    """Make a block with a label of its own: `new_block(value="…", limit=100)`."""

    def make(**fields: Any) -> BlockResponse:
        return client.blocks.create(**{"label": f"label_{uuid4().hex[:12]}", "value": "", **fields})

    return make


@pytest.fixture
def new_agent(client: Letta, model: str) -> NewAgent:
    """Make an agent that talks to the scripted model: `new_agent(block_ids=[block.id])`."""

    def make(**fields: Any) -> AgentState:
        return client.agents.create(**{"name": f"agent_{uuid4().hex[:12]}", "model": model, **fields})

    return make
