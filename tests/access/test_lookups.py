"""What is looked for in all organisations at once, in each request or by each process, is found by an index."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects.sqlite.pysqlite import dialect

from folkmoot.access.keys import _by_hash
from folkmoot.access.sessions import _unended
from folkmoot.runs.runs import _claim_callbacks, _dead
from folkmoot.store.migrate import migrate_sqlite


@pytest.mark.parametrize("statement", [_by_hash, _unended, _dead, _claim_callbacks])
def test_a_lookup_in_all_organisations_scans_no_table(statement: Any, tmp_path: Path) -> None:
    path = tmp_path / "folkmoot.sqlite3"
    migrate_sqlite(path)
    options = {"render_postcompile": True}
    text = str(statement.compile(dialect=dialect(paramstyle="qmark"), compile_kwargs=options))
    with closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", [0] * text.count("?"))]
    assert "USING" in plan[0]
    assert "INDEX" in plan[0]
    assert not any(step.startswith("SCAN") for step in plan)
