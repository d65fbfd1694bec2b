"""The files of an embedded database: closed to others, never another application's, and missed when they are gone."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, select

from folkmoot.errors import StartupError, StoreMoved, StoreUnavailable
from folkmoot.store import files
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.migrate import upgrade
from folkmoot.store.opening import open_store
from folkmoot.store.tables import blocks
from support.clients import plain_client
from support.fixtures import StartServer
from support.polling import PATIENCE
from support.postgres import PostgresDatabases


def modes(folder: Path) -> dict[str, int]:
    """Return what each file in a folder allows to whom."""
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}


def content(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Return everything of each file in a folder that a program could have changed."""
    return {
        each.name: (each.read_bytes(), each.stat().st_mode, each.stat().st_mtime_ns)
        for each in folder.iterdir()
        if each.is_file()
    }


def adding(label: str) -> Any:
    """Return work that makes a block of that name."""
    row = {"organization_id": "org", "id": label, "label": label, "value": "", "character_limit": 1, "extra": "{}"}
    row |= {"read_only": False, "is_template": False, "version": 1, "created_at": 1, "updated_at": 1}
    row |= {"updated_by": "{}"}

    async def work(transaction: Transaction) -> None:
        await transaction.insert(blocks, [row])

    return work


async def labels(store: Store) -> list[str]:
    """Return which blocks can be read."""

    async def read(transaction: Transaction) -> list[str]:
        return [row["label"] for row in await transaction.all(select(blocks.c.label).order_by(blocks.c.label))]

    return await store.read(read)


@pytest.fixture(params=[0o000, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """What a shell, a container or an init system may have set."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


# -- who may read them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_all_that_a_server_makes_is_for_its_owner_alone(start_server: StartServer, tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "new" / "data"
    (tmp_path / "server-1").mkdir(mode=0o700)
    (tmp_path / "server-1").chmod(0o700)
    log = tmp_path / "server-1" / "server.log"
    log.touch()
    log.chmod(0o600)
    server = start_server(database=f"sqlite:///{folder / 'moot.sqlite3'}", env={"FOLKMOOT_DATA": str(folder)})
    secret = {"model": "openai/gpt-4o-mini", "secrets": {"KEY": "value"}}
    assert httpx.post(f"{server.url}/v1/agents", json=secret, timeout=PATIENCE).status_code == 200
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    names = ("moot.sqlite3", "moot.sqlite3-wal", "moot.sqlite3-shm", "moot.sqlite3.lock", "secret.key")
    assert modes(folder) == dict.fromkeys(names, 0o600)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_what_was_open_to_others_is_closed_and_said_once(start_server: StartServer, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    env = {"FOLKMOOT_DATA": str(folder)}
    server = start_server(database=f"sqlite:///{folder / 'moot.sqlite3'}", env=env)
    secret = {"model": "openai/gpt-4o-mini", "secrets": {"KEY": "value"}}
    assert httpx.post(f"{server.url}/v1/agents", json=secret, timeout=PATIENCE).status_code == 200
    server.kill()
    for name in ("moot.sqlite3.backup", "moot.sqlite3-journal", "notes.txt"):
        (folder / name).touch()
    for each in folder.iterdir():
        each.chmod(0o664)
    (folder / "moot.sqlite3-journal").chmod(0o640)
    folder.chmod(0o755)
    assert "Closed to other users" not in server.log()
    server.start()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    found = modes(folder)
    assert found.pop("notes.txt") == 0o664, "what is not Folkmoot's stays"
    assert set(found.values()) == {0o600}
    assert {"moot.sqlite3.backup", "moot.sqlite3-wal", "secret.key"} <= set(found)
    said = [line for line in server.log().splitlines() if "Closed to other users" in line]
    assert any(str(folder / "moot.sqlite3-wal") + " (mode was 0664)" in line for line in said)
    assert any(f"{folder} (mode was 0755)" in line for line in said)
    server.restart()
    assert [line for line in server.log().splitlines() if "Closed to other users" in line] == said


def test_a_folder_that_all_use_stays_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o1777)
    with caplog.at_level(logging.WARNING):
        files.close_data_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
    assert caplog.records == []


def test_a_link_beside_the_database_is_not_followed(tmp_path: Path) -> None:
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "moot.sqlite3"
    elsewhere.touch()
    elsewhere.chmod(0o644)
    path.touch()
    (tmp_path / "moot.sqlite3-journal").symlink_to(elsewhere)
    files.close_database_files(path)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644


# -- whose they are ------------------------------------------------------------------------------------------

OTHERS = {
    "another application's": ["CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('mine')"],
    "another application's, marked": ["PRAGMA application_id = 252006674", "CREATE TABLE block_versions (id)"],
    "another user of Alembic": ["CREATE TABLE alembic_version (version_num)", "CREATE TABLE agents (id)"],
    "a log beside it": ["PRAGMA journal_mode = WAL", "CREATE TABLE notes (text)"],
}


@pytest.mark.parametrize("statements", OTHERS.values(), ids=OTHERS)
async def test_another_applications_file_is_refused_untouched(tmp_path: Path, statements: list[str]) -> None:
    path = tmp_path / "notes.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as open_elsewhere:
        for statement in statements:
            open_elsewhere.execute(statement)
        path.chmod(0o644)
        before = content(tmp_path)
        with pytest.raises(StartupError, match=r"another application .*--database") as refused:
            await open_store(f"sqlite:///{path}", 1)
        assert str(path) in refused.value.message
        assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("made", "words"), [("folder", "is a folder"), ("fifo", "no regular file"), ("text", "no SQLite file")]
)
async def test_what_is_no_database_is_refused_untouched(tmp_path: Path, made: str, words: str) -> None:
    path = tmp_path / "it"
    {
        "folder": lambda: path.mkdir(),
        "fifo": lambda: os.mkfifo(path),
        "text": lambda: path.write_text("SQLite format 3 is what I write about"),
    }[made]()
    before = content(tmp_path)
    with pytest.raises(StartupError, match=words) as refused:
        await open_store(f"sqlite:///{path}", 1)
    assert str(path) in refused.value.message
    assert "--database" in refused.value.message
    assert content(tmp_path) == before
    assert [each.name for each in tmp_path.iterdir()] == ["it"]


async def test_a_read_only_file_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "moot.sqlite3"
    await (await open_store(f"sqlite:///{path}", 1)).close()
    path.chmod(0o444)
    before = content(tmp_path)
    with pytest.raises(StartupError, match="chmod"):
        await open_store(f"sqlite:///{path}", 1)
    assert content(tmp_path) == before


async def test_a_file_of_folkmoot_0_1_0_is_known_by_its_tables_and_marked(tmp_path: Path) -> None:
    path = tmp_path / "moot.sqlite3"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (0,)
    await (await open_store(f"sqlite:///{path}", 1)).close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (files.APPLICATION_ID,)


async def test_a_new_file_and_an_empty_one_are_marked(tmp_path: Path) -> None:
    empty = tmp_path / "empty.sqlite3"
    empty.touch()
    for path in (empty, tmp_path / "new.sqlite3"):
        await (await open_store(f"sqlite:///{path}", 1)).close()
        assert path.read_bytes()[68:72] == b"folk"
        await (await open_store(f"sqlite:///{path}", 1)).close()


async def test_a_link_and_its_file_are_one_database(tmp_path: Path) -> None:
    path, link = tmp_path / "there" / "moot.sqlite3", tmp_path / "link.sqlite3"
    link.symlink_to(path)
    store = await open_store(f"sqlite:///{link}", 1)
    with pytest.raises(StartupError, match="another Folkmoot process"):
        await open_store(f"sqlite:///{path}", 1)
    await store.close()


# -- whether they are still there ----------------------------------------------------------------------------


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Store]:
    """An open SQLite store at `moot.sqlite3` with one block in it."""
    store = await open_store(f"sqlite:///{tmp_path / 'moot.sqlite3'}", 10)
    await store.write(adding("before"))
    yield store
    await store.close()


async def refused(store: Store, words: str) -> None:
    """Nothing is written, which both a write and the look at the store say; what was acknowledged is still read."""
    for doing in (store.check(), store.write(adding("lost"))):
        with pytest.raises(StoreUnavailable, match=words):
            await doing
    assert await labels(store) == ["before"]


@pytest.mark.parametrize("suffix", ["", "-wal"])
async def test_a_deleted_file_is_missed_and_its_return_is_noticed(opened: Store, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"moot.sqlite3{suffix}"
    path.rename(tmp_path / "elsewhere")
    await refused(opened, "deleted")
    (tmp_path / "elsewhere").rename(path)
    await opened.check()
    await opened.write(adding("later"))
    assert await labels(opened) == ["before", "later"]


async def test_a_file_that_goes_while_it_is_written_is_not_acknowledged(opened: Store, tmp_path: Path) -> None:
    path = tmp_path / "moot.sqlite3"

    class Deleting:
        """A connection whose file goes in the moment of a commit."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def commit(self) -> None:
            path.unlink()
            self._connection.commit()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    writer: Any = opened.engine._writer  # type: ignore[attr-defined]
    writer._connection = Deleting(writer._connection)
    with pytest.raises(StoreUnavailable, match="deleted"):
        await opened.write(adding("lost"))


async def test_a_replaced_file_is_left_alone(opened: Store, tmp_path: Path) -> None:
    """Nothing of the old one gets into the new one, neither from the running server nor from the log it leaves."""
    path = tmp_path / "moot.sqlite3"
    other = await open_store(f"sqlite:///{tmp_path / 'other.sqlite3'}", 10)
    await other.write(adding("restored"))
    await other.close()
    (tmp_path / "other.sqlite3").replace(path)
    await refused(opened, "replaced")
    assert (tmp_path / "moot.sqlite3-wal").stat().st_size == 0
    await opened.close()
    again = await open_store(f"sqlite:///{path}", 10)
    assert await labels(again) == ["restored"]
    await again.close()


async def test_what_was_acknowledged_is_in_the_file_that_was_moved_away(opened: Store, tmp_path: Path) -> None:
    path = tmp_path / "moot.sqlite3"
    path.rename(tmp_path / "away.sqlite3")
    await refused(opened, "deleted")
    with closing(sqlite3.connect(tmp_path / "away.sqlite3")) as database:
        assert database.execute("SELECT label FROM blocks").fetchall() == [("before",)]


async def test_a_read_only_file_is_told_and_becomes_writable_without_a_restart(opened: Store, tmp_path: Path) -> None:
    path = tmp_path / "moot.sqlite3"
    path.chmod(0o400)
    await refused(opened, "read-only.*chmod")
    path.chmod(0o600)
    await opened.check()
    await opened.write(adding("later"))
    assert await labels(opened) == ["before", "later"]


async def test_a_disk_that_is_mounted_read_only_is_told(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(StoreUnavailable, match="mount"):
        await opened.check()


async def test_only_a_moved_file_counts_as_moved(opened: Store, tmp_path: Path) -> None:
    """The log must not be emptied into a file that somebody made read-only to copy it."""
    (tmp_path / "moot.sqlite3").chmod(0o400)
    await refused(opened, "read-only")
    assert (tmp_path / "moot.sqlite3-wal").stat().st_size > 0
    assert issubclass(StoreMoved, StoreUnavailable)


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_server_whose_database_goes_says_so(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "moot.sqlite3"
    server = start_server(database=f"sqlite:///{path}")
    with plain_client(server.url) as http:
        block = http.post("/v1/blocks", json={"label": "kept", "value": "x"}).json()["id"]
        for each in tmp_path.glob("moot.sqlite3*"):
            each.unlink()
        for answer in (http.get("/v1/ready"), http.post("/v1/blocks", json={"label": "lost", "value": "x"})):
            assert answer.status_code == 503, answer.text
            assert str(path) in answer.json()["detail"]
            assert "restart" in answer.json()["detail"]
        assert http.get("/v1/health").status_code == 200
        assert http.get(f"/v1/blocks/{block}").json()["value"] == "x", "what was acknowledged can be read, and exported"
        server.restart()
        assert http.get("/v1/ready").status_code == 200
        assert http.get(f"/v1/blocks/{block}").status_code == 404


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_postgresql_that_takes_no_writes_is_not_ready(
    database_url: str, postgres_server: PostgresDatabases
) -> None:
    name = database_url.rpartition("/")[2]
    await (await open_store(database_url, 10)).close()
    postgres_server.run_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store = await open_store(database_url, 10)
    with pytest.raises(StoreUnavailable, match="read-only"):
        await store.check()
    await store.close()
