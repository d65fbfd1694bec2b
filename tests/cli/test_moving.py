"""`folkmoot backup`, `restore` and `copy`, with real servers: what was said before goes on after."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.clients import plain_client
from support.fixtures import MODEL, StartServer, one_store
from support.postgres import PostgresDatabases
from support.scripted_model import ScriptedModel
from transfer.retired_database import KEY, load_dump

Folkmoot = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def other_database(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of the other kind."""
    if store == "postgres":
        return f"sqlite:///{tmp_path / 'other.sqlite3'}"
    postgres: PostgresDatabases = request.getfixturevalue("postgres_server")
    return postgres.create_database()


def test_a_backup_of_a_running_server_goes_on_elsewhere(
    folkmoot: Folkmoot,
    start_server: StartServer,
    database_url: str,
    other_database: str,
    scripted_model: ScriptedModel,
    tmp_path: Path,
) -> None:
    """A run is under way, and secrets are sealed with a key that is not where the backup goes."""
    key = {"FOLKMOOT_SECRET_KEY": "one"}
    file = str(tmp_path / "moot.folkmoot")
    server = start_server(env=key)
    with plain_client(server.url) as http, scripted_model.hold("ECHO never") as held:
        fields = {
            "model": MODEL,
            "memory_blocks": [{"label": "notes", "value": "Thyme."}],
            "secrets": {"KEY": "s3cret"},
        }
        agent = http.post("/v1/agents", json=fields).json()
        path = f"/v1/agents/{agent['id']}"
        http.post(f"{path}/messages", json={"input": "ECHO 四点的会议"})
        amid = http.post(f"{path}/messages/async", json={"input": "ECHO never"}).json()
        held.wait_for(1)
        backed_up = folkmoot("backup", file, "--database", database_url, **key)
        assert backed_up.returncode == 0, backed_up.stderr
        assert "which is not in the file: keep that too" in backed_up.stderr
        served = folkmoot("restore", file, "--database", database_url, "--replace", **key)
        assert served.returncode == 1
        assert "server" in served.stderr or "is served by" in served.stderr
        assert "is kept in" not in served.stderr, "nothing is backed up for what will not be done"
        assert http.get("/v1/agents").status_code == 200

    restored = folkmoot("restore", file, "--database", other_database, FOLKMOOT_SECRET_KEY="another")
    assert restored.returncode == 0, restored.stderr
    assert "sealed with the key" in restored.stderr
    assert "messages" in restored.stdout
    replaced = folkmoot("restore", file, "--database", other_database, "--replace", **key)
    assert (replaced.returncode, "sealed with" in replaced.stderr) == (0, False), replaced.stderr
    assert "What was there is kept in" in replaced.stderr

    elsewhere = start_server(database=other_database, env=key)
    with plain_client(elsewhere.url) as http:
        answer = http.post(f"{path}/messages", json={"input": "ECHO I am here."}).json()
        assert answer["messages"][-1]["content"] == "I am here."
        assert http.get(f"/v1/runs/{amid['id']}").json()["status"] == "failed", "as after a crash at that moment"
        assert len(http.post("/v1/messages/search", json={"query": "会议"}).json()) >= 1
        assert http.get(path).json()["secrets"][0]["value"] == "s3cret"
        assert http.get(f"{path}/core-memory/blocks/notes").json()["value"] == "Thyme."


@one_store
def test_a_copy_goes_from_one_address_to_another(
    folkmoot: Folkmoot, start_server: StartServer, database_url: str, other_database: str, tmp_path: Path
) -> None:
    server = start_server()
    with plain_client(server.url) as http:
        block = http.post("/v1/blocks", json={"label": "notes", "value": "Sage."}).json()
    copied = folkmoot("copy", "--from", database_url, "--to", other_database)
    assert copied.returncode == 0, copied.stderr
    back = f"sqlite:///{tmp_path / 'back.sqlite3'}"
    assert folkmoot("copy", "--from", other_database, "--to", back).returncode == 0
    with plain_client(start_server(database=back).url) as http:
        assert http.get(f"/v1/blocks/{block['id']}").json()["value"] == "Sage."
    missing = folkmoot("copy", "--from", f"sqlite:///{tmp_path / 'nothing.sqlite3'}", "--to", back)
    assert (missing.returncode, "There is no database" in missing.stderr) == (1, True)


@one_store
async def test_the_retired_servers_database_is_taken_over_by_the_command(
    folkmoot: Folkmoot, database_url: str, postgres_server: PostgresDatabases
) -> None:
    source = postgres_server.create_database()
    await load_dump(source)
    rehearsal = folkmoot("import", source, "--database", database_url, "--dry-run")
    assert rehearsal.returncode == 0, rehearsal.stderr
    for told in (
        "has the schema 1c28e167b74f, that of release 0.16.8.",
        "SHOP_KEY",
        "Nothing was written (--dry-run).",
    ):
        assert told in rehearsal.stderr
    done = folkmoot("import", source, "--database", database_url, LETTA_ENCRYPTION_KEY=KEY, FOLKMOOT_SECRET_KEY="one")
    assert done.returncode == 0, done.stderr
    assert not re.search(r"sk-shop-1234|sk-house-secret", done.stdout + done.stderr)
    first, second = re.findall(r"^checksum of .* ([0-9a-f]{32})$", done.stdout, re.MULTILINE)
    assert first == second != "0" * 32
    for table, source_rows, taken in (("agents", 13, 13), ("messages", 428, 428), ("users", 1, 1)):
        assert re.search(rf"^{table} +{source_rows} +{taken} +0 +0$", done.stdout, re.MULTILINE), done.stdout
    again = folkmoot("import", source, "--database", database_url, "--only", "king")
    assert (again.returncode, "--only: there is no 'king'; there are" in again.stderr) == (1, True)
    postgres_server.drop_database(source)
