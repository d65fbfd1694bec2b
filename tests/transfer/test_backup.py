"""A database moves whole: into a file, out of it, and from one kind of store to another."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import MetaData, inspect, text

from folkmoot.errors import BackupUnusable, StartupError
from folkmoot.store import bulk_postgres, bulk_sqlite
from folkmoot.store.bulk import shape_of
from folkmoot.store.files import replace_durably
from folkmoot.store.opening import open_store
from folkmoot.store.tables import metadata
from folkmoot.transfer import backup_file
from folkmoot.transfer.backup import back_up, copy, restore
from folkmoot.transfer.backup_file import BackupWriter, Head
from store.released_data import restore as restore_release
from support.fixtures import one_store
from transfer.databases import AT_ONCE, ROWS, all_rows, make_database, on_connection


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows be read at once, so that few are more than that."""
    monkeypatch.setattr(bulk_sqlite, "ROWS", AT_ONCE)
    monkeypatch.setattr(bulk_postgres, "ROWS", AT_ONCE)


def unseen(*_: object) -> None:
    """Nobody looks at the progress."""


@pytest.mark.every_case_on_both
async def test_every_row_of_every_table_comes_back_on_either_store(
    database_url: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_file, "PIECE", 4_000)
    await make_database(database_url)
    before = await all_rows(database_url)
    file = tmp_path / "all.folkmoot"
    written = await back_up(database_url, file, "key", unseen)
    assert written.rows == dict.fromkeys(written.rows, ROWS)
    with zipfile.ZipFile(file) as archive:
        assert sum(name.startswith("messages/") for name in archive.namelist()) > 1, "a table has several pieces"
    restored = await restore(file, target, replace=False, progress=unseen)
    assert (restored.rows, restored.key) == (written.rows, "key")
    assert await all_rows(target) == before
    if target.startswith("sqlite"):
        assert found_by_words(target) == dict.fromkeys(("messages", "passages", "file_chunks"), ROWS)
    if target.partition(":")[0] == database_url.partition(":")[0]:
        assert await on_connection(target, structure) == await on_connection(database_url, structure)
    with pytest.raises(StartupError, match="is there already"):
        await back_up(database_url, file, None, unseen)
    with pytest.raises(StartupError, match="not empty"):
        await restore(file, target, replace=False, progress=unseen)
    await (await open_store(target, 5)).close()  # its schema is the current one
    await restore(file, target, replace=True, progress=unseen)
    assert await all_rows(target) == before


@one_store
async def test_the_last_rows_of_all_are_found_by_words_too(database_url: str, tmp_path: Path) -> None:
    """A table's rows are indexed when another one's come, and those of the last table when there are no more."""
    await make_database(database_url, rows=5)
    indexed = [table.name for table in metadata.sorted_tables if "search_text" in table.c]
    behind = metadata.sorted_tables[[table.name for table in metadata.sorted_tables].index(indexed[-1]) + 1 :]
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database:
        for table in reversed(behind):
            database.execute(f"DELETE FROM {table.name}")
        database.commit()
    target = f"sqlite:///{tmp_path / 'copied.sqlite3'}"
    await copy(database_url, target, unseen)
    assert found_by_words(target) == dict.fromkeys(indexed, 5)


def structure(connection: Any) -> dict[str, Any]:
    """Return the indexes and foreign keys of each table."""
    found, inspector = {}, inspect(connection)
    for table in metadata.tables:
        parts = [*inspector.get_indexes(table), *inspector.get_foreign_keys(table)]
        found[table] = sorted(json.dumps(part, default=str, sort_keys=True) for part in parts)
    assert len([part for parts in found.values() for part in parts]) > 60
    return found


def found_by_words(url: str) -> dict[str, int]:
    """Return how many rows of each table a SQLite file's full-text indexes find, which hear of new ones again."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%_fulltext'")]
        triggers = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%_fulltext_insert'"
        assert database.execute(triggers).fetchone()[0] == len(names)
        count = "SELECT count(*) FROM {0} WHERE {0} MATCH 'text'"
        return {name.removesuffix("_fulltext"): database.execute(count.format(name)).fetchone()[0] for name in names}


each_way = pytest.mark.parametrize(("store", "target"), [("sqlite", "postgres"), ("postgres", "sqlite")], indirect=True)
"""From each kind of store and to each, for what does not depend on the pair."""


@each_way
async def test_a_copy_has_every_row(database_url: str, target: str) -> None:
    await make_database(database_url)
    copied = await copy(database_url, target, unseen)
    assert await all_rows(target) == await all_rows(database_url)
    assert copied.total == ROWS * len(metadata.tables)
    with pytest.raises(StartupError, match="not empty"):
        await copy(database_url, target, unseen)
    with pytest.raises(StartupError, match="not a database Folkmoot knows"):
        await copy(database_url, "mysql://nowhere", unseen)


@one_store
async def test_what_is_written_meanwhile_is_not_in_it(database_url: str, target: str, tmp_path: Path) -> None:
    """It is the database of one moment: not of the first table's and the last one's."""
    await make_database(database_url)
    before = await all_rows(database_url)
    written = []

    def write_amid(*_: object) -> None:
        if not written:
            with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database, database:
                for table in metadata.sorted_tables:
                    written.append(database.execute(f"DELETE FROM {table.name}").rowcount)

    await back_up(database_url, tmp_path / "one.folkmoot", None, write_amid)
    assert sum(written) == ROWS * len(metadata.tables)
    await restore(tmp_path / "one.folkmoot", target, replace=False, progress=unseen)
    assert await all_rows(target) == before


@one_store
async def test_a_damaged_or_cut_file_is_refused_before_anything_is_written(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_file, "PIECE", 3_000)
    await make_database(database_url, rows=20)
    before = await all_rows(database_url)
    whole = tmp_path / "whole.folkmoot"
    await back_up(database_url, whole, None, unseen)
    data, broken = whole.read_bytes(), tmp_path / "broken.folkmoot"
    where = []
    for place in range(0, len(data), max(1, len(data) // 60)):
        target = tmp_path / f"{place}.sqlite3"
        broken.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        try:
            await restore(broken, f"sqlite:///{target}", replace=False, progress=unseen)
        except BackupUnusable as error:
            where.append(error.message)
            assert not target.exists()
        else:  # what was hit is nothing that is read, such as a member's time
            assert await all_rows(f"sqlite:///{target}") == before
        broken.write_bytes(data[:place])
        with pytest.raises(BackupUnusable, match=r"cut|begin"):
            await restore(broken, f"sqlite:///{tmp_path / 'never.sqlite3'}", replace=False, progress=unseen)
    assert not (tmp_path / "never.sqlite3").exists()
    assert len(where) > 40
    assert any("/000001.jsonl, at byte" in each and "(rows 1 to" in each for each in where), where


@one_store
async def test_foreign_and_newer_files_are_refused_by_name(database_url: str, tmp_path: Path) -> None:
    await make_database(database_url, rows=2)
    whole, other = tmp_path / "whole.folkmoot", tmp_path / "other.folkmoot"
    await back_up(database_url, whole, None, unseen)

    async def refused(match: str) -> None:
        with pytest.raises(BackupUnusable, match=match):
            await restore(other, f"sqlite:///{tmp_path / 'never.sqlite3'}", replace=False, progress=unseen)
        assert not (tmp_path / "never.sqlite3").exists()

    await refused("cannot be read: No such file")
    shutil.copy(database_url.removeprefix("sqlite:///"), other)
    await refused("no backup of Folkmoot")
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("else.txt", "else")
    await refused("no backup of Folkmoot")
    rewrite(whole, other, version=2, folkmoot="9.0")
    await refused("format 2, written by Folkmoot 9.0")
    rewrite(whole, other, schema="9999", folkmoot="9.0")
    await refused(r"newer Folkmoot, 9\.0 \(schema 9999\)")
    rewrite(whole, other, tables=[])
    await refused("damaged in index.json")
    rewrite(whole, other, tables=[{"name": "blocks", "columns": [["id", "king"]]}])
    await refused("no kind of column 'king'")
    rewrite(whole, other, tables=5)
    await refused("damaged in folkmoot-backup.json")
    rewrite(whole, other, format="king")
    await refused("no backup of Folkmoot")


@one_store
async def test_what_somebody_edited_is_told_from_what_was_written(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each archive is sound as such: only what stands in it is another."""
    await make_database(database_url, rows=2)
    whole, other = tmp_path / "whole.folkmoot", tmp_path / "other.folkmoot"
    await back_up(database_url, whole, None, unseen)
    with zipfile.ZipFile(whole) as archive:
        kept = {name: archive.read(name) for name in archive.namelist()}
    pieces = json.loads(kept["index.json"])["pieces"]
    place = next(place for place, piece in enumerate(pieces) if piece[1] == "blocks")
    name, rows = pieces[place][0], kept[pieces[place][0]]

    async def refused(match: str, data: bytes | None, listed: dict[int, Any]) -> None:
        """Give the table other data, and its entry in the index other values beside what fits that data."""
        piece = [name, "blocks", 1, 2, len(data or rows), hashlib.sha256(data or rows).hexdigest()]
        for number, value in listed.items():
            piece[number] = value
        index = json.dumps({"pieces": [*pieces[:place], piece, *pieces[place + 1 :]]}).encode()
        with zipfile.ZipFile(other, "w") as archive:
            for member, content in (kept | {name: data, "index.json": index}).items():
                if content is not None:
                    archive.writestr(member, content)
        with pytest.raises(BackupUnusable, match=match):
            await restore(other, f"sqlite:///{tmp_path / 'never.sqlite3'}", replace=False, progress=unseen)
        assert not (tmp_path / "never.sqlite3").exists()

    await refused("its checksum is another", rows.replace(b"1", b"2", 1), {5: pieces[place][5]})
    await refused("its checksum is another", rows[:-1], {5: pieces[place][5]})
    await refused("it is no JSON", b"nope", {})
    await refused("it is no JSON", b"[" * 50_000, {})
    await refused("its rows are not those of the index", rows.split(b"\n")[0], {})
    await refused("its rows are not those of the index", b"[1]\n[2]", {})
    await refused("it is missing", None, {})
    await refused("it names 'king'", rows, {1: "king"})
    await refused("it names 'blocks'", rows, {4: 10**12})
    await refused("damaged in index.json", rows, {4: "many"})
    kept["folkmoot-backup.json"] = b"[" * 50_000
    await refused("damaged in folkmoot-backup.json", rows, {})


@one_store
async def test_a_backup_that_cannot_be_written_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(StartupError, match="cannot be written: File exists"):
        await back_up(database_url, in_the_way / "a.folkmoot", None, unseen)
    with pytest.raises(StartupError, match="There is no database"):
        await back_up(f"sqlite:///{tmp_path / 'nothing.sqlite3'}", tmp_path / "b.folkmoot", None, unseen)
    sqlite3.connect(tmp_path / "empty.sqlite3").close()
    with pytest.raises(StartupError, match="it has no tables"):
        await back_up(f"sqlite:///{tmp_path / 'empty.sqlite3'}", tmp_path / "c.folkmoot", None, unseen)
    assert not [*tmp_path.glob("*.folkmoot*")]


@one_store
async def test_rows_that_belong_to_nothing_are_refused(database_url: str, target: str, tmp_path: Path) -> None:
    """No file of ours has such; one that somebody edited may."""
    await make_database(database_url, rows=3)
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as database:
        database.execute("DELETE FROM conversations")
        database.commit()
    await back_up(database_url, tmp_path / "edited.folkmoot", None, unseen)
    with pytest.raises(StartupError, match=r"belongs to one of conversations that is not there|violates foreign key"):
        await restore(tmp_path / "edited.folkmoot", target, replace=False, progress=unseen)
    assert not await is_there(target)


def rewrite(source: Path, target: Path, **head: Any) -> None:
    """Write a backup again with other words about itself."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as changed:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "folkmoot-backup.json":
                data = json.dumps({**json.loads(data), **head}).encode()
            changed.writestr(name, data)


@each_way
async def test_a_backup_of_an_earlier_schema_is_brought_up_to_date(
    empty_database_url: str, target: str, store: str, tmp_path: Path
) -> None:
    """The rows are put into the tables they come from, and migrated there, as the database itself is."""
    await restore_release("0.1.0", store, empty_database_url)
    file = tmp_path / "old.folkmoot"

    def write(connection: Any) -> None:
        tables = MetaData()
        tables.reflect(connection, only=lambda name, _: not name.startswith(("messages_fulltext", "alembic")))
        shapes = [shape_of(table) for table in tables.sorted_tables]
        revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        with file.open("wb") as raw:
            writer = BackupWriter(raw, Head("0.1.0", revision, store, "2026-01-01T00:00:00+00:00", None, shapes))
            for shape in shapes:
                rows = connection.execute(tables.tables[shape.name].select()).all()
                writer.add(shape, [[*row] for row in rows])
            writer.finish()

    await on_connection(empty_database_url, write)
    await restore(file, target, replace=False, progress=unseen)
    await (await open_store(empty_database_url, 5)).close()  # which migrates it
    expected, found = await all_rows(empty_database_url), await all_rows(target)
    assert {name: len(rows) for name, rows in found.items()} == {name: len(rows) for name, rows in expected.items()}
    assert found["messages"] == expected["messages"]
    assert found["block_versions"] == expected["block_versions"]


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from folkmoot.store import bulk_postgres, bulk_sqlite
from folkmoot.transfer import backup

bulk_sqlite.ROWS = bulk_postgres.ROWS = 20

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def transfer(what, source, target, at):
    loading = []
    def progress(doing, done, total):
        loading.append(doing != "checking the file")
        if loading[-1] + done / total >= at:
            die()
    if at > 2:  # everything is written and nothing has taken its place yet
        bulk_sqlite.replace_durably = backup.replace_durably = die
    if what == "backup":
        asyncio.run(backup.back_up(source, Path(target), None, progress))
    elif what == "restore":
        asyncio.run(backup.restore(Path(source), target, replace=True, progress=progress))
    else:
        asyncio.run(backup.copy(source, target, progress))

for line in sys.stdin:
    what, source, target, at = line.split()
    child = os.fork()
    if not child:
        transfer(what, source, target, float(at))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Makes transfers, each in a process that is killed: in the check (0 to 1), in the load (1 to 2), or behind it (3)."""


@pytest.fixture
def killed() -> Iterator[Callable[..., int]]:
    """Begin a transfer in a process that ends by SIGKILL in the middle, and return its exit status."""
    process = subprocess.Popen([sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def kill(*arguments: object) -> int:
        print(*arguments, file=process.stdin, flush=True)
        return int(process.stdout.readline())

    with process:
        yield kill
        process.stdin.close()


@each_way
async def test_killed_in_any_phase_it_leaves_what_was_there_and_goes_to_the_end_the_next_time(
    database_url: str, target: str, tmp_path: Path, killed: Callable[..., int]
) -> None:
    await make_database(database_url)
    before = await all_rows(database_url)
    file = tmp_path / "k.folkmoot"
    for at in (1.0, 1.5, 3):
        assert killed("backup", database_url, file, at) == -signal.SIGKILL
        assert not file.exists()
    await back_up(database_url, file, None, unseen)
    behind = [3] if target.startswith("sqlite") else []
    for at in (1.0, 1.5, 2, *behind):
        assert killed("copy", database_url, target, at) == -signal.SIGKILL
        assert not await is_there(target)
    await make_database(target, rows=3)
    old = await all_rows(target)
    for at in (0.5, 1.0, 2, *behind):
        assert killed("restore", file, target, at) == -signal.SIGKILL
        assert await all_rows(target) == old
    await restore(file, target, replace=True, progress=unseen)
    assert await all_rows(target) == before


@one_store
async def test_at_each_statement_of_a_restore_the_old_database_is_whole(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the files at a statement is what a process that is killed there leaves."""
    await make_database(database_url, rows=4)
    file = tmp_path / "new.folkmoot"
    await back_up(database_url, file, None, unseen)
    new = await all_rows(database_url)
    path = await killed_database(tmp_path)
    log = path.with_name(f"{path.name}-wal")
    assert log.stat().st_size > 0, "the last that was written is in the log only"
    before, old = (path.read_bytes(), log.read_bytes()), contents(as_it_stands(path, tmp_path))
    looked: list[tuple[str, bool, bool]] = []

    def look(statement: str) -> None:
        same = log.exists() and (path.read_bytes(), log.read_bytes()) == before
        looked.append((statement, same, same or contents(as_it_stands(path, tmp_path)) == old))

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made = connect(*arguments, **options)
        made.set_trace_callback(look)
        return made

    def replace_it(new: Path, old_one: Path) -> None:
        look("the file takes its place")
        replace_durably(new, old_one)

    monkeypatch.setattr(sqlite3, "connect", traced)
    monkeypatch.setattr(bulk_sqlite, "replace_durably", replace_it)
    await restore(file, f"sqlite:///{path}", replace=True, progress=unseen)
    monkeypatch.undo()
    assert [statement for statement, _, whole in looked if not whole] == []
    assert sum(same for _, same, _ in looked) > 4 * len(metadata.tables), "at each of the rows, and of the tables"
    assert not looked[-1][1], "the log is played into the file before that is replaced"
    assert await all_rows(f"sqlite:///{path}") == new


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_until_a_restore_is_over_others_see_the_old_tables(database_url: str, tmp_path: Path) -> None:
    """Nothing is committed before all is there, so that PostgreSQL takes it back when the process ends at any place."""
    source = f"sqlite:///{tmp_path / 'source.sqlite3'}"
    await make_database(source, rows=2)
    await back_up(source, tmp_path / "new.folkmoot", None, unseen)
    await make_database(database_url, rows=1)
    tables = "SELECT oid, relname, relfilenode FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY oid"

    def committed() -> list[tuple[Any, ...]]:
        return [tuple(row) for row in loop.run_until_complete(other.fetch(tables))]

    seen: list[list[tuple[Any, ...]]] = []
    with closing(asyncio.new_event_loop()) as loop, ThreadPoolExecutor(1) as thread:
        other = thread.submit(lambda: loop.run_until_complete(asyncpg.connect(database_url))).result()
        before = thread.submit(committed).result()

        def look(what: str, *_: int) -> None:
            if what != "checking the file":
                seen.append(thread.submit(committed).result())

        await restore(tmp_path / "new.folkmoot", database_url, replace=True, progress=look)
        after = thread.submit(committed).result()
        thread.submit(lambda: loop.run_until_complete(other.close())).result()
    assert len(seen) == len(metadata.tables)
    assert [each for each in seen if each != before] == []
    assert after != before
    assert await all_rows(database_url) == await all_rows(source)


async def killed_database(folder: Path) -> Path:
    """Return a SQLite file as a process that was killed leaves it: what was written last is in its log."""
    made, left = folder / "made" / "made.sqlite3", folder / "left" / "left.sqlite3"
    await make_database(f"sqlite:///{made}", rows=3)
    left.parent.mkdir()
    with closing(sqlite3.connect(made)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("UPDATE blocks SET value = 'the last that was written'")
        database.commit()
        for ending in ("", "-wal"):
            shutil.copy(f"{made}{ending}", f"{left}{ending}")
    return left


def as_it_stands(path: Path, folder: Path) -> Path:
    """Return a copy of a SQLite file and its log, which may be open meanwhile."""
    copied = folder / "copied.sqlite3"
    for ending in ("", "-wal"):
        Path(f"{copied}{ending}").unlink(missing_ok=True)
        if Path(f"{path}{ending}").exists():
            shutil.copy(f"{path}{ending}", f"{copied}{ending}")
    return copied


async def is_there(url: str) -> bool:
    """Tell whether a database has tables."""
    if url.startswith("sqlite"):
        return Path(url.removeprefix("sqlite:///")).exists()
    return bool(await on_connection(url, lambda connection: inspect(connection).get_table_names()))


async def test_a_failed_upgrade_leaves_the_old_database_as_it_was(store: str, empty_database_url: str) -> None:
    await restore_release("0.1.0", store, empty_database_url)
    await on_connection(
        empty_database_url, lambda connection: connection.execute(text("CREATE TABLE deletions (mine TEXT)"))
    )

    def everything(connection: Any) -> dict[str, Any]:
        tables = MetaData()
        tables.reflect(connection, only=lambda name, _: not name.startswith("messages_fulltext"))
        return {name: sorted(map(repr, connection.execute(t.select()))) for name, t in tables.tables.items()}

    before = await on_connection(empty_database_url, everything)
    with pytest.raises(StartupError, match="deletions"):
        await open_store(empty_database_url, 5)
    assert await on_connection(empty_database_url, everything) == before


@one_store
async def test_before_an_upgrade_the_file_is_copied_beside_itself(empty_database_url: str, tmp_path: Path) -> None:
    await restore_release("0.1.0", "sqlite", empty_database_url)
    path = Path(empty_database_url.removeprefix("sqlite:///"))
    before = contents(path)
    earlier = path.with_name(f"{path.name}.schema-0001")
    earlier.write_text("of an upgrade long ago")
    await (await open_store(empty_database_url, 5)).close()
    copy_of_it = path.with_name(f"{path.name}.schema-0002")
    assert contents(copy_of_it) == before
    assert not earlier.exists()
    assert copy_of_it.stat().st_mode & 0o077 == 0
    await (await open_store(empty_database_url, 5)).close()
    assert [each.name for each in path.parent.glob("*.schema-*")] == [copy_of_it.name], "no upgrade, no copy"


@one_store
async def test_without_a_copy_nothing_is_upgraded(empty_database_url: str) -> None:
    await restore_release("0.1.0", "sqlite", empty_database_url)
    path = Path(empty_database_url.removeprefix("sqlite:///"))
    before = contents(path)
    in_the_way = path.with_name(f"{path.name}.schema-0002")
    in_the_way.mkdir()
    with pytest.raises(StartupError, match=r"cannot be copied to .* before: Is a directory. Nothing was changed"):
        await open_store(empty_database_url, 5)
    assert contents(path) == before
    in_the_way.rmdir()
    await (await open_store(empty_database_url, 5)).close()
    assert contents(in_the_way) == before


connect = sqlite3.connect


def contents(path: Path) -> str:
    """Return a SQLite file's rows as SQL."""
    with closing(connect(path)) as database:
        return "\n".join(database.iterdump())
