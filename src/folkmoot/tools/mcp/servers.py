"""Servers of tools as the store has them: their names, and sealed how they are reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from folkmoot.errors import BadRequest, Conflict, NotFound
from folkmoot.identifiers import new_id
from folkmoot.memory.authors import Author
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.sealing import Sealer
from folkmoot.store.tables import mcp_authorizations, mcp_servers, mcp_sign_ins
from folkmoot.tools.mcp.authorizations import sign_ins_topic
from folkmoot.tools.mcp.configuration import ServerConfiguration

MOST_SERVERS = 200
"""Servers of tools that an organisation may have."""


@dataclass(frozen=True, slots=True)
class ToolServer:
    """A server of tools. Times are in microseconds."""

    id: str
    name: str
    configuration: ServerConfiguration
    created_at: int
    created_by: Author
    updated_at: int
    updated_by: Author
    looked_at: Mapping[str, Any] = field(default_factory=dict)
    """What came of the last look at its tools: `at` (microseconds), `error` or None, and `lost`, which agents lost a
    tool."""

    @classmethod
    def from_row(cls, row: Row, sealer: Sealer) -> ToolServer:
        """Read a row of the table."""
        return cls(
            id=row["id"],
            name=row["name"],
            configuration=ServerConfiguration.from_json(sealer.unseal(row["sealed_configuration"])["configuration"]),
            created_at=row["created_at"],
            created_by=Author.from_json(row["created_by"]),
            updated_at=row["updated_at"],
            updated_by=Author.from_json(row["updated_by"]),
            looked_at=json.loads(row["looked_at"]),
        )

    def to_row(self, sealer: Sealer) -> dict[str, Any]:
        """Return the server as its row has it, but for the organisation."""
        return {
            "id": self.id,
            "name": self.name,
            "server_type": self.configuration.server_type,
            "sealed_configuration": sealer.seal({"configuration": self.configuration.to_json()}),
            "created_at": self.created_at,
            "created_by": self.created_by.to_json(),
            "updated_at": self.updated_at,
            "updated_by": self.updated_by.to_json(),
            "looked_at": json.dumps(self.looked_at),
        }


_this = mcp_servers.c.id == bindparam("server_id")
_by_id = select(mcp_servers).where(_this)
_by_id_locked = _by_id.with_for_update()
_by_name = select(mcp_servers).where(mcp_servers.c.name == bindparam("server_name"))
_all = select(mcp_servers).order_by(mcp_servers.c.created_at, mcp_servers.c.id)
_update = update(mcp_servers).where(_this)
_delete = delete(mcp_servers).where(_this)
_note_look = update(mcp_servers).where(_this).values(looked_at=bindparam("look"))
_forget_authorizations = delete(mcp_authorizations).where(mcp_authorizations.c.server_id == bindparam("server_id"))
_forget_sign_ins = delete(mcp_sign_ins).where(mcp_sign_ins.c.server_id == bindparam("server_id"))


async def create_server(
    transaction: Transaction, name: str, configuration: ServerConfiguration, author: Author, sealer: Sealer
) -> ToolServer:
    """Store a new server.

    Raises:
        Conflict: there is one of this name, or there are as many as an organisation may have.
    """
    await _refuse_name(transaction, name)
    if await count_rows(transaction, count_of(mcp_servers)) >= MOST_SERVERS:
        raise Conflict(f"There are {MOST_SERVERS} MCP servers already; delete some that nobody needs.")
    now = clock.now()
    server = ToolServer(new_id("mcp_server"), name, configuration, now, author, now, author)
    await transaction.insert(mcp_servers, [server.to_row(sealer)])
    return server


async def find_server(transaction: Transaction, server_id: str, sealer: Sealer, *, lock: bool = False) -> ToolServer:
    """Return a server; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such server.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, server_id=server_id)
    if row is None:
        raise NotFound(f"MCP server with id {server_id} not found")
    return ToolServer.from_row(row, sealer)


async def find_server_named(transaction: Transaction, name: str, sealer: Sealer) -> ToolServer:
    """Return the server of a name.

    Raises:
        BadRequest: there is none.
    """
    row = await transaction.first(_by_name, server_name=name)
    if row is None:
        raise BadRequest(f"There is no MCP server named {name!r}.")
    return ToolServer.from_row(row, sealer)


async def list_servers(transaction: Transaction, sealer: Sealer) -> list[ToolServer]:
    """Return all servers, the oldest first."""
    return [ToolServer.from_row(row, sealer) for row in await transaction.all(_all)]


async def update_server(
    transaction: Transaction,
    server: ToolServer,
    name: str,
    configuration: ServerConfiguration,
    author: Author,
    sealer: Sealer,
) -> ToolServer:
    """Give a server, which the transaction has locked, another name or another configuration.

    Who signed in to it has to do so again when it is another address.

    Raises:
        Conflict: another one has the name.
    """
    if name != server.name:
        await _refuse_name(transaction, name)
    changed = replace(server, name=name, configuration=configuration, updated_at=clock.now(), updated_by=author)
    row = {key: value for key, value in changed.to_row(sealer).items() if key not in ("id", "created_at", "created_by")}
    await transaction.run(_update.values(**row), server_id=server.id)
    if configuration.server_url != server.configuration.server_url:
        await transaction.run(_forget_authorizations, server_id=server.id)
        await transaction.run(_forget_sign_ins, server_id=server.id)
        transaction.signal(sign_ins_topic(server.id))
    return changed


async def delete_server(transaction: Transaction, server_id: str) -> None:
    """Delete a server with what was kept of signing in to it; its tools are deleted before."""
    await transaction.run(_delete, server_id=server_id)
    transaction.signal(sign_ins_topic(server_id))


async def note_look(transaction: Transaction, server_id: str, error: str | None, lost: Any = None) -> None:
    """Keep what came of a look at a server's tools."""
    look = json.dumps({"at": clock.now(), "error": error, "lost": lost or []})
    await transaction.run(_note_look, server_id=server_id, look=look)


async def _refuse_name(transaction: Transaction, name: str) -> None:
    if await transaction.first(_by_name, server_name=name) is not None:
        raise Conflict(f"server_name: there is an MCP server named {name!r} already; choose another name.")
