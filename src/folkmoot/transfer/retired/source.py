"""The retired server's PostgreSQL database: one snapshot of it, read only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from folkmoot.errors import StartupError

ROWS = 500
"""Rows that are fetched at once."""

NEEDED: Mapping[str, frozenset[str]] = {
    "organizations": frozenset({"id", "name"}),
    "agents": frozenset({"id", "name", "message_ids", "system", "agent_type", "llm_config", "organization_id"}),
    "block": frozenset({"id", "label", "value", "limit", "organization_id"}),
    "blocks_agents": frozenset({"agent_id", "block_id", "block_label"}),
    "messages": frozenset({"id", "agent_id", "role", "content", "tool_calls", "created_at", "sequence_id"}),
    "tools": frozenset({"id", "name", "tool_type", "source_code", "organization_id"}),
    "tools_agents": frozenset({"agent_id", "tool_id"}),
}
"""By what tables and columns the database is known, of any release from 0.8 on."""


_JSON = frozenset(
    {"llm_config", "embedding_config", "message_ids", "tool_rules", "content", "tool_calls", "tool_returns"}
)
"""Columns that hold JSON, whatever type somebody has given them."""


class Source:
    """A snapshot of the database."""

    def __init__(
        self, connection: asyncpg.Connection[Any], columns: Mapping[str, frozenset[str]], version: str
    ) -> None:
        """Read on `connection`, whose transaction has begun; `columns` are those of each table that is there."""
        self._connection = connection
        self.columns = columns
        self.version = version

    async def count(self, table: str) -> int:
        """Return how many rows a table has that were not deleted."""
        found: int = await self._connection.fetchval(f'SELECT count(*) FROM "{table}" {self._kept(table)}')  # noqa: S608
        return found

    async def rows(
        self, table: str, condition: str = "", *values: Any, order: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield a table's rows that were not deleted, JSON already read; none of a table that is not there.

        Args:
            table: which one.
            condition: further SQL behind WHERE, with `$1` for the first of `values`.
            values: its parameters.
            order: SQL behind ORDER BY.
        """
        if table not in self.columns:
            return
        columns = ", ".join(
            f'"{name}"::text' if name == "embedding" else f'"{name}"' for name in sorted(self.columns[table])
        )
        text = f'SELECT {columns} FROM "{table}" {self._kept(table, condition)} {f"ORDER BY {order}" if order else ""}'  # noqa: S608
        cursor = await self._connection.cursor(text, *values)
        while found := await cursor.fetch(ROWS):
            for row in found:
                yield {
                    name: _read(value) if name in _JSON and isinstance(value, str) else value
                    for name, value in row.items()
                }

    async def all(self, table: str, condition: str = "", *values: Any, order: str = "") -> list[dict[str, Any]]:
        """Return such rows at once."""
        return [row async for row in self.rows(table, condition, *values, order=order)]

    def _kept(self, table: str, condition: str = "") -> str:
        conditions = [condition] if condition else []
        if "is_deleted" in self.columns[table]:
            conditions.append("NOT is_deleted")
        return f"WHERE {' AND '.join(conditions)}" if conditions else ""


@asynccontextmanager
async def open_source(url: str) -> AsyncIterator[Source]:
    """Give the database at `url` as it is now; nothing in it is changed, and its server may go on.

    Raises:
        StartupError: it cannot be reached, or is not one that is known.
    """
    plain = f"postgresql://{url.partition('://')[2]}"
    try:
        connection = await asyncpg.connect(plain, timeout=10, server_settings={"application_name": "folkmoot import"})
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, ValueError) as error:
        raise StartupError(f"The database to import cannot be reached: {error or type(error).__name__}.") from error
    try:
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(kind, encoder=json.dumps, decoder=_read, schema="pg_catalog")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield await _known(connection)
    except asyncpg.PostgresError as error:
        raise StartupError(f"The database to import cannot be read: {error}.") from error
    finally:
        await connection.close()


class Unreadable(str):
    """The text of a JSON column that is no JSON."""


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return Unreadable(text)


async def _known(connection: asyncpg.Connection[Any]) -> Source:
    found: dict[str, set[str]] = {}
    for row in await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
    ):
        found.setdefault(row["table_name"], set()).add(row["column_name"])
    missing = [
        f"{table}.{column}" for table, columns in NEEDED.items() for column in sorted(columns - found.get(table, set()))
    ]
    version = (
        await connection.fetchval("SELECT version_num FROM alembic_version") if "alembic_version" in found else None
    )
    if missing:
        raise StartupError(
            f"The database to import (schema {version or 'unknown'}) is not one that is known: it lacks "
            f"{', '.join(missing[:8])}{' …' if len(missing) > 8 else ''}. Expected is a database of the releases 0.8 "
            "to 0.16; bring an older one up to 0.16 with its own server first."
        )
    return Source(connection, {table: frozenset(columns) for table, columns in found.items()}, version or "unknown")
