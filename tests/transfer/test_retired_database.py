"""The retired server's database is taken over: everything that has a place here, under its own identifiers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from folkmoot.errors import StartupError
from folkmoot.models.catalogue import Catalogue
from folkmoot.settings import Settings
from folkmoot.store.opening import open_store
from folkmoot.store.sealing import Sealer
from folkmoot.transfer.retired.context import Taken
from folkmoot.transfer.retired.secrets import decrypt
from folkmoot.transfer.retired.source import open_source
from folkmoot.transfer.retired.taking import Import
from support.clients import plain_client
from support.fixtures import MODEL, StartServer, one_store
from support.postgres import PostgresServer
from transfer.databases import all_rows
from transfer.retired_database import KEY, change, load_dump

SECRET = "what is sealed here"
ENVIRON = {"OPENAI_API_KEY": "scripted", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}


@pytest.fixture(scope="module")
def dumped(postgres_server: PostgresServer) -> Iterator[str]:
    """The name of a database with the dump in it, to be copied."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    url = postgres_server.create_database()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(load_dump(url))).result()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
async def source(dumped: str, postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The address of such a database that a test may change."""
    url = postgres_server.create_database(dumped.rpartition("/")[2])
    yield url
    postgres_server.drop_database(url)


async def taken(source: str, target: str, key: str | None = KEY, *, dry_run: bool = False, **wanted: Any) -> Taken:
    """Take a database over."""
    store, catalogue = await open_store(target, 10), Catalogue(Settings(), ENVIRON)
    try:
        async with open_source(source) as found:
            sealer = Sealer(SECRET, Path("/nowhere"))
            return await Import(found, store, sealer, catalogue, key, lambda *_: None, dry_run, **wanted).run()
    finally:
        await catalogue.aclose()
        await store.close()


async def test_agents_of_every_type_go_on_with_all_that_they_had(
    source: str, database_url: str, start_server: StartServer
) -> None:
    done = await taken(source, database_url)
    for table in ("agents", "block", "messages", "conversations", "blocks_agents", "agents_tags", "blocks_tags"):
        assert done.taken[table] == done.source[table] > 0, (table, done.problems)
    assert done.taken["agent_environment_variables"] == 3
    connection = await asyncpg.connect(source)
    wanted = [dict(row) for row in await connection.fetch("SELECT * FROM agents ORDER BY id")]
    held = await connection.fetch(
        "SELECT a.agent_id, b.label, b.value FROM blocks_agents a JOIN block b ON b.id = a.block_id"
    )
    words = await connection.fetch(
        "SELECT agent_id, content FROM messages WHERE role = 'user' AND conversation_id IS NULL"
    )
    await connection.close()
    server = start_server(env={"FOLKMOOT_SECRET_KEY": SECRET})
    with plain_client(server.url) as http:
        for row in wanted:
            path = f"/v1/agents/{row['id']}"
            agent = http.get(path).json()
            assert (agent["name"], agent["agent_type"], agent["system"]) == (
                row["name"],
                row["agent_type"],
                row["system"],
            )
            assert agent["model"] == MODEL
            assert {(b["label"], b["value"]) for b in agent["blocks"]} == {
                (h["label"], h["value"]) for h in held if h["agent_id"] == row["id"]
            }
            said = http.get(f"{path}/messages", params={"order": "asc", "limit": 1000}).json()
            spoken = [text for each in words if each["agent_id"] == row["id"] for text in plain_texts(each["content"])]
            shown = json.dumps(said, ensure_ascii=False)
            assert all(json.dumps(text, ensure_ascii=False)[1:-1] in shown for text in spoken)
            known = {each["id"] for each in said} | set(agent["message_ids"])
            hidden = [each for each in json.loads(row["message_ids"])[1:] if each not in known]
            for each in hidden:
                assert http.get(f"/v1/messages/{each}").status_code == 200, "whoever stored an identifier finds it"
            if row["name"] == "approver":
                continue
            answer = http.post(f"{path}/messages", json={"input": "ECHO I am here now."})
            assert answer.status_code == 200, (row["name"], answer.text)
            assert answer.json()["messages"][-1]["content"] == "I am here now."
        shop = next(row["id"] for row in wanted if row["name"] == "shop assistant")
        secrets = {each["key"]: each["value"] for each in http.get(f"/v1/agents/{shop}").json()["secrets"]}
        assert secrets == {"SHOP_KEY": "sk-shop-1234", "REGION": "north"}
        approver = next(row["id"] for row in wanted if row["name"] == "approver")
        last = http.get(f"/v1/agents/{approver}/messages", params={"limit": 1}).json()[-1]
        assert last["message_type"] == "approval_request_message", "it still waits"


def plain_texts(content: str) -> list[str]:
    """Return what somebody said in a row, without what the server wrote in a user's name."""
    found = [part["text"] for part in json.loads(content) if part["type"] == "text"]
    return [text for text in found if not text.startswith("{")]


@one_store
async def test_run_again_it_changes_nothing_and_brings_what_is_new(source: str, database_url: str) -> None:
    first = await taken(source, database_url, dry_run=True)
    assert await all_rows(database_url) == {name: [] for name in await all_rows(database_url)}
    done = await taken(source, database_url)
    assert first.taken["agents"] == done.taken["agents"]
    before = await all_rows(database_url)
    again = await taken(source, database_url)
    assert await all_rows(database_url) == before
    assert [again.taken[table] for table in ("messages", "agents", "block", "tools")] == [0] * 4
    assert again.checksum == done.checksum == done.checksum_here == again.checksum_here != "0" * 32
    await change(
        source,
        "INSERT INTO messages (id, agent_id, role, content, tool_calls, created_at, organization_id, is_deleted) "
        "SELECT 'message-11111111-1111-4111-8111-111111111111', id, 'user', "
        "'" + json.dumps([{"type": "text", "text": "later"}]) + "', '[]', now(), organization_id, false "
        "FROM agents WHERE name = 'old memgpt'",
    )
    later = await taken(source, database_url)
    new = {row for row in await all_keys(database_url, "messages") if "11111111" in str(row)}
    assert len(new) == 1
    assert later.taken["messages"] > 0


async def all_keys(url: str, table: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table."""
    return (await all_rows(url))[table]


@one_store
async def test_what_is_damaged_is_told_row_by_row_and_takes_nobody_with_it(source: str, database_url: str) -> None:
    await change(
        source,
        "ALTER TABLE agents ALTER COLUMN llm_config TYPE text",
        "UPDATE agents SET llm_config = '{broken' WHERE name = 'workflow one'",
        "DELETE FROM block WHERE label = 'company'",
        "UPDATE messages SET role = 'king' WHERE id = (SELECT id FROM messages WHERE role = 'user' LIMIT 1)",
        "UPDATE tools SET source_code = 'def (' WHERE name = 'roll_dice'",
        "DROP TABLE blocks_tags",
    )
    done = await taken(source, database_url, key=None)
    told = "\n".join(done.problems)
    for named in (
        "llm_config is no JSON object",
        "nobody has the role 'king'",
        "which did not come",
        "roll_dice",
        "SHOP_KEY",
    ):
        assert named in told, (named, told)
    assert "groups: 4 rows are not taken." in told


@one_store
async def test_another_database_is_refused_with_what_was_expected(
    database_url: str, postgres_server: PostgresServer
) -> None:
    url = postgres_server.create_database()
    with pytest.raises(StartupError, match=r"lacks organizations\.id.*releases 0\.8"):
        await taken(url, database_url)
    postgres_server.drop_database(url)
    with pytest.raises(StartupError, match="cannot be reached"):
        await taken("postgresql://127.0.0.1:9/nothing", database_url)


def test_secrets_are_opened_with_their_key_only() -> None:
    sealed = "JxmyjI4JxuDHUT/4UvhmYT9K7XzU7xdLZSVmxx4D0vrzzcKy5eHklq6jNlXiw9qFjSv5c3YZ6Qc="
    assert decrypt(sealed, KEY) == "sk-shop-1234"
    assert decrypt(sealed, "another") is None
    assert decrypt(sealed, None) is None
    assert decrypt("never sealed", KEY) == "never sealed"
