"""What the server does with servers of tools: adds them, looks at their tools, calls these."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from folkmoot.errors import (
    AddressRefused,
    BadRequest,
    FolkmootError,
    NotFound,
    StoreError,
    ToolFailed,
    ToolServerFailed,
)
from folkmoot.memory.authors import Author
from folkmoot.outbound.addresses import check_url
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.settings import Settings
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.sealing import Sealer
from folkmoot.tools.mcp.authorizations import SIGN_IN_SECONDS, Authorization, Renewals, SignIn
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.connection import OPEN_TIMEOUT, Connection, ConnectionOptions, NeedsAuthorization, SessionEnded
from folkmoot.tools.mcp.listing import ListedTool, read_listing
from folkmoot.tools.mcp.pool import ConnectionKey, ConnectionPool
from folkmoot.tools.mcp.results import tool_result
from folkmoot.tools.mcp.servers import (
    ToolServer,
    create_server,
    delete_server,
    find_server,
    note_look,
    update_server,
)
from folkmoot.tools.mcp.tools import Changes, follow_listing, remote_name, rename_server, tools_of_server
from folkmoot.tools.stored import RowTool, StoredTool, remove_tool
from folkmoot.tools.tool import ToolContext, ToolResult

logger = logging.getLogger(__name__)

LOOK_TIMEOUT = 60.0
"""Seconds for a look at a server's tools, from connecting on."""

SETTLE = 0.5
"""Seconds in which further news of changed tools count as the same."""


class McpServers:
    """The servers of tools of all organisations, and this process's connections to them."""

    def __init__(self, store: Store, settings: Settings, sealer: Sealer, sandbox: Sandbox) -> None:
        """Start without a connection.

        Args:
            store: the database, for what servers say unasked.
            settings: who may start programs, which addresses may be dialled, how long things take.
            sealer: seals configurations.
            sandbox: what programs are started in.
        """
        self._store = store
        self._settings = settings
        self.sealer = sealer
        self._sandbox = sandbox
        self._pool = ConnectionPool(settings.mcp_idle, self._tools_changed)
        self._renewals = Renewals(allow_private=settings.private_mcp_servers)
        self._behind: set[asyncio.Task[None]] = set()
        self._looking: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Close every connection and end every program."""
        for task in (*self._looking.values(), *self._behind):
            task.cancel()
        await self._pool.close()
        await self._renewals.close()

    def check(self, configuration: ServerConfiguration) -> None:
        """See whether a configuration may be used, as far as one can tell without using it.

        Raises:
            InvalidInput: an address, a header or a variable cannot be used.
            BadRequest: it is a program, and no programs are started here.
        """
        configuration.check()
        if configuration.is_program:
            self._check_programs()
            return
        try:
            check_url(configuration.server_url or "", "server_url", allow_private=self._settings.private_mcp_servers)
        except AddressRefused as error:
            raise AddressRefused(f"{error.message} FOLKMOOT_PRIVATE_MCP_SERVERS allows such addresses.") from error

    async def create(self, store: Store, name: str, configuration: ServerConfiguration, author: Author) -> ToolServer:
        """Add a server and look at its tools; one that cannot be reached is added all the same.

        Raises:
            InvalidInput: the configuration cannot be used.
            Conflict: there is a server of this name, or there are too many.
        """
        self.check(configuration)
        server = await store.write(
            lambda transaction: create_server(transaction, name, configuration, author, self.sealer)
        )
        await self._try_look(store, server)
        return server

    async def update(
        self,
        store: Store,
        server_id: str,
        name: str | None,
        configure: Callable[[ServerConfiguration], ServerConfiguration],
        author: Author,
    ) -> ToolServer:
        """Change a server; under another configuration it is looked at again.

        Args:
            store: the organisation's.
            server_id: which server.
            name: its new name; None where it stays.
            configure: makes its new configuration of what it is then.
            author: who changes it.

        Raises:
            InvalidInput: the configuration cannot be used.
            Conflict: another server has the name.
            NotFound: there is no such server.
        """

        async def change(transaction: Transaction) -> tuple[ToolServer, ToolServer]:
            current = await find_server(transaction, server_id, self.sealer, lock=True)
            configuration = configure(current.configuration)
            self.check(configuration)
            if name is not None and name != current.name:
                await rename_server(transaction, server_id, current.name, name)
            new_name = name or current.name
            return current, await update_server(transaction, current, new_name, configuration, author, self.sealer)

        before, changed = await store.write(change)
        if changed.configuration != before.configuration:
            self._pool.forget(_organization(store), server_id)
            await self._try_look(store, changed)
        return changed

    async def delete(self, store: Store, server_id: str) -> None:
        """Delete a server; every agent that has a tool of it loses that.

        The server goes last, so that its deletion can be asked for again when a process dies before it is done.

        Raises:
            NotFound: there is no such server.
        """

        async def end(transaction: Transaction) -> list[StoredTool]:
            await find_server(transaction, server_id, self.sealer, lock=True)
            left = await tools_of_server(transaction, server_id)
            if not left:
                await delete_server(transaction, server_id)
            return left

        while left := await store.write(end):
            await _remove(store, [tool.id for tool in left])
        self._pool.forget(_organization(store), server_id)

    async def look(self, store: Store, server_id: str, variables: Mapping[str, str]) -> Changes:
        """Look at a server's tools, and take on what changed: new ones, other ones, and those that are gone.

        Raises:
            NotFound: there is no such server.
            ToolServerFailed: it does not tell its tools.
            InvalidInput: a variable that its configuration uses has no value.
        """
        server = await store.read(lambda transaction: find_server(transaction, server_id, self.sealer))
        try:
            listed = await self.list_tools(store, server, variables)
        except FolkmootError as failure:
            error = failure.message
            await store.write(lambda transaction: note_look(transaction, server_id, error))
            raise

        async def follow(transaction: Transaction) -> Changes:
            current = await find_server(transaction, server_id, self.sealer, lock=True)
            changes = await follow_listing(transaction, server_id, current.name, listed)
            await note_look(transaction, server_id, None, changes.lost)
            return changes

        changes = await store.write(follow)
        await _remove(store, changes.gone_ids)
        if changes.lost:
            logger.info("An MCP server has fewer tools: %d agents lost one", len(changes.lost))
        return changes

    async def list_tools(self, store: Store, server: ToolServer, variables: Mapping[str, str]) -> list[ListedTool]:
        """Return a server's tools as it lists them now; raises what `look` raises."""
        connection = self._connection(store, server, variables)
        try:
            return await _list(connection, server.name)
        except (SessionEnded, NeedsAuthorization):  # another process may have renewed the token meanwhile
            with _telling_remedy(server):
                return await _list(self._connection(store, server, variables), server.name)

    async def sign_in(
        self, store: Store, server: ToolServer, variables: Mapping[str, str], redirect_uri: str
    ) -> tuple[SignIn, Connection]:
        """Begin to sign in to a server, for the organisation or for who an agent's variables stand for.

        Args:
            store: the organisation's.
            server: the server.
            variables: the agent's; their values tell for whom the tokens are kept.
            redirect_uri: where the browser comes back to.

        Returns:
            The sign-in, which tells the address when the server has been asked, and the connection that is open when
            somebody has signed in; its `close` has to be called.

        Raises:
            InvalidInput: a variable that the configuration uses has no value.
        """
        filled = server.configuration.filled(variables)
        way = SignIn(store, self.sealer, server.id)
        subject = server.configuration.subject(variables)
        address = filled.server_url or ""
        kept = Authorization(store, self.sealer, server.id, subject, address, self._renewals, redirect_uri)

        async def auth() -> Any:
            await kept.load()
            return kept.auth(way.show, way.wait)

        options = ConnectionOptions(
            allow_private=self._settings.private_mcp_servers, auth=auth, open_timeout=SIGN_IN_SECONDS + OPEN_TIMEOUT
        )
        self._pool.forget(_organization(store), server.id)
        return way, Connection(server.name, filled, options, lambda: None)

    async def begin_sign_in(self, store: Store, server: ToolServer, redirect_uri: str) -> str | None:
        """Begin to sign in to a server for the organisation, and go on with it behind.

        Returns:
            The address to sign in at; None where nobody has to.

        Raises:
            ToolServerFailed: the server cannot be reached.
            InvalidInput: a variable that its configuration uses has no value.
        """
        way, connection = await self.sign_in(store, server, {}, redirect_uri)
        opened = asyncio.ensure_future(connection.opened())
        await asyncio.wait((opened, way.address), return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._finish_sign_in(store, server, connection))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)
        if way.address.done():
            return way.address.result()
        await opened
        return None

    async def _finish_sign_in(self, store: Store, server: ToolServer, connection: Connection) -> None:
        try:
            await connection.opened()
        except ToolServerFailed as error:
            failure = error.message
            await store.write(lambda transaction: note_look(transaction, server.id, failure))
        else:
            self._pool.forget(_organization(store), server.id)  # what is open has others' tokens
            await self._try_look(store, server)
        finally:
            await connection.close()

    async def try_out(self, store: Store, name: str, configuration: ServerConfiguration) -> list[ListedTool]:
        """Return the tools of a server that is not added, over a connection for this once.

        Raises:
            InvalidInput: the configuration cannot be used.
            ToolServerFailed: it does not tell its tools.
        """
        self.check(configuration)
        options = ConnectionOptions(allow_private=self._settings.private_mcp_servers, sandbox=self._sandbox)
        connection = Connection(name, configuration.filled({}), options, lambda: None)
        try:
            return await _list(connection, name)
        finally:
            await connection.close()

    async def call(
        self, store: Store, tool: StoredTool, arguments: Mapping[str, Any], variables: Mapping[str, str]
    ) -> ToolResult:
        """Call a tool of a server.

        Raises:
            ToolServerFailed: there was no answer that could be used.
            InvalidInput: a variable that the server's configuration uses has no value.
            NotFound: the server was deleted.
        """
        server = await store.read(lambda transaction: find_server(transaction, tool.server_id, self.sealer))
        return await self.call_named(store, server, remote_name(tool), arguments, variables)

    async def call_named(
        self, store: Store, server: ToolServer, name: str, arguments: Mapping[str, Any], variables: Mapping[str, str]
    ) -> ToolResult:
        """Call what the server knows under this name, be it a tool that agents have or not; raises what `call` does."""
        timeout = self._settings.tool_timeout
        try:
            async with asyncio.timeout(timeout):
                return await self._call(store, server, name, arguments, variables)
        except TimeoutError as error:
            raise ToolServerFailed(f"{server.name}: {name} did not answer within {timeout:g} seconds.") from error

    async def _call(
        self, store: Store, server: ToolServer, name: str, arguments: Mapping[str, Any], variables: Mapping[str, str]
    ) -> ToolResult:
        timeout = self._settings.tool_timeout
        try:
            return tool_result(await self._connection(store, server, variables).call(name, arguments, timeout))
        except (SessionEnded, NeedsAuthorization):  # so that the call was not carried out
            with _telling_remedy(server):
                return tool_result(await self._connection(store, server, variables).call(name, arguments, timeout))

    def _connection(self, store: Store, server: ToolServer, variables: Mapping[str, str]) -> Connection:
        filled = server.configuration.filled(variables)
        if filled.is_program:
            self._check_programs()
        subject = server.configuration.subject(variables)

        async def auth() -> Any:
            kept = Authorization(store, self.sealer, server.id, subject, filled.server_url or "", self._renewals)
            return kept.auth() if await kept.load() else None

        options = ConnectionOptions(
            allow_private=self._settings.private_mcp_servers,
            sandbox=self._sandbox,
            auth=None if filled.is_program else auth,
        )
        key = ConnectionKey(_organization(store), server.id, f"{filled.fingerprint}{subject}")
        return self._pool.connection(key, server.name, filled, options)

    def _check_programs(self) -> None:
        if self._settings.mcp_stdio == "off":
            raise BadRequest("mcp_server_type: this server starts no programs; FOLKMOOT_MCP_STDIO=admin allows them.")
        if self._settings.tool_sandbox == "off":
            raise BadRequest("mcp_server_type: this server starts no programs while FOLKMOOT_TOOL_SANDBOX=off.")

    async def _try_look(self, store: Store, server: ToolServer) -> None:
        """Look at a server's tools if it can be reached; else the row says why not."""
        try:
            await self.look(store, server.id, {})
        except FolkmootError as error:
            logger.info("An MCP server could not be looked at: %s", type(error).__name__)

    def _tools_changed(self, key: ConnectionKey) -> None:
        """Look at a server's tools in a moment, unless that is under way."""
        place = (key.organization_id, key.server_id)
        if place not in self._looking:
            task = asyncio.create_task(self._look_again(key))
            self._looking[place] = task
            task.add_done_callback(lambda _: self._looking.pop(place, None))

    async def _look_again(self, key: ConnectionKey) -> None:
        await asyncio.sleep(SETTLE)
        store = self._store.of(key.organization_id)
        try:
            await self.look(store, key.server_id, {})
        except NotFound:
            return
        except FolkmootError as error:
            logger.info("A change of an MCP server's tools could not be followed: %s", type(error).__name__)


@contextmanager
def _telling_remedy(server: ToolServer) -> Iterator[None]:
    """Say what to do, where a server turns away who asks."""
    try:
        yield
    except NeedsAuthorization as error:
        has_token = any(name.lower() == "authorization" for name in server.configuration.headers)
        sign_in = f"Somebody has to sign in first: GET /v1/mcp-servers/connect/{server.id}"
        remedy = "See whether its token is still right." if has_token else sign_in
        raise NeedsAuthorization(f"{error.message} {remedy}") from error


async def _list(connection: Connection, name: str) -> list[ListedTool]:
    try:
        async with asyncio.timeout(LOOK_TIMEOUT):
            found = await connection.list_tools()
    except TimeoutError as error:
        raise ToolServerFailed(f"{name}: it did not list its tools within {LOOK_TIMEOUT:g} seconds.") from error
    return await asyncio.to_thread(read_listing, found)


async def _remove(store: Store, tool_ids: Sequence[str]) -> None:
    for tool_id in tool_ids:
        try:
            await remove_tool(store, tool_id)
        except NotFound:  # by somebody else, meanwhile
            continue


def _organization(store: Store) -> str:
    assert store.organization_id is not None
    return store.organization_id


@dataclass(frozen=True)
class McpTool(RowTool):
    """A stored tool of the type `external_mcp`, which a server elsewhere carries out."""

    servers: McpServers

    async def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> ToolResult:
        """Have the server carry a call out.

        Raises:
            ToolFailed: the server could not be asked, or did not answer.
        """
        try:
            return await self.servers.call(context.store, self.stored, arguments, context.variables)
        except StoreError:
            raise
        except FolkmootError as error:
            raise ToolFailed(error.message) from error
