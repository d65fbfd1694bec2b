"""The connections of one process to servers of tools: shared by all calls of one organisation and one configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from folkmoot.errors import ToolServerFailed
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.connection import Connection, ConnectionOptions

MOST_CONNECTIONS = 200
"""Connections of a process."""

MOST_OF_ONE = 50
"""Connections of an organisation in a process."""


@dataclass(frozen=True, slots=True)
class ConnectionKey:
    """Whose connection it is, to which server, and how: with which values of which variables, too."""

    organization_id: str
    server_id: str
    fingerprint: str


class ConnectionPool:
    """Keeps connections while they are used, and closes those that are not."""

    def __init__(self, idle_seconds: float, tools_changed: Callable[[ConnectionKey], None]) -> None:
        """Start with none.

        Args:
            idle_seconds: how long a connection is kept that nobody uses.
            tools_changed: called when a server says that its tools are other ones now.
        """
        self._idle_seconds = idle_seconds
        self._tools_changed = tools_changed
        self._connections: dict[ConnectionKey, Connection] = {}
        self._closing: dict[asyncio.Task[None], tuple[ConnectionKey, Connection]] = {}
        self._sweeper: asyncio.Task[None] | None = None
        self._closed = False

    def connection(
        self, key: ConnectionKey, name: str, configuration: ServerConfiguration, options: ConnectionOptions
    ) -> Connection:
        """Return the connection of a key, a new one if there is none that can be used.

        Raises:
            ToolServerFailed: there are as many connections in use as there may be, or the server is stopping.
        """
        connection = self._connections.get(key)
        if connection is not None and connection.is_usable:
            return connection
        if self._closed:
            raise ToolServerFailed("The server is stopping.")
        self._let_go(key)
        self._make_room(key.organization_id)
        connection = Connection(name, configuration, options, lambda: self._tools_changed(key))
        self._connections[key] = connection
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.create_task(self._sweep())
        return connection

    def forget(self, organization_id: str, server_id: str) -> None:
        """Use no connection to a server any more; who waits for an answer gets it."""
        for key in [each for each in self._connections if each.organization_id == organization_id]:
            if key.server_id == server_id:
                self._let_go(key)

    async def close(self) -> None:
        """Close all of them."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for key in list(self._connections):
            self._let_go(key)
        await asyncio.gather(*(connection.close() for _, connection in self._closing.values()))

    def _let_go(self, key: ConnectionKey) -> None:
        """Use a connection no more, and close it once nobody waits for an answer of it."""
        connection = self._connections.pop(key, None)
        if connection is not None:
            task = asyncio.create_task(connection.finish())
            self._closing[task] = (key, connection)
            task.add_done_callback(self._closing.pop)

    def _make_room(self, organization_id: str) -> None:
        own = [key for key in self._connections if key.organization_id == organization_id]
        closing = [key for key, connection in self._closing.values() if connection.is_busy]
        if len(own) + sum(key.organization_id == organization_id for key in closing) >= MOST_OF_ONE:
            self._let_go_of_idlest(own)
        elif len(self._connections) + len(closing) >= MOST_CONNECTIONS:
            self._let_go_of_idlest(list(self._connections))

    def _let_go_of_idlest(self, keys: list[ConnectionKey]) -> None:
        idle = [key for key in keys if not (self._connections[key].is_usable and self._connections[key].is_busy)]
        if not idle:
            raise ToolServerFailed("Too many MCP servers are in use at this moment; try again in a while.")
        self._let_go(min(idle, key=lambda key: self._connections[key].used_at))

    async def _sweep(self) -> None:
        """Close what nobody uses, until there is nothing left."""
        loop = asyncio.get_running_loop()
        while self._connections:
            await asyncio.sleep(min(self._idle_seconds / 4, 30.0))
            for key, connection in list(self._connections.items()):
                idle = not connection.is_busy and loop.time() - connection.used_at >= self._idle_seconds
                if idle or not connection.is_usable:
                    self._let_go(key)
