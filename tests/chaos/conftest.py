"""What the chaos tests share: three server processes on one database, file systems that can be filled, a PostgreSQL
that may be killed.

The long forms carry `@pytest.mark.chaos` and run with `make chaos` only (`pytest -m chaos tests/chaos`).
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest

from chaos.moot import open_http
from support.postgres import PostgresDatabases, PostgresServer
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

Connect: TypeAlias = Callable[[str], httpx.AsyncClient]
Clients: TypeAlias = Sequence[httpx.AsyncClient]
Mount: TypeAlias = Callable[..., None]


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of the long forms."""
    config.addinivalue_line("markers", "chaos: long form of a chaos test; runs with `make chaos` only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long forms out unless the command line asks for them."""
    if "chaos" in (config.option.markexpr or ""):
        return
    long = [item for item in items if item.get_closest_marker("chaos")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("chaos")]


@pytest.fixture
def durable_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of the test's own that syncs its commits, to be killed and started again."""
    with PostgresServer(durable=True) as server:
        yield server


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mount something; unmounted after the test. Skips where mounting is not permitted."""
    with ExitStack() as mounted:

        def run(*arguments: str | Path, at: Path) -> None:
            command = ["mount", *map(str, arguments), str(at)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                pytest.skip("there is no mount command here")
            if done.returncode:
                pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
            if "remount" not in " ".join(command):
                mounted.callback(subprocess.run, ["umount", "--lazy", str(at)], check=True)

        yield run


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Open HTTP clients, any number of requests at once; closed after the test."""
    async with AsyncExitStack() as clients:
        opened: list[httpx.AsyncClient] = []

        def make(url: str) -> httpx.AsyncClient:
            opened.append(open_http(url))
            clients.push_async_callback(opened[-1].aclose)
            return opened[-1]

        yield make


@pytest.fixture(scope="session")
def three_processes(
    session_model: ScriptedModel, postgres_server: PostgresDatabases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[ServerProcess]]:
    """The worker's three servers on one PostgreSQL database; tests take `https`."""
    database = postgres_server.create_database()
    with ExitStack() as servers:
        homes = [tmp_path_factory.mktemp("one-of-three") for _ in range(3)]
        yield [
            servers.enter_context(ServerProcess(database=database, home=home, model_url=session_model.base_url))
            for home in homes
        ]


@pytest.fixture
def https(store: str, request: pytest.FixtureRequest, connect: Connect, scripted_model: ScriptedModel) -> Clients:
    """Clients of every process that serves one database: one on SQLite, three on PostgreSQL. Do not stop them."""
    servers: list[ServerProcess]
    if store == "sqlite":
        servers = [request.getfixturevalue("shared_sqlite")]
    else:
        servers = request.getfixturevalue("three_processes")
    return [connect(server.url) for server in servers]
