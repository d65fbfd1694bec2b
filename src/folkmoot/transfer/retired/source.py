"""The retired server's PostgreSQL database: one snapshot of it, read only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg

from folkmoot.errors import StartupError
from folkmoot.store.postgres_connections import NO_ANSWER, dial, in_one_line

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

TRIED = {"1c28e167b74f": "0.16.8"}
"""Schemas of which a database was at hand, and the releases that they are of."""

_JSON = frozenset(
    {
        "llm_config",
        "embedding_config",
        "message_ids",
        "tool_rules",
        "content",
        "tool_calls",
        "tool_returns",
        "approvals",
        "metadata_",
        "compaction_settings",
        "response_format",
        "model_settings",
        "json_schema",
        "args_json_schema",
        "tags",
        "pip_requirements",
        "npm_requirements",
        "properties",
        "stdio_config",
        "custom_headers",
        "request_config",
        "config",
    }
)
"""Columns that hold JSON, whatever type somebody has given them."""

_TEXTS = ("text", "varchar", "bpchar")


@dataclass
class _Decoder:
    """Makes text of bytes; those that are no UTF-8, as a database without an encoding may hold, are Windows-1252."""

    characters: int = 0
    """Of all JSON that was read."""

    foreign: int = 0
    """How many texts were no UTF-8."""

    def text(self, data: bytes) -> str:
        try:
            return bytes(data).decode()
        except UnicodeDecodeError:
            self.foreign += 1
            return bytes(data).decode("cp1252", "replace")

    def json(self, text: str) -> Any:
        self.characters += len(text)
        return read_json(text)

    def json_of_bytes(self, data: bytes) -> Any:
        return self.json(self.text(data))

    def jsonb_of_bytes(self, data: bytes) -> Any:
        return self.json(self.text(bytes(data)[1:]))  # behind its version


@dataclass
class Source:
    """A snapshot of the database."""

    connection: asyncpg.Connection[Any]
    columns: Mapping[str, frozenset[str]]
    """Those of each table that is there."""

    version: str
    decoder: _Decoder = field(default_factory=_Decoder)
    broken: dict[str, None] = field(default_factory=dict)
    """Where a text stands that should be JSON, a line for each."""

    @property
    def schema(self) -> str:
        """The schema, and whether one like it was tried."""
        if self.version in TRIED:
            return f"{self.version}, that of release {TRIED[self.version]}"
        return (
            f"{self.version}, which is not among those that were tried ({', '.join(TRIED.values())}): "
            "what it lacks or has besides is told below"
        )

    def has(self, table: str, column: str | None = None) -> bool:
        """Tell whether there is a table, or a column of it."""
        return table in self.columns and (column is None or column in self.columns[table])

    async def count(self, table: str, organization_id: str | None = None) -> int:
        """Return how many rows a table has that were not deleted, of one organisation where its rows say whose."""
        of_one = organization_id is not None and self.has(table, "organization_id")
        condition = self._kept(table, "organization_id = $1" if of_one else "")
        values = [organization_id] if of_one else []
        found: int = await self.connection.fetchval(f'SELECT count(*) FROM "{table}" {condition}', *values)  # noqa: S608
        return found

    async def rows(
        self, table: str, condition: str = "", *values: Any, order: str = "", only: frozenset[str] | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield a table's rows that were not deleted, JSON already read; none of a table that is not there.

        Args:
            table: which one.
            condition: further SQL behind WHERE, with `$1` for the first of `values`.
            values: its parameters.
            order: SQL behind ORDER BY; columns that the table does not have do not count.
            only: the columns that are wanted, those of them that there are; all when None.
        """
        if table not in self.columns:
            return
        wanted = self.columns[table] if only is None else self.columns[table] & only
        columns = ", ".join(
            f'"{name}"::text' if name in ("embedding", "type", "status") else f'"{name}"' for name in sorted(wanted)
        )
        known = [each for each in order.split(", ") if each.split(" ")[0].strip('"') in self.columns[table]]
        ordered = f"ORDER BY {', '.join(known)}" if known else ""
        text = f'SELECT {columns} FROM "{table}" {self._kept(table, condition)} {ordered}'  # noqa: S608
        cursor = await self.connection.cursor(text, *values)
        json_columns = sorted(wanted & _JSON)
        while found := await cursor.fetch(ROWS):
            for row in found:
                yield self._read(table, row, json_columns)

    def _read(self, table: str, row: Any, json_columns: Sequence[str]) -> dict[str, Any]:
        fields = dict(row)
        for name in json_columns:
            value = fields[name]
            if isinstance(value, str):
                fields[name] = value = read_json(value)
            if type(value) is Unreadable:
                self.broken.setdefault(f"{table} {fields.get('id')}: its {name} is no JSON.")
        return fields

    async def all(self, table: str, condition: str = "", *values: Any, order: str = "") -> list[dict[str, Any]]:
        """Return such rows at once."""
        return [row async for row in self.rows(table, condition, *values, order=order)]

    async def value(self, expression: str, table: str, condition: str, *values: Any) -> Any:
        """Return the value of an SQL expression over such rows."""
        text = f'SELECT {expression} FROM "{table}" {self._kept(table, condition)}'  # noqa: S608
        return await self.connection.fetchval(text, *values)

    def changed_since(self, table: str, since: datetime | None, place: int) -> str:
        """Return SQL for the rows that are new or other than before `since`, the parameter of that place."""
        found = [name for name in ("created_at", "updated_at") if self.has(table, name)]
        if since is None or not found:
            return "TRUE"
        return f"({' OR '.join(f'{name} >= ${place}' for name in found)})"

    def _kept(self, table: str, condition: str = "") -> str:
        conditions = [condition] if condition else []
        if self.has(table, "is_deleted"):
            conditions.append("NOT is_deleted")
        return f"WHERE {' AND '.join(conditions)}" if conditions else ""


@asynccontextmanager
async def open_source(url: str) -> AsyncIterator[Source]:
    """Give the database at `url` as it is now; nothing in it is changed, and its server may go on.

    Raises:
        StartupError: it cannot be reached, or is not one that is known.
    """
    connection = await _connect(url)
    try:
        decoder = _Decoder()
        await _set_codecs(connection, decoder)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield await _known(connection, decoder)
    except asyncpg.PostgresError as error:
        raise StartupError(f"The database to import cannot be read: {error}.") from error
    finally:
        await connection.close()


async def _connect(url: str) -> asyncpg.Connection[Any]:
    plain = f"postgresql://{url.partition('://')[2]}"
    settings = {"application_name": "folkmoot import"}
    try:
        connection = await dial(plain, timeout=10, server_settings=settings)
        if await connection.fetchval("SHOW server_encoding") == "SQL_ASCII":  # then bytes of any encoding may be there
            await connection.close()
            settings["client_encoding"] = "SQL_ASCII"
            connection = await dial(plain, timeout=10, server_settings=settings)
    except NO_ANSWER as error:
        raise StartupError(f"The database to import cannot be reached: {in_one_line(error)}.") from error
    return connection


async def _set_codecs(connection: asyncpg.Connection[Any], decoder: _Decoder) -> None:
    """Let the driver read JSON, every time there may be, and where texts may be of any encoding, those by `decoder`."""
    for kind, epoch in (("timestamptz", _EPOCH), ("timestamp", _EPOCH.replace(tzinfo=None))):
        told, read = partial(_microseconds, epoch), partial(_moment, epoch)
        await connection.set_type_codec(kind, encoder=told, decoder=read, schema="pg_catalog", format="tuple")
    if await connection.fetchval("SHOW client_encoding") != "SQL_ASCII":
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(kind, encoder=str, decoder=decoder.json, schema="pg_catalog")
        return
    of_bytes = {"json": decoder.json_of_bytes, "jsonb": decoder.jsonb_of_bytes, **dict.fromkeys(_TEXTS, decoder.text)}
    for kind, decode in of_bytes.items():
        await connection.set_type_codec(kind, encoder=str.encode, decoder=decode, schema="pg_catalog", format="binary")


_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""What PostgreSQL counts from."""


def _microseconds(epoch: datetime, moment: datetime) -> tuple[int]:
    return ((moment - epoch) // timedelta(microseconds=1),)


def _moment(epoch: datetime, told: tuple[int]) -> datetime | None:
    """Return a time; None for one before our era or behind the year 9999, which ends a whole read otherwise."""
    try:
        return epoch + timedelta(microseconds=told[0])
    except OverflowError:
        return None


class Unreadable(str):
    """The text of a JSON column that is no JSON."""


def read_json(text: str) -> Any:
    """Return what a JSON text says; a text that is none as `Unreadable`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return Unreadable(text)


async def _known(connection: asyncpg.Connection[Any], decoder: _Decoder) -> Source:
    found: dict[str, set[str]] = {}
    for row in await connection.fetch(
        "SELECT table_name::text, column_name::text FROM information_schema.columns "
        "WHERE table_schema = current_schema()"
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
    return Source(connection, {t: frozenset(columns) for t, columns in found.items()}, version or "unknown", decoder)
