"""A search by words on SQLite asks its index of words first, whatever else the rows have to fulfil."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, Table, select
from sqlalchemy.dialects.sqlite.pysqlite import dialect

from folkmoot.files.search import _of_agent
from folkmoot.store.scoping import compile_scoped
from folkmoot.store.tables import file_chunks, messages, passages
from support.stores import open_default


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        (select(messages.c.id).where(messages.c.conversation_id == "x"), messages),
        (select(passages.c.id).where(passages.c.archive_id.in_(["x"])), passages),
        (_of_agent(select(file_chunks.c.id), "x"), file_chunks),
    ],
    ids=["messages", "passages", "files"],
)
async def test_the_words_come_first(statement: Select[Any], table: Table, sqlite_schema: Path, tmp_path: Path) -> None:
    path = tmp_path / "folkmoot.sqlite3"
    path.write_bytes(sqlite_schema.read_bytes())
    store = await open_default(f"sqlite:///{path}")
    found = store.text_search(statement, table, ["heron", "owl"]).limit(10)
    compiled = compile_scoped(found, dialect(paramstyle="named"))
    with closing(sqlite3.connect(path)) as connection:
        values = {**dict(compiled.params), "of_organization": "x"}
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {compiled}", values)]
    await store.close()
    assert plan[0].startswith(f"SCAN {table.name}_fulltext VIRTUAL TABLE")
