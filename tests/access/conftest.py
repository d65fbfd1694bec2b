"""A server with a key, organisations on it, and what they have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tenants import KEY, NewOrganization, Organization, bearer

from folkmoot.store.engine import Store
from support.clients import plain_client
from support.scripted_model import ScriptedModel
from support.server import ServerProcess
from support.stores import open_default


@pytest.fixture(scope="module")
def sqlite_guarded(session_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a key, on SQLite."""
    home = tmp_path_factory.mktemp("access-sqlite")
    database = f"sqlite:///{home / 'folkmoot.sqlite3'}"
    yield from _server(database, home, session_model)


@pytest.fixture(scope="module")
def postgres_guarded(
    session_model: ScriptedModel, postgres_server: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server with a key, on PostgreSQL."""
    yield from _server(postgres_server.create_database(), tmp_path_factory.mktemp("access-postgres"), session_model)


def _server(database: str, home: Path, model: ScriptedModel) -> Iterator[ServerProcess]:
    env = {"FOLKMOOT_API_KEY": KEY, "FOLKMOOT_ALLOWED_ORIGINS": "https://app.example.org,https://evil.example"}
    with ServerProcess(database=database, home=home, model_url=model.base_url, env=env) as server:
        yield server


@pytest.fixture
def guarded(store: str, request: pytest.FixtureRequest, scripted_model: ScriptedModel) -> ServerProcess:
    """A server with a key, shared by this module's tests."""
    running: ServerProcess = request.getfixturevalue(f"{store}_guarded")
    return running


@pytest.fixture
def admin(guarded: ServerProcess) -> Iterator[httpx.Client]:
    """The first admin's client."""
    with plain_client(guarded.url, headers=bearer(KEY)) as client:
        yield client


@pytest.fixture
def new_organization(guarded: ServerProcess, admin: httpx.Client) -> Iterator[NewOrganization]:
    """Make an organisation with an admin's key."""
    with ExitStack() as clients:

        def make() -> Organization:
            made = admin.post("/v1/organizations", json={"name": f"o-{uuid4().hex[:8]}"}).json()
            fields = {"name": f"{made['name']}-admin", "role": "admin", "organization": made["id"]}
            key = admin.post("/v1/keys", json=fields).json()
            client = plain_client(guarded.url, headers=bearer(key["key"]))
            return Organization(made["id"], made["name"], key["key"], key["id"], clients.enter_context(client))

        yield make


@pytest.fixture
async def opened(database_url: str) -> Any:
    """An open store over a fresh, migrated database."""
    store: Store = await open_default(database_url)
    yield store
    await store.close()
