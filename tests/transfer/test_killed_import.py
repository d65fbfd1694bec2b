"""An import that is killed again and again goes to the end: what is there then is what an undisturbed one brings."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from folkmoot.store.tables import metadata
from support.postgres import PostgresDatabases
from transfer.databases import all_rows
from transfer.retired_database import KEY, grow, load_dump

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.directory import Directory
from folkmoot.settings import Settings
from folkmoot.store import bulk_postgres, bulk_sqlite, postgres, sqlite
from folkmoot.store.opening import open_store
from folkmoot.store.sealing import Sealer
from folkmoot.transfer.retired import context, source, taking
from folkmoot.transfer.retired.kinds import conversations

conversations.AT_ONCE = 50

async def bring(url, target, key, writes):
    count = 0
    plain = context.Context.write

    async def write(self, work):
        async def and_die(transaction):
            nonlocal count
            await work(transaction)
            count += 1
            if count == writes:  # all of it is written and nothing committed
                os.kill(os.getpid(), signal.SIGKILL)
        await plain(self, and_die)

    context.Context.write = write
    store, sealer, directory = await open_store(target, 10), Sealer("sealed here", Path("/nowhere")), Directory({})
    catalogue = Catalogue(Settings(), {}, directory=directory)
    await directory.open(store, sealer)
    async with source.open_source(url) as found:
        done = await taking.Import(found, store, sealer, catalogue, directory, key, lambda *_: None).run()
    await directory.close()
    await catalogue.aclose()
    await store.close()
    assert done.checksum == done.checksum_here, "every message is as the source has it"

for line in sys.stdin:
    url, target, key, writes = line.split()
    child = os.fork()
    if not child:
        try:
            asyncio.run(bring(url, target, key, int(writes)))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Brings databases over, each in a process that is killed in the given one of its transactions; 0 for in none."""

UNLIKE = {"search_id", "sealed", "sealed_value", "sealed_configuration", "configuration", "created_at", "attached_at"}
"""Columns that are not the same twice: sealed anew, numbered anew, or when this was done."""


@pytest.fixture
def bring(postgres_server: PostgresDatabases) -> Iterator[Callable[[str, str, int], int]]:
    """Bring a database over and return how that ended."""
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def run(source: str, target: str, writes: int) -> int:
        print(source, target, KEY, writes, file=process.stdin, flush=True)
        return int(process.stdout.readline())

    with process:
        yield run
        process.stdin.close()


async def test_killed_in_every_phase_it_goes_to_the_end(
    store: str,
    database_url: str,
    bring: Callable[[str, str, int], int],
    postgres_server: PostgresDatabases,
    tmp_path: Path,
) -> None:
    source = postgres_server.create_database()
    await load_dump(source)
    await grow(source, 300)
    undisturbed = f"sqlite:///{tmp_path / 'whole.sqlite3'}"
    assert bring(source, undisturbed, 0) == 0
    kills = 0
    while (ended := bring(source, database_url, 9)) == -signal.SIGKILL:
        kills += 1
        assert kills < 60
    assert ended == 0
    assert kills > 12, "in every phase: among blocks, tools, archives, files, agents, messages, runs"
    whole, found = await all_rows(undisturbed), await all_rows(database_url)
    for name in whole:
        assert same(name, found[name]) == same(name, whole[name]), name
    if store == "sqlite":
        assert indexed(database_url) == indexed(undisturbed), "the full-text index has them all, and hears of new ones"
    assert bring(source, database_url, 1) == 0, "and there is nothing left to write"
    assert await all_rows(database_url) == found
    postgres_server.drop_database(source)


def indexed(url: str) -> tuple[int, int]:
    """Return how many messages a SQLite file's full-text index finds, and how many triggers the file has."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        (found,) = database.execute(
            "SELECT count(*) FROM messages_fulltext WHERE messages_fulltext MATCH 'said'"
        ).fetchone()
        (triggers,) = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone()
    assert found > 100
    return found, triggers


def same(name: str, rows: list[tuple[Any, ...]]) -> list[str]:
    """Return what two imports have in common of a table's rows."""
    columns = [column.name for column in metadata.tables[name].c]
    kept = []
    for row in rows:
        fields = {column: value for column, value in zip(columns, row, strict=True) if column not in UNLIKE}
        if name == "messages" and fields["sequence"] == 0:  # the system message, which each server writes its own
            del fields["id"]
        kept.append(repr(fields))
    return sorted(kept)
