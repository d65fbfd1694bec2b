"""A server with a key, organisations on it, and what they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from folkmoot.store.engine import Store
from support.fixtures import MODEL
from support.scripted_model import ScriptedModel
from support.server import ServerProcess
from support.stores import open_default

KEY = "the-first-admins-key"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@dataclass
class Organization:
    """An organisation with an admin's client of its own."""

    id: str
    name: str
    key: str
    key_id: str
    http: httpx.Client
    word: str = field(default_factory=lambda: f"zz{uuid4().hex[:12]}")
    """Stands in everything that it says, and nowhere else."""

    ids: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the answer to a request that has to succeed."""
        response = self.http.request(method, path, **options)
        assert response.is_success, (method, path, response.text)
        return response.json()

    def fill(self) -> None:
        """Make something of everything."""
        block = self.ask("POST", "/v1/blocks", json={"label": self.word, "value": f"{self.word} keeps"})
        agent = self.ask(
            "POST",
            "/v1/agents",
            json={"name": self.word, "model": MODEL, "block_ids": [block["id"]], "tags": [self.word]},
        )
        said = {"messages": [{"role": "user", "content": f"{self.word} says"}]}
        run = self.ask("POST", f"/v1/agents/{agent['id']}/messages/async", json=said)
        with self.http.stream("GET", f"/v1/runs/{run['id']}/stream") as stream:
            stream.read()
        conversation = self.ask("POST", "/v1/conversations", params={"agent_id": agent["id"]}, json={})
        policy = [{"type": "agent", "id": agent["id"], "access": ["read_agent"]}]
        token = {"hostname": "https://app.example.org", "policy": policy}
        self.ask("POST", "/v1/client-side-access-tokens", json=token)
        tokens = self.ask("GET", "/v1/client-side-access-tokens")["tokens"]
        self.ids = {
            "block_id": block["id"],
            "agent_id": agent["id"],
            "run_id": run["id"],
            "step_id": self.ask("GET", f"/v1/runs/{run['id']}/steps")[0]["id"],
            "message_id": self.ask("GET", f"/v1/agents/{agent['id']}/messages")[-1]["id"],
            "conversation_id": conversation["id"],
            "key_id": self.key_id,
            "token": tokens[0]["token"],
            "organization": self.id,
            "block_label": self.word,
            "tool_id": agent["tools"][0]["id"],
            "tool_name": agent["tools"][0]["name"],
            "version": "1",
        }


NewOrganization = Callable[[], Organization]


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
    with httpx.Client(base_url=guarded.url, headers=bearer(KEY), timeout=60) as client:
        yield client


@pytest.fixture
def new_organization(guarded: ServerProcess, admin: httpx.Client) -> Iterator[NewOrganization]:
    """Make an organisation with an admin's key."""
    with ExitStack() as clients:

        def make() -> Organization:
            made = admin.post("/v1/organizations", json={"name": f"o-{uuid4().hex[:8]}"}).json()
            fields = {"name": f"{made['name']}-admin", "role": "admin", "organization": made["id"]}
            key = admin.post("/v1/keys", json=fields).json()
            client = httpx.Client(base_url=guarded.url, headers=bearer(key["key"]), timeout=60)
            return Organization(made["id"], made["name"], key["key"], key["id"], clients.enter_context(client))

        yield make


@pytest.fixture
async def opened(database_url: str) -> Any:
    """An open store over a fresh, migrated database."""
    store: Store = await open_default(database_url)
    yield store
    await store.close()
