"""The retired server's database, as its dump has it."""

from __future__ import annotations

import io
import lzma
import re
from pathlib import Path

import asyncpg

DUMP = Path(__file__).parent / "retired" / "v1-database.sql.xz"
KEY = "demo-key-for-tests"
"""What its secrets are encrypted with."""

_COPY = re.compile(r"^COPY public\.(\w+) \((.*?)\) FROM stdin;\n(.*?)^\\\.\n", re.MULTILINE | re.DOTALL)


async def load_dump(url: str) -> None:
    """Fill the empty PostgreSQL database at `url` from the dump."""
    sql = re.sub(r"^\\(un)?restrict.*\n", "", lzma.decompress(DUMP.read_bytes()).decode(), flags=re.MULTILINE)
    connection = await asyncpg.connect(url)
    try:
        at = 0
        for match in _COPY.finditer(sql):
            await connection.execute(sql[at : match.start()] + "SELECT 1;")  # there may be comments alone
            columns = [name.strip().strip('"') for name in match[2].split(",")]
            data = io.BytesIO(match[3].encode())
            await connection.copy_to_table(match[1], source=data, columns=columns, schema_name="public")
            at = match.end()
        await connection.execute(sql[at:])
    finally:
        await connection.close()


async def change(url: str, *statements: str) -> None:
    """Run SQL on a database, foreign keys or not."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
