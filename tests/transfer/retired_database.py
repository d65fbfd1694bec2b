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


_GROW = """
WITH numbered AS (
    SELECT number, a.id AS agent_id, a.organization_id, md5('message ' || number) AS hash
    FROM generate_series(1, $1::int) AS number
    JOIN (SELECT id, organization_id, row_number() OVER (ORDER BY id) AS place FROM agents) AS a
    ON a.place = CASE WHEN number % 2 = 0 THEN 1 ELSE 2 + number % 11 END
)
INSERT INTO messages (id, agent_id, role, content, tool_calls, tool_returns, created_at, organization_id, is_deleted)
SELECT
    format('message-%s-%s-4%s-8%s-%s', substr(hash, 1, 8), substr(hash, 9, 4), substr(hash, 13, 3),
           substr(hash, 16, 3), substr(hash, 20, 12)),
    agent_id,
    CASE number % 4 WHEN 0 THEN 'user' WHEN 1 THEN 'assistant' WHEN 2 THEN 'tool' ELSE 'assistant' END,
    json_build_array(json_build_object('type', 'text', 'text', 'What was said as number ' || number || ' ' || hash)),
    CASE number % 4 WHEN 1 THEN json_build_array(json_build_object('id', 'call-' || number, 'type', 'function',
        'function', json_build_object('name', 'archival_memory_search', 'arguments', '{"query": "tea"}')))
        ELSE '[]'::json END,
    CASE number % 4 WHEN 2 THEN json_build_array(json_build_object('tool_call_id', 'call-' || (number - 1), 'status',
        'success', 'func_response', '{"status": "OK", "message": "found"}')) ELSE NULL END,
    TIMESTAMPTZ '2026-11-27' + number * INTERVAL '1 second', organization_id, false
FROM numbered
"""


async def grow(url: str, messages: int) -> None:
    """Add so many messages, half of them to one agent; the newest ones of each are in context."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_GROW, messages)
        await connection.execute(
            "UPDATE agents SET message_ids = (SELECT json_agg(id ORDER BY sequence_id) FROM (SELECT id, sequence_id "
            "FROM messages WHERE agent_id = agents.id AND conversation_id IS NULL AND (role <> 'system') "
            "ORDER BY sequence_id DESC LIMIT 20) AS newest)"
        )
    finally:
        await connection.close()
