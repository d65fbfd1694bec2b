"""The migrated schema is the one of `tables.py`, and any number of processes may migrate at once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Boolean, Connection, MetaData, Text, create_engine, inspect, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from folkmoot.conversations.search import MessageSearch, search_for
from folkmoot.errors import StartupError
from folkmoot.identifiers import ORGANIZATION
from folkmoot.runs.runs import _dead
from folkmoot.store.migrate import LOCK, configuration, copies_beside, migrate_postgres, migrate_sqlite, upgrade
from folkmoot.store.migrations import HEAD
from folkmoot.store.opening import open_store
from folkmoot.store.tables import agents, conversations, messages, metadata, run_events, runs
from support.polling import PATIENCE
from support.postgres import PostgresDatabases
from support.scripts import start

ENGINES_OWN = re.compile(r"\w+_fulltext.*|alembic_version")
"""What is not in `tables.py`."""


async def migrate(url: str) -> None:
    if url.startswith("sqlite"):
        migrate_sqlite(Path(url.removeprefix("sqlite:///")))
    else:
        await migrate_postgres(url)


@contextmanager
def sqlite_connection(url: str) -> Iterator[Connection]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


async def on_connection(url: str, work: Any) -> Any:
    """Call `work` with a SQLAlchemy connection."""
    if url.startswith("sqlite"):
        with sqlite_connection(url) as connection:
            return work(connection)
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    async with engine.begin() as connection:
        return await connection.run_sync(work)


def described(connection: Connection) -> dict[str, Any]:
    """Return everything an inspector tells of each table: columns, keys, constraints, indexes and what limits them."""
    inspector = inspect(connection)
    found: dict[str, Any] = {}
    for table in inspector.get_table_names():
        if ENGINES_OWN.fullmatch(table):
            continue
        columns = [{**c, "type": str(c["type"])} for c in inspector.get_columns(table)]
        found[table] = {
            "columns": sorted(columns, key=lambda column: column["name"]),
            "primary key": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign keys": sorted(
                (key["constrained_columns"], key["referred_table"], key["referred_columns"], key["options"])
                for key in inspector.get_foreign_keys(table)
            ),
            "unique": sorted((u["name"] or "", u["column_names"]) for u in inspector.get_unique_constraints(table)),
            "indexes": sorted(
                (
                    index["name"],
                    index["column_names"],
                    bool(index["unique"]),
                    [(name, str(option)) for name, option in sorted(index.get("dialect_options", {}).items())],
                )
                for index in inspector.get_indexes(table)
                if not ENGINES_OWN.fullmatch(index["name"] or "")
            ),
        }
    return found


async def test_the_migrated_schema_is_that_of_the_tables(empty_database_url: str) -> None:
    await on_connection(empty_database_url, upgrade)

    def is_ours(_: Any, name: str | None, kind: str, reflected: bool, __: Any) -> bool:
        return not (reflected and kind in ("table", "index") and ENGINES_OWN.fullmatch(name or ""))

    def differences(connection: Connection) -> list[Any]:
        options = {"compare_type": True, "compare_server_default": True, "include_object": is_ours}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    assert await on_connection(empty_database_url, differences) == []


async def test_an_empty_database_gets_the_schema_that_the_migrations_make(
    store: str, empty_database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Unlike Alembic's comparison this one sees primary keys."""
    await on_connection(empty_database_url, upgrade)
    if store == "sqlite":
        fresh = f"sqlite:///{tmp_path / 'fresh.sqlite3'}"
    else:
        fresh = request.getfixturevalue("postgres_server").create_database()
    await migrate(fresh)
    assert await on_connection(empty_database_url, described) == await on_connection(fresh, described)
    if store == "postgres":
        request.getfixturevalue("postgres_server").drop_database(fresh)


async def test_the_full_text_index_is_there(store: str, empty_database_url: str) -> None:
    await migrate(empty_database_url)

    def found(connection: Connection) -> Any:
        inspector = inspect(connection)
        if store == "sqlite":
            return "messages_fulltext" in inspector.get_table_names()
        return "messages_fulltext" in [index["name"] for index in inspector.get_indexes("messages")]

    assert await on_connection(empty_database_url, found)


def test_head_is_the_newest_migration() -> None:
    script = ScriptDirectory.from_config(configuration())
    assert script.get_heads() == [HEAD]
    versions = sorted(path.name for path in Path(script.versions).glob("[0-9]*.py"))
    assert [name.partition("_")[0] for name in versions] == [f"{n:04}" for n in range(1, len(versions) + 1)]
    assert versions[-1].startswith(HEAD)


async def test_migrating_again_changes_nothing(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    before = await on_connection(empty_database_url, described)
    await migrate(empty_database_url)
    assert await on_connection(empty_database_url, described) == before
    assert before


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_several_processes_migrate_one_fresh_database_at_once(empty_database_url: str, tmp_path: Path) -> None:
    script, said, errors = (tmp_path / name for name in ("migrate.py", "said", "errors"))
    script.write_text(
        "import asyncio, sys\n"
        "from folkmoot.store.migrate import migrate_postgres\n"
        "asyncio.run(migrate_postgres(sys.argv[1]))\n"
    )
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    waiting += " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute(f"SELECT pg_advisory_lock({LOCK})")  # until all of them have seen an empty database
        started = [
            start(script, [empty_database_url], environ=os.environ, output=said, errors=errors) for _ in range(6)
        ]
        while await connection.fetchval(waiting) < len(started):
            assert [process.poll() for process in started] == [None] * len(started), errors.read_text()
            await asyncio.sleep(0.02)
        await connection.execute(f"SELECT pg_advisory_unlock({LOCK})")
        ended = [await asyncio.to_thread(process.wait, PATIENCE) for process in started]
        assert ended == [0] * len(started), errors.read_text()
        assert [row[0] for row in await connection.fetch("SELECT version_num FROM alembic_version")] == [HEAD]
    finally:
        await connection.close()


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
def test_an_empty_database_is_filled_without_what_only_migrations_need(empty_database_url: str) -> None:
    """It would stay in the server's memory: 7 MB."""
    code = (
        "import asyncio, sys\n"
        "from folkmoot.store.migrate import migrate_postgres\n"
        "asyncio.run(migrate_postgres(sys.argv[1]))\n"
        "print({'alembic', 'sqlalchemy.orm', 'greenlet'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, empty_database_url], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_who_may_not_make_tables_is_told_so(empty_database_url: str, postgres_server: PostgresDatabases) -> None:
    postgres_server.run_sql("CREATE ROLE reader LOGIN")
    try:
        with pytest.raises(StartupError, match=r"not be made .*: permission denied for schema public\. "):
            await migrate_postgres(empty_database_url.replace("postgres@", "reader@"))
    finally:
        postgres_server.run_sql("DROP ROLE reader")


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_migration_that_fails_leaves_no_half_schema(empty_database_url: str) -> None:
    path = Path(empty_database_url.removeprefix("sqlite:///"))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE messages (mine TEXT)")  # in the way of the first migration
    with pytest.raises(Exception, match="messages"):
        migrate_sqlite(path)
    with closing(sqlite3.connect(path)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert tables == ["messages"]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_migration_that_finds_no_room_says_so_and_changes_nothing(
    empty_database_url: str, tmp_path: Path
) -> None:
    """The table that is being copied goes with the transaction; that it is missed then is not what went wrong."""
    path = Path(empty_database_url.removeprefix("sqlite:///"))
    await on_connection(empty_database_url, lambda connection: upgrade(connection, "0003"))
    await on_connection(empty_database_url, insert_old)
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO messages SELECT 'o', 'agent-1', ?, ?, 'agent-1', 'user_message', '', ?, ?, "
            "NULL, NULL, NULL, NULL, NULL, 1",
            ((number, f"message-{number}", number, "x" * 4000) for number in range(2000)),
        )
    script, said, errors = (tmp_path / name for name in ("migrate.py", "said", "errors"))
    script.write_text(
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from folkmoot.errors import StartupError\n"
        "from folkmoot.store.migrate import migrate_sqlite\n"
        "path = Path(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(path.stat().st_size * float(sys.argv[2])),) * 2)\n"
        "try:\n"
        "    migrate_sqlite(path)\n"
        "except StartupError as error:\n"
        "    print(error.message)\n"
    )
    for room, reason in (("0.5", "cannot be copied to .*: .*disk"), ("1.25", "cannot be written: .*disk")):
        process = start(script, [str(path), room], environ=os.environ, output=said, errors=errors)
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0, errors.read_text()
        assert re.search(reason, said.read_text()), said.read_text()
        assert not [each for each in copies_beside(path) if ".part" in each.name]
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("0003",)
            assert database.execute("SELECT count(*) FROM messages").fetchone() == (2000,)
    migrate_sqlite(path)


OLD = {
    "agents": {"id": "agent-1", "agent_type": "letta_v1_agent", "configuration": "{}"},
    "conversations": {"id": "agent-1", "agent_id": "agent-1", "configuration": "{}", "turn_run_id": "run-1"},
    "runs": {"id": "run-1", "agent_id": "agent-1", "conversation_id": "agent-1", "status": "running", "details": "{}"},
    "run_events": {"run_id": "run-1", "data": '{"message_type": "ping"}'},
}


def old_rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield rows as they stood before traces and tags had tables of their own."""
    yield from OLD.items()
    gone = {**OLD["runs"], "id": "run-2", "agent_id": "agent-gone", "conversation_id": "agent-gone"}
    yield "runs", gone
    details = {"reasoning_tokens": 3, "finish_reason": 'the "trace": none'}
    for number in range(120):
        trace = {"trace": {"request": {"n": number}, "response": {}}} if number else {}
        step = {"agent_id": "agent-1", "model": "m", "run_id": "run-2" if number == 7 else "run-1"}
        yield (
            "steps",
            {**step, "id": f"step-{number:03}", "details": json.dumps({**details, **trace}), "created_at": number},
        )
    for number in range(2):
        block = {"id": f"block-{number}", "label": "a", "updated_by": "{}", "version": 1}
        tags = ["z", "a"] if number else []
        yield "blocks", {**block, "extra": json.dumps({"metadata": {"k": 1}, "tags": tags, "template": {}})}
        for tag in tags:
            yield "block_tags", {"block_id": "block-1", "tag": tag}


def insert_old(connection: Connection) -> None:
    """Insert them, what a row does not say filled in by its column's type."""
    reflected = MetaData()
    reflected.reflect(connection)
    for name, row in old_rows():
        table = reflected.tables[name]
        filled = {
            column.name: "" if isinstance(column.type, Text) else not isinstance(column.type, Boolean) and 1
            for column in table.c
            if not column.nullable
        }
        connection.execute(table.insert().values({**filled, "organization_id": "o", **row}))


async def test_rows_of_before_are_carried_over(empty_database_url: str) -> None:
    def to(revision: str) -> Any:
        def work(connection: Connection) -> None:
            config = configuration()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

        return work

    def found(connection: Connection) -> dict[str, list[Any]]:
        reflected = MetaData()
        reflected.reflect(connection)
        return {name: connection.execute(table.select()).mappings().all() for name, table in reflected.tables.items()}

    await on_connection(empty_database_url, to("0003"))
    await on_connection(empty_database_url, insert_old)
    await on_connection(empty_database_url, upgrade)
    rows = await on_connection(empty_database_url, found)
    assert [row["locked_by_run"] for row in rows["conversations"]] == ["run-1"]
    assert rows["run_events"] == []
    assert [row["id"] for row in rows["runs"]] == ["run-1"], "a deleted agent's run is gone"
    traces = {
        row["step_id"]: (row["run_id"], json.loads(row["request"]), row["created_at"]) for row in rows["step_traces"]
    }
    assert traces == {f"step-{n:03}": ("run-1", {"n": n}, n) for n in range(1, 120) if n != 7}
    details = {"reasoning_tokens": 3, "finish_reason": 'the "trace": none'}
    assert len(rows["steps"]) == 120
    assert all(json.loads(row["details"]) == details for row in rows["steps"])
    assert [row["id"] for row in rows["steps"] if row["run_deleted_at"] is not None] == ["step-007"]
    assert sorted((row["block_id"], row["place"], row["tag"]) for row in rows["block_tags"]) == [
        ("block-1", 0, "z"),
        ("block-1", 1, "a"),
    ]
    assert [json.loads(row["extra"]) for row in rows["blocks"]] == [{"metadata": {"k": 1}, "template": {}}] * 2


async def test_what_was_said_before_is_found_as_what_is_said_now(empty_database_url: str) -> None:
    """The index of the older versions knew no words inside words, and a message was in one conversation only."""

    def older(connection: Connection) -> None:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        ours = {"organization_id": ORGANIZATION}
        long_ago = {"created_at": 1, "updated_at": 1}
        agent = {"name": "a", "agent_type": "letta_v1_agent", "system": "", "model": "m", "timezone": "UTC"}
        connection.execute(agents.insert().values(**ours, **long_ago, **agent, id="agent-1", configuration="{}"))
        numbers = {"next_sequence": 1, "context_start": 0, "prompt_tokens": 0, "prompt_size": 0, "last_message_at": 1}
        conversation = {**ours, **long_ago, **numbers, "agent_id": "agent-1", "hidden": False, "configuration": "{}"}
        connection.execute(conversations.insert(), [{**conversation, "id": each} for each in ("agent-1", "conv-1")])
        body = json.dumps({"content": [{"type": "text", "text": "下周的会议"}]})
        connection.execute(messages.insert().values(**_message("agent-1", 1), body=body, search_text="下周的会议"))
        run: dict[str, Any] = {
            "agent_id": "agent-1",
            "conversation_id": "agent-1",
            "status": "completed",
            "details": "{}",
        }
        run |= {"background": False, "cancel_requested": False, "created_at": 1}
        connection.execute(runs.insert().values(**ours, **run, id="run-1"))
        line = json.dumps({"message_type": "ping"})  # logs held what streams showed
        connection.execute(run_events.insert().values(**ours, run_id="run-1", sequence=1, data=line))

    await on_connection(empty_database_url, older)
    await migrate(empty_database_url)
    assert (
        await on_connection(empty_database_url, lambda connection: connection.execute(select(run_events)).all()) == []
    )

    def fork(connection: Connection) -> None:
        connection.execute(messages.insert().values(**_message("conv-1", 2), body="{}", search_text=""))

    await on_connection(empty_database_url, fork)
    store = await open_store(empty_database_url, 5)
    found = await store.scan(await search_for(store, MessageSearch(query="会议")))
    await store.close()
    assert [(each.message.id, each.conversation_id) for each in found] == [("message-1", "agent-1")]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_dead_runs_are_found_without_a_look_at_all_runs(empty_database_url: str) -> None:
    """They are looked for every few seconds, on the event loop."""
    await migrate(empty_database_url)

    def plan(connection: Connection) -> list[str]:
        looked_for = _dead.params(now=1).compile(connection, compile_kwargs={"literal_binds": True})
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {looked_for}")]

    assert "SEARCH runs USING INDEX runs_by_lease (lease_expires_at<?)" in await on_connection(empty_database_url, plan)


def _message(conversation_id: str, search_id: int) -> dict[str, Any]:
    return {
        "organization_id": ORGANIZATION,
        "conversation_id": conversation_id,
        "sequence": 0,
        "id": "message-1",
        "agent_id": "agent-1",
        "message_type": "user_message",
        "search_id": search_id,
        "created_at": 1,
    }
