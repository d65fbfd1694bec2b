"""The retired server's database is taken over: everything that has a place here, under its own identifiers."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from folkmoot.access.organizations import create_organization
from folkmoot.errors import StartupError
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.directory import Directory
from folkmoot.settings import Settings
from folkmoot.store.opening import open_store
from folkmoot.store.sealing import Sealer
from folkmoot.transfer.backup import back_up
from folkmoot.transfer.retired.context import Taken
from folkmoot.transfer.retired.secrets import decrypt
from folkmoot.transfer.retired.source import NEEDED, open_source
from folkmoot.transfer.retired.taking import Import
from support.clients import plain_client
from support.fixtures import MODEL, StartServer, one_store
from support.postgres import PostgresDatabases
from support.scripted_model import ScriptedModel
from transfer.databases import all_rows
from transfer.retired_database import KEY, change, load_dump

SECRET = "what is sealed here"
ENVIRON = {"OPENAI_API_KEY": "scripted", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}


@pytest.fixture(scope="module")
def dumped(postgres_server: PostgresDatabases) -> Iterator[str]:
    """The name of a database with the dump in it, to be copied."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    url = postgres_server.create_database()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(load_dump(url))).result()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
async def source(dumped: str, postgres_server: PostgresDatabases) -> AsyncIterator[str]:
    """The address of such a database that a test may change."""
    url = postgres_server.create_database(dumped.rpartition("/")[2])
    yield url
    postgres_server.drop_database(url)


async def taken(source: str, target: str, key: str | None = KEY, *, dry_run: bool = False, **wanted: Any) -> Taken:
    """Take a database over."""
    store, sealer, directory = await open_store(target, 10), Sealer(SECRET, Path("/nowhere")), Directory(ENVIRON)
    catalogue = Catalogue(Settings(), ENVIRON, directory=directory)
    try:
        await directory.open(store, sealer)
        async with open_source(source) as found:
            job = Import(found, store, sealer, catalogue, directory, key, lambda *_: None, dry_run, **wanted)
            return await job.run()
    finally:
        await directory.close()
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
        came = next(text for each in words for text in plain_texts(each["content"]))
        for text in (came, "I am here now."):  # what came, and what was said since
            found = http.post("/v1/messages/search", json={"query": text, "search_mode": "fts", "limit": 100})
            assert json.dumps(text)[1:-1] in found.text, (text, found.text)
        shop = next(row["id"] for row in wanted if row["name"] == "shop assistant")
        secrets = {each["key"]: each["value"] for each in http.get(f"/v1/agents/{shop}").json()["secrets"]}
        assert secrets == {"SHOP_KEY": "sk-shop-1234", "REGION": "north"}
        approver = next(row["id"] for row in wanted if row["name"] == "approver")
        last = http.get(f"/v1/agents/{approver}/messages", params={"limit": 1}).json()[-1]
        assert last["message_type"] == "approval_request_message", "it still waits"


async def test_everything_else_is_there_under_its_own_identifier(
    source: str, database_url: str, start_server: StartServer, scripted_model: ScriptedModel, tmp_path: Path
) -> None:
    await change(
        source,
        f"INSERT INTO users (id, name, organization_id) SELECT '{GRACE}', 'Grace', id FROM organizations",
        f"UPDATE block SET _created_by_id = '{GRACE}', _last_updated_by_id = '{GRACE}' WHERE label = 'policies'",
        f"UPDATE mcp_server SET token_enc = '{HIDDEN[0]}', custom_headers_enc = '{{\"x-key\": \"{HIDDEN[1]}\"}}' "
        "WHERE server_type <> 'stdio'",
        f"UPDATE mcp_server SET stdio_config = jsonb_set(stdio_config::jsonb, '{{env,K}}', '\"{HIDDEN[2]}\"')::json "
        "WHERE server_type = 'stdio'",
        f"UPDATE sandbox_environment_variables SET value_enc = '{HIDDEN[3]}'",
        f"UPDATE agent_environment_variables SET value_enc = '{HIDDEN[4]}' WHERE key = 'REGION'",
        f"UPDATE providers SET api_key_enc = '{HIDDEN[5]}' WHERE name = 'house'",
    )
    done = await taken(source, database_url)
    for table in done.source.keys() - {"provider_traces", "alembic_version"}:
        known = done.taken[table] + done.there[table] + done.refused[table]
        assert known == done.source[table], (table, done.problems)
    assert +done.refused == {"providers": 2, "provider_models": 10}, done.problems
    connection = await asyncpg.connect(source)
    names = ("archival_passages", "file_contents", "source_passages", "identities", "runs", "steps", "mcp_server")
    names = (*names, "groups")
    rows = {name: [dict(row) for row in await connection.fetch(f'SELECT * FROM "{name}"')] for name in names}
    agent_id = await connection.fetchval("SELECT agent_id FROM archives_agents ORDER BY agent_id LIMIT 1")
    reader = await connection.fetchval("SELECT agent_id FROM sources_agents")
    await connection.close()
    here = await all_rows(database_url)
    assert len(here["passage_vectors"]) == 60
    assert len(here["file_vectors"]) == len(here["file_chunks"]) == 5
    assert here["jobs"] == [], "nothing is embedded anew"
    with plain_client(start_server(env={"FOLKMOOT_SECRET_KEY": SECRET}).url) as http:
        passages = http.get(f"/v1/agents/{agent_id}/archival-memory", params={"limit": 100}).json()
        texts = {row["id"]: row["text"] for row in rows["archival_passages"]}
        assert {each["id"]: each["text"] for each in passages}.items() <= texts.items()
        assert passages
        scripted_model.embeddings.dimensions = 1536
        found = http.get(f"/v1/agents/{agent_id}/archival-memory/search", params={"query": "kettle"}).json()
        assert found["results"]
        folder = http.get(f"/v1/agents/{reader}/folders").json()[0]["id"]
        files = http.get(f"/v1/folders/{folder}/files", params={"include_content": True}).json()
        assert {f["id"]: f["content"] for f in files} == {r["file_id"]: r["text"] for r in rows["file_contents"]}
        chunks = http.get(f"/v1/folders/{folder}/passages", params={"limit": 100}).json()
        assert {each["id"] for each in chunks} == {row["id"] for row in rows["source_passages"]}
        assert len(http.get(f"/v1/agents/{reader}/files").json()["files"]) == 4
        for row in rows["identities"]:
            identity = http.get(f"/v1/identities/{row['id']}").json()
            assert (identity["name"], identity["properties"]) == (row["name"], json.loads(row["properties"]))
        for row in rows["runs"][::20]:
            run = http.get(f"/v1/runs/{row['id']}").json()
            assert (run["agent_id"], run["status"]) == (row["agent_id"], "completed")
        for row in rows["steps"][::20]:
            step = http.get(f"/v1/steps/{row['id']}").json()
            assert (step["run_id"], step["prompt_tokens"], step["status"]) == (row["run_id"], 100, "success")
        for row in rows["groups"]:
            group = http.get(f"/v1/groups/{row['id']}").json()
            for field in ("manager_type", "manager_agent_id", "description", "max_turns", "termination_token"):
                assert group[field] == row[field], field
            assert group["agent_ids"] == json.loads(row["agent_ids"])
        (provider,) = [each for each in http.get("/v1/providers/").json() if each["provider_category"] == "byok"]
        assert (provider["name"], provider["base_url"]) == ("house", "http://127.0.0.1:19971/v1")
        servers = {each["id"]: each for each in http.get("/v1/mcp-servers/").json()}
        assert servers.keys() == {row["id"] for row in rows["mcp_server"]}
        tools = [tool for each in servers for tool in http.get(f"/v1/mcp-servers/{each}/tools").json()]
        assert len(tools) == 6
        (config,) = http.get("/v1/sandbox-config").json()
        (variable,) = http.get(f"/v1/sandbox-config/{config['id']}/environment-variable").json()
        assert (variable["key"], variable["value"] != "") == ("GLOBAL_ONE", True)
        users_are_principals_who_can_be_given_a_key(http)
        shown = exported_by(http)
        key = http.headers["authorization"].removeprefix("Bearer ")
    file = tmp_path / "all.folkmoot"
    await back_up(database_url, file, None, lambda *_: None)
    kept = backed_up(file)
    assert await opened_secrets(database_url) >= {*HIDDEN}, "they are here"
    assert [secret for secret in (*HIDDEN, SECRET, key) if secret in shown or secret in kept] == []
    hashes = {row[3] for row in (await all_rows(database_url))["api_keys"]} - {""}
    assert len(hashes) == 2
    assert [each for each in hashes if each in shown] == [], "a backup has them, or keys would be over with it"


def exported_by(http: httpx.Client) -> str:
    """Return what a server exports: each agent's file, the lists of keys and of tool servers."""
    agents = [agent["id"] for agent in http.get("/v1/agents", params={"limit": 100}).json()]
    assert len(agents) == 13
    files = [http.get(f"/v1/agents/{agent}/export").raise_for_status().text for agent in agents]
    assert "SHOP_KEY" in "".join(files), "names of secrets are in them"
    paths = ("/members?kind=csv", "/members?kind=json", "/v1/keys", "/v1/mcp-servers/", "/v1/providers/")
    return "".join([*files, *(http.get(path).raise_for_status().text for path in paths)])


def backed_up(file: Path) -> str:
    """Return everything that a backup says."""
    with zipfile.ZipFile(file) as archive:
        return "".join(archive.read(name).decode() for name in archive.namelist())


async def opened_secrets(url: str) -> set[str]:
    """Return each text of what is sealed in a database, as who has its key reads it."""
    sealer, found = Sealer(SECRET, Path("/nowhere")), set()
    cells = "\n".join(str(cell) for rows in (await all_rows(url)).values() for row in rows for cell in row)
    for sealed in re.findall(r"(?<![-\w])gAAAAA[-\w]+=*", cells):
        for value in sealer.unseal(sealed).values():
            found |= {value, *re.findall(r'"([^"]+)"', value)}
    return found


HIDDEN = tuple(
    f"marker-of-{what}" for what in ("a-token", "a-header", "a-program", "sandboxes", "an-agent", "a-provider")
)
"""What is secret in the source; it is not sealed there, as with a server that was given no key."""

GRACE = "user-11111111-1111-4111-8111-111111111111"


def users_are_principals_who_can_be_given_a_key(http: httpx.Client) -> None:
    """Nobody needs a key before one was given; then what its user writes stands beside what it wrote before."""
    users = http.get("/v1/admin/users/").json()
    assert [user["name"] for user in users if user["id"] == GRACE] == ["Grace"]
    assert len({user["id"] for user in users}) == len(users) == 2, "the default one is there already, under its name"
    after = http.get("/v1/admin/users/", params={"after": users[0]["id"], "limit": 1}).json()
    assert [user["id"] for user in after] == [GRACE]
    assert http.get("/v1/keys").json() == [], "they cannot sign in"
    page = http.get("/members").text
    assert GRACE in page
    assert "folkmoot import" in page
    (block,) = http.get("/v1/blocks", params={"label": "policies"}).json()
    for wrong, told in (
        ({"user": "Ada"}, "no user 'Ada' came"),
        ({"user": GRACE, "role": "reader", "blocks": []}, "member"),
    ):
        refused = http.post("/v1/keys", json={"name": "G", **wrong})
        assert (refused.status_code, told in refused.json()["detail"]) == (422, True), refused.text
    made = http.post("/v1/keys", json={"name": "Grace", "user": "Grace", "role": "admin"}).json()
    assert made["id"] == GRACE
    assert http.get("/v1/keys").status_code == 401
    http.headers["authorization"] = f"Bearer {made['key']}"
    assert [key["id"] for key in http.get("/v1/keys").json()] == [GRACE]
    assert GRACE not in http.get("/members").text.partition("Users from another server")[2]
    http.patch(f"/v1/blocks/{block['id']}", json={"value": "Written with a key."}).raise_for_status()
    authors = [each["author"] for each in http.get(f"/v1/blocks/{block['id']}/history").json()]
    assert [(author["type"], author["id"], author["name"]) for author in authors] == [("api", GRACE, "Grace")] * 2
    twice = http.post("/v1/keys", json={"name": "Grace", "user": GRACE})
    assert (twice.status_code, "revoke that first" in twice.json()["detail"]) == (409, True)
    second = http.post("/v1/keys", json={"name": "second", "role": "admin"}).json()["key"]
    assert http.delete(f"/v1/keys/{GRACE}").json()["revoked_at"] is not None
    assert http.get("/v1/keys").status_code == 401
    http.headers["authorization"] = f"Bearer {second}"
    again = http.post("/v1/keys", json={"name": "Grace H.", "user": GRACE, "expires_at": "2999-01-01T00:00:00Z"}).json()
    assert (again["id"], again["name"], again["revoked_at"]) == (GRACE, "Grace H.", None)
    assert http.delete("/v1/admin/users/", params={"user_id": GRACE}).status_code == 409


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


SECOND = "org-22222222-2222-4222-8222-222222222222"
OF_MOVED = "(SELECT id FROM agents WHERE name = 'old memgpt')"
MOVING = (
    f"INSERT INTO organizations (id, name, is_deleted, privileged_tools) VALUES ('{SECOND}', 'second', false, false)",
    (
        f"INSERT INTO users (id, name, organization_id, is_deleted, created_at) "
        f"VALUES ('user-22222222-2222-4222-8222-222222222222', 'grace', '{SECOND}', false, now())"
    ),
    f"UPDATE agents SET organization_id = '{SECOND}' WHERE name = 'old memgpt'",
    f"UPDATE messages SET organization_id = '{SECOND}' WHERE agent_id = {OF_MOVED}",
    (
        f"UPDATE block SET organization_id = '{SECOND}' WHERE id IN "
        f"(SELECT block_id FROM blocks_agents WHERE agent_id = {OF_MOVED})"
    ),
    (
        f"INSERT INTO blocks_agents (agent_id, block_id, block_label) "
        f"SELECT {OF_MOVED}, id, label FROM block WHERE label = 'policies'"
    ),
)
"""An organisation of its own for one agent and its blocks, and a block of the other one that it is said to have."""


@one_store
async def test_organisations_come_apart_and_nothing_of_one_gets_into_the_other(source: str, database_url: str) -> None:
    await change(source, *MOVING)

    async def rows_of(*tables: str) -> dict[str, int]:
        every = await all_rows(database_url)
        return {table: sum(SECOND in row for row in every[table]) for table in tables}

    tried = await taken(source, database_url, organization="second", dry_run=True)
    assert (tried.taken["organizations"], tried.taken["agents"], await rows_of("agents")) == (1, 1, {"agents": 0})
    part = await taken(source, database_url, organization="second")
    assert (part.taken["organizations"], part.source["agents"], part.taken["agents"]) == (1, 1, 1)
    assert "which did not come" in "\n".join(part.problems), "the block of the other organisation"
    every = await all_rows(database_url)
    for table in ("agents", "blocks", "agent_blocks", "messages", "api_keys", "organizations"):
        assert every[table], table
        assert all(SECOND in row for row in every[table]), table
    whole = await taken(source, database_url)
    assert (whole.there["organizations"], whole.taken["agents"], whole.there["agents"]) == (2, 12, 1)
    mine = await rows_of("agents", "blocks", "agent_blocks", "messages")
    assert mine == {table: len(every[table]) for table in mine}


@one_store
async def test_an_organisation_whose_name_is_taken_is_told_and_takes_nobody_with_it(
    source: str, database_url: str
) -> None:
    await change(source, *MOVING)
    store = (await open_store(database_url, 10)).everywhere
    await store.write(lambda transaction: create_organization(transaction, "second"))
    await store.close()
    done = await taken(source, database_url)
    assert (done.refused["organizations"], done.taken["agents"]) == (1, 12)
    told = "\n".join(done.problems)
    assert f"organizations {SECOND} 'second': cannot be written" in told
    assert "agents: 1 rows belong to what is not there" in told
    assert not [row for rows in (await all_rows(database_url)).values() for row in rows if SECOND in row]


@one_store
async def test_a_part_is_taken_and_blocks_follow_until_they_are_written_here(
    source: str, database_url: str, start_server: StartServer
) -> None:
    with pytest.raises(StartupError, match="there is no 'king'; there are providers, blocks,"):
        await taken(source, database_url, only=["king"])
    with pytest.raises(StartupError, match="there is no 'king' in the database"):
        await taken(source, database_url, organization="king")
    part = await taken(source, database_url, only=["blocks", "archives"])
    assert {table for table, count in part.taken.items() if count} == {
        *("block", "blocks_tags", "archives", "archival_passages", "passage_tags", "users")
    }
    await change(
        source,
        "UPDATE block SET value = 'New at the old server.', updated_at = '2027-01-01' WHERE label = 'policies'",
        "UPDATE agents SET updated_at = '2020-01-01'",
        "UPDATE conversations SET updated_at = '2020-01-01'",
        "UPDATE messages SET created_at = '2020-01-01', updated_at = '2020-01-01'",
    )
    whole = await taken(source, database_url)
    assert whole.taken["agents"] == 13
    assert whole.there["block"] == whole.source["block"]
    server = start_server(env={"FOLKMOOT_SECRET_KEY": SECRET})
    with plain_client(server.url) as http:
        (block,) = http.get("/v1/blocks", params={"label": "policies"}).json()
        assert (block["value"], block["version"]) == ("New at the old server.", 2)
        history = http.get(f"/v1/blocks/{block['id']}/history").json()
        assert {version["author"]["name"] for version in history} == {"default_user"}
        http.patch(f"/v1/blocks/{block['id']}", json={"value": "Written here."})
    server.stop()
    await change(
        source,
        "UPDATE block SET value = 'Newer there.', updated_at = '2027-01-02' WHERE label = 'policies'",
        "UPDATE messages SET updated_at = '2027-01-02' WHERE id = (SELECT min(id) FROM messages WHERE role = 'user')",
    )
    since = await taken(source, database_url, since=datetime(2027, 1, 1, tzinfo=UTC))
    assert [line for line in since.problems if "was written here and stays" in line]
    assert since.there["block"] == 1
    assert 0 < since.there["messages"] < since.source["messages"]
    assert since.checksum == since.checksum_here


@one_store
async def test_the_history_of_a_block_comes_as_versions(
    source: str, database_url: str, start_server: StartServer
) -> None:
    await change(
        source,
        'INSERT INTO block_history (id, block_id, label, value, "limit", sequence_number, organization_id, is_deleted, '
        "actor_id) SELECT 'block_hist-' || number, id, label, 'state ' || number, 5000, number, organization_id, "
        "false, 'agent-' || number FROM block, generate_series(1, 2) AS number WHERE label = 'company'",
    )
    await taken(source, database_url, only=["blocks"])
    with plain_client(start_server().url) as http:
        (block,) = http.get("/v1/blocks", params={"label": "company"}).json()
        history = http.get(f"/v1/blocks/{block['id']}/history").json()
        texts = [http.get(f"/v1/blocks/{block['id']}/history/{each}").json()["value"] for each in (1, 2, 3)]
    assert texts == ["state 1", "state 2", block["value"]]
    assert sorted((each["version"], each["author"]["type"]) for each in history) == [
        (1, "agent"),
        (2, "agent"),
        (3, "api"),
    ]


async def all_keys(url: str, table: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table."""
    return (await all_rows(url))[table]


NTH = (
    "(SELECT id FROM messages WHERE role = 'user' AND agent_id = (SELECT id FROM agents WHERE name = 'old memgpt') "
    "ORDER BY sequence_id OFFSET {} LIMIT 1)"
)
DAMAGE = (
    "role = 'king'",
    "tool_calls = '[{'",
    "created_at = NULL",
    """content = '[{"type": "text", "text": "a\\u0000b"}]'""",
)
"""What is wrong with the messages of one agent."""


@one_store
async def test_what_is_damaged_is_told_row_by_row_and_takes_nobody_with_it(source: str, database_url: str) -> None:
    await change(
        source,
        *(
            f"ALTER TABLE {column.partition('.')[0]} ALTER COLUMN {column.partition('.')[2]} TYPE text"
            for column in (
                "agents.llm_config",
                "agents.tool_rules",
                "messages.tool_calls",
                "archival_passages.metadata_",
            )
        ),
        "UPDATE agents SET llm_config = '{broken' WHERE name = 'workflow one'",
        "UPDATE agents SET tool_rules = '[broken' WHERE name = 'old memgpt'",
        "DELETE FROM agents WHERE name = 'react one'",
        "DELETE FROM block WHERE label = 'company'",
        "DELETE FROM archives WHERE name = 'kettle lore'",
        "DELETE FROM files WHERE original_file_name = 'rules.txt'",
        "DELETE FROM mcp_server WHERE server_type <> 'stdio'",
        "UPDATE archival_passages SET metadata_ = '{' WHERE id = (SELECT min(id) FROM archival_passages)",
        *(f"UPDATE messages SET {what} WHERE id = {NTH.format(place)}" for place, what in enumerate(DAMAGE)),
        "UPDATE identities SET identity_type = 'king' WHERE name = 'Ada'",
        "UPDATE tools SET source_code = 'def (', created_at = '294276-12-31' WHERE name = 'roll_dice'",
        "UPDATE tools SET json_schema = '[1]' WHERE name = 'roll_dice'",
        "UPDATE groups SET created_at = '4713-01-01 BC', updated_at = 'infinity'",
        "DROP TABLE blocks_tags",
        "DROP TABLE run_metrics",
    )
    done = await taken(source, database_url, key=None)
    told = "\n".join(done.problems)
    for named in (
        "its llm_config is no JSON",
        "its tool_rules is no JSON",
        "nobody has the role 'king'",
        "what it says is no JSON",
        "None is no time",
        "its metadata_ is no JSON",
        "there is no identity of the type 'king'",
        "its server mcp_server-76eda84a",
        "which did not come",
        "roll_dice",
        "SHOP_KEY",
        "GLOBAL_ONE",
        "'house': its api_key needs LETTA_ENCRYPTION_KEY",
        "archival_passages: 28 rows belong to what is not there",
    ):
        assert named in told, (named, told)
    for table, count in done.source.items():
        known = done.taken[table] + done.there[table] + done.refused[table]
        lost = f"{table}: {count - known:,} rows"
        assert known == count or lost in told or table == "alembic_version", (table, count, known, told)
    assert (done.refused["messages"], done.refused["agents"]) == (3, 1)
    assert done.checksum == done.checksum_here
    said = [str(cell) for row in (await all_rows(database_url))["messages"] for cell in row]
    assert any(r"a\ufffdb" in cell for cell in said)


@one_store
async def test_texts_of_mixed_encodings_come(database_url: str, postgres_server: PostgresDatabases) -> None:
    """A database without an encoding holds whatever bytes were put into it."""
    url = postgres_server.create_database(encoding="SQL_ASCII")
    await load_dump(url)
    await change(
        url,
        "UPDATE agents SET name = convert_from('\\x63616665cc81'::bytea, 'SQL_ASCII') WHERE name = 'old memgpt'",
        "UPDATE agents SET name = convert_from('\\x636166e9'::bytea, 'SQL_ASCII') WHERE name = 'memgpt two'",
    )
    done = await taken(url, database_url)
    postgres_server.drop_database(url)
    names = [row[2] for row in (await all_rows(database_url))["agents"]]
    assert {"cafe\u0301", "caf\xe9"} <= {*names}
    assert any("no UTF-8 and were read as Windows-1252" in line for line in done.problems)


@one_store
async def test_what_earlier_releases_lacked_is_told_and_passages_of_agents_get_archives(
    source: str, database_url: str, start_server: StartServer
) -> None:
    """Made of the newest schema: before archives each agent had passages, and before conversations one of them."""
    await change(
        source,
        "CREATE TABLE agent_passages AS SELECT DISTINCT ON (p.id) p.*, a.agent_id FROM archival_passages AS p "
        "JOIN archives_agents AS a ON a.archive_id = p.archive_id ORDER BY p.id, a.agent_id",
        "DELETE FROM messages WHERE conversation_id IS NOT NULL",
        "DROP TABLE archival_passages, archives, archives_agents, passage_tags, conversations, conversation_messages, "
        "blocks_conversations, block_history, runs, run_metrics, mcp_tools, file_contents CASCADE",
        "ALTER TABLE messages DROP COLUMN conversation_id, DROP COLUMN approvals, DROP COLUMN run_id, DROP COLUMN otid",
        "ALTER TABLE agents DROP COLUMN compaction_settings, DROP COLUMN timezone, DROP COLUMN hidden",
    )
    done = await taken(source, database_url)
    assert any(line.startswith("The database has no archival_passages, archives, ") for line in done.problems)
    assert (done.taken["agents"], done.taken["messages"]) == (13, done.source["messages"])
    assert done.taken["agent_passages"] == done.source["agent_passages"] > 0
    connection = await asyncpg.connect(source)
    wanted = await connection.fetchrow("SELECT agent_id, count(*) AS count FROM agent_passages GROUP BY 1 LIMIT 1")
    await connection.close()
    assert wanted is not None
    with plain_client(start_server(env={"FOLKMOOT_SECRET_KEY": SECRET}).url) as http:
        path = f"/v1/agents/{wanted['agent_id']}"
        found = http.get(f"{path}/archival-memory", params={"limit": 100}).json()
        assert len(found) == wanted["count"]
        answer = http.post(f"{path}/messages", json={"input": "ECHO I am here now."}).json()
        assert answer["messages"][-1]["content"] == "I am here now."


@one_store
async def test_what_a_database_is_known_by_is_enough_of_it(
    source: str, database_url: str, start_server: StartServer
) -> None:
    """Nothing that an earlier release may lack is relied on: all further tables and columns are taken away."""
    connection = await asyncpg.connect(source)
    found = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    )
    await connection.close()
    tables = {row["table_name"] for row in found} - NEEDED.keys()
    columns = [(table, column) for table, column in found if column not in NEEDED.get(table, {column})]
    assert len(tables) > 30
    async with open_source(source) as whole:
        assert whole.schema == "1c28e167b74f, that of release 0.16.8"
    assert len(columns) > 80
    await change(
        source,
        f"DROP TABLE {', '.join(tables)} CASCADE",
        *(f'ALTER TABLE "{table}" DROP COLUMN "{column}" CASCADE' for table, column in columns),
    )
    async with open_source(source) as cut:
        assert cut.schema.startswith("unknown, which is not among those that were tried (0.16.8)")
    done = await taken(source, database_url)
    assert (done.taken["agents"], done.taken["block"]) == (13, 39), done.problems
    assert done.taken["messages"] + done.refused["messages"] == done.source["messages"] > 400
    assert done.checksum == done.checksum_here
    with plain_client(start_server(env={"FOLKMOOT_SECRET_KEY": SECRET}).url) as http:
        agent = http.get("/v1/agents", params={"name": "shop assistant"}).json()[0]
        answer = http.post(f"/v1/agents/{agent['id']}/messages", json={"input": "ECHO I am here now."}).json()
        assert answer["messages"][-1]["content"] == "I am here now."


@one_store
async def test_another_database_is_refused_with_what_was_expected(
    database_url: str, postgres_server: PostgresDatabases
) -> None:
    url = postgres_server.create_database()
    with pytest.raises(StartupError, match=r"lacks organizations\.id.*releases 0\.8"):
        await taken(f"{url}?connect_timeout=5&channel_binding=prefer", database_url)
    postgres_server.drop_database(url)
    with pytest.raises(StartupError, match="cannot be reached"):
        await taken("postgresql://127.0.0.1:9/nothing", database_url)


def test_secrets_are_opened_with_their_key_only() -> None:
    sealed = "JxmyjI4JxuDHUT/4UvhmYT9K7XzU7xdLZSVmxx4D0vrzzcKy5eHklq6jNlXiw9qFjSv5c3YZ6Qc="
    assert decrypt(sealed, KEY) == "sk-shop-1234"
    assert decrypt(sealed, "another") is None
    assert decrypt(sealed, None) is None
    assert decrypt("never sealed", KEY) == "never sealed"
