"""SQLite's planner is told of every index, in a new file and in one that was upgraded."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from folkmoot.store.migrate import migrate_file, migrate_sqlite
from folkmoot.store.migrations import HEAD


@pytest.mark.parametrize("begins_with", ["0001", HEAD])
def test_every_index_has_its_figures(begins_with: str, tmp_path: Path) -> None:
    path = tmp_path / "folkmoot.sqlite3"
    migrate_file(path, begins_with)
    migrate_sqlite(path)
    with closing(sqlite3.connect(path)) as connection:
        told = connection.execute("SELECT idx, stat FROM sqlite_stat1").fetchall()
        indexes = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'").fetchall()
    untold = {name for (name,) in indexes} - {name for name, _ in told}
    assert {name for name in untold if not name.startswith("sqlite_autoindex_alembic_version")} == set()
    assert dict(told)["messages_by_agent"] == "1000000 100000 100 1 1 noskipscan"
    assert dict(told)["block_versions_by_run"] == "100000 10000 100 noskipscan"
