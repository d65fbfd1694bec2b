"""An import that is killed again and again goes to the end: what is there then is what an undisturbed one brings."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from ast import literal_eval
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from folkmoot.store.tables import metadata
from folkmoot.transfer.retired.kinds import KINDS
from support.postgres import PostgresDatabases
from support.turns import STORES
from transfer.databases import all_rows
from transfer.retired_database import KEY, grow, load_dump

KILLED = """
import asyncio, os, signal, sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.directory import Directory
from folkmoot.settings import Settings
from folkmoot.store import bulk_postgres, bulk_sqlite, postgres, sqlite
from folkmoot.store.opening import open_store
from folkmoot.store.sealing import Sealer
from folkmoot.transfer.retired import context, source, taking
from folkmoot.transfer.retired.kinds import conversations

conversations.AT_ONCE = 50
now, writes = "users", {}  # the kind of things that is taken, and how many transactions of each there were
fatal = None
plain = context.Context.write

async def write(self, work):
    async def and_die(transaction):
        await work(transaction)
        writes[now] = writes.get(now, 0) + 1
        if fatal in ((now, writes[now]), ("anything", 1)):  # all of it is written and nothing committed
            os.kill(os.getpid(), signal.SIGKILL)
    await plain(self, and_die)

@dataclass
class Noted:
    kind: Any

    def __getattr__(self, name):
        return getattr(self.kind, name)

    async def take(self, context):
        global now
        now = self.kind.name
        await self.kind.take(context)

context.Context.write = write
taking.KINDS = [Noted(kind) for kind in taking.KINDS]

async def bring(url, target, key):
    store, sealer, directory = await open_store(target, 10), Sealer("sealed here", Path("/nowhere")), Directory({})
    catalogue = Catalogue(Settings(), {}, directory=directory)
    await directory.open(store, sealer)
    async with source.open_source(url) as found:
        done = await taking.Import(found, store, sealer, catalogue, directory, key, lambda *_: None).run()
    await directory.close()
    await catalogue.aclose()
    await store.close()
    assert done.checksum == done.checksum_here, "every message is as the source has it"

def whole(url, target, key):
    asyncio.run(bring(url, target, key))
    return dict(writes)

def until_killed(url, target, key, kind, nth):
    global fatal, now
    child = os.fork()
    if not child:
        writes.clear()
        fatal, now = (kind, int(nth)), "users"
        try:
            asyncio.run(bring(url, target, key))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for line in sys.stdin:
    what, *arguments = line.split()
    print({"whole": whole, "until_killed": until_killed}[what](*arguments), flush=True)
"""
"""Brings databases over: `whole` in this process, and `until_killed` in ones forked from it, which know by then what
took a while to load and to compute, and are killed in the given transaction of a kind of things; 0 if there is none."""

UNLIKE = {"search_id", "sealed", "sealed_value", "sealed_configuration", "configuration", "created_at", "attached_at"}
"""Columns that are not the same twice: sealed anew, numbered anew, or when this was done."""


@pytest.fixture
def bring() -> Iterator[Callable[..., Any]]:
    """Bring a database over and return how that ended."""
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def run(*arguments: object) -> Any:
        print(*arguments, file=process.stdin, flush=True)
        return literal_eval(process.stdout.readline())

    with process:
        yield run
        process.stdin.close()


async def test_killed_in_every_phase_it_goes_to_the_end(
    store: str,
    database_url: str,
    bring: Callable[..., Any],
    postgres_server: PostgresDatabases,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """The kinds of things take turns on the two stores, but for messages; with --thorough each is cut on both."""
    source = postgres_server.create_database()
    await load_dump(source)
    await grow(source, 300)
    undisturbed = f"sqlite:///{tmp_path / 'whole.sqlite3'}"
    writes: dict[str, int] = bring("whole", source, undisturbed, KEY)
    assert {*writes} == {"users", *(kind.name for kind in KINDS)}, "each kind of things is written"
    for number, (kind, count) in enumerate(writes.items()):
        is_its_turn = STORES[number % len(STORES)] == store
        if not (is_its_turn or kind == "messages" or request.config.getoption("thorough")):
            continue
        done = 0  # a run begins behind what the ones before it have left
        for place in sorted({1, (count + 1) // 2, count}) if kind == "messages" else [(count + 1) // 2]:
            ended = bring("until_killed", source, database_url, KEY, kind, place - done)
            assert ended == -signal.SIGKILL, (kind, place)
            done = place - 1
    assert bring("until_killed", source, database_url, KEY, "nothing", 1) == 0
    whole, found = await all_rows(undisturbed), await all_rows(database_url)
    for name in whole:
        assert same(name, found[name]) == same(name, whole[name]), name
    if store == "sqlite":
        assert indexed(database_url) == indexed(undisturbed), "the full-text index has them all, and hears of new ones"
    assert bring("until_killed", source, database_url, KEY, "anything", 1) == 0, "and there is nothing left to write"
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
