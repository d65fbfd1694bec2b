"""The databases of released versions, as `make_release.py` keeps them."""

from __future__ import annotations

import json
import lzma
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg

FOLDER = Path(__file__).parent / "released"
SECRET_KEY = "what the released versions sealed with"
VERSIONS = sorted({path.name.removesuffix(".sqlite.sql.xz") for path in FOLDER.glob("*.sqlite.sql.xz")})


def says(tool: str, **arguments: Any) -> str:
    """Return the text that has the scripted model call a tool."""
    return f"CALL {tool} {json.dumps(arguments, ensure_ascii=False)}"


def answers_of(version: str, store: str) -> dict[str, Any]:
    """Return what a version answered about its database, by path."""
    answers: dict[str, Any] = json.loads(_kept(f"{version}.{store}.answers.json"))
    return answers


async def restore(version: str, store: str, url: str) -> None:
    """Make the database at `url`, which is empty, as the version left it."""
    sql = _kept(f"{version}.{store}.sql")
    if store == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.executescript(sql)
        return
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def _kept(name: str) -> str:
    return lzma.decompress((FOLDER / f"{name}.xz").read_bytes()).decode()
