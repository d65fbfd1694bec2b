"""One connection to one server of tools, kept warm: opened, asked, and found to be lost.

A task of its own holds it, since what the SDK opens has to be closed by the task that opened it. A call is a task too:
whoever asked may go away at once, however long the server takes to hear of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError

from folkmoot import __version__
from folkmoot.errors import FolkmootError, ToolServerFailed
from folkmoot.loading import load
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.tools.mcp.allowance import LARGEST_MESSAGE, Allowance
from folkmoot.tools.mcp.configuration import ServerConfiguration
from folkmoot.tools.mcp.stdio import ENDED, Program, ProgramFailed
from folkmoot.tools.mcp.watched import Watched

if TYPE_CHECKING:
    import httpx2
    import mcp_types
    from mcp import ClientSession, MCPError
    from mcp.client._transport import TransportStreams

logger = logging.getLogger(__name__)

T = TypeVar("T")

OPEN_TIMEOUT = 30.0
"""Seconds to start a program or to connect, and to agree on a version of the protocol."""

CLOSE_TIMEOUT = 8.0
"""Seconds to end a connection properly."""

MOST_TOOLS = 500
"""Tools of one server that are looked at."""

MOST_PAGES = 50

NOT_UNDERSTOOD = "what it answered is not of the protocol, or is too long."

LOST = "the connection was lost before there was an answer."

LONGEST_COMPLAINT = 2000
"""Characters of a server's own words that an error repeats."""

LISTEN_AGAIN = 5.0
"""Seconds before a lost subscription to changes of a server's tools is taken up again."""

_MODULES = (
    "mcp.client.session",
    "mcp.client.streamable_http",
    "mcp.client.sse",
    "mcp.client.subscriptions",
    "mcp.client._probe",
    "folkmoot.tools.mcp.http",
    "folkmoot.tools.mcp.deviations",
)

GiveAuth: TypeAlias = "Callable[[], Awaitable[httpx2.Auth | None]]"


class ConnectionLost(ToolServerFailed):
    """The connection to a server ended, so that what was asked has no answer."""


class SessionEnded(ConnectionLost):
    """The server does not know the session any more, so that what was asked was not done."""


class NeedsAuthorization(ToolServerFailed):
    """The server wants somebody to sign in first."""


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How connections are made."""

    allow_private: bool = False
    """Connect to addresses that are not public, too."""

    sandbox: Sandbox | None = None
    """What programs are started in; without one, none is."""

    auth: GiveAuth | None = None
    """Gives what adds tokens to requests, or None."""

    open_timeout: float = OPEN_TIMEOUT
    """Seconds to open one."""


class Connection:
    """One connection; it serves any number of calls at once, and is not opened again when it is lost."""

    def __init__(
        self,
        name: str,
        configuration: ServerConfiguration,
        options: ConnectionOptions,
        tools_changed: Callable[[], None],
    ) -> None:
        """Prepare a connection; `opened` waits for it.

        Args:
            name: the server's name, for errors.
            configuration: how it is reached, without open places.
            options: how it is connected to.
            tools_changed: called when the server says that its tools are other ones now.
        """
        self._name = name
        self._configuration = configuration
        self._options = options
        self._tools_changed = tools_changed
        loop = asyncio.get_running_loop()
        self._allowance = Allowance()
        self._program = self._new_program()
        self._session: asyncio.Future[ClientSession] = loop.create_future()
        self._ending = asyncio.Event()
        self._calls: set[asyncio.Task[Any]] = set()
        self._client: Any = None
        self._given_up = False
        self.used_at = loop.time()
        self._task = asyncio.create_task(self._hold())

    @property
    def is_usable(self) -> bool:
        """Whether it can be asked, as far as is known."""
        return not (self._ending.is_set() or self._given_up or self._task.done())

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for an answer, or for its opening."""
        return bool(self._calls) or not self._session.done()

    async def opened(self) -> ClientSession:
        """Wait until it is open.

        Raises:
            ToolServerFailed: it could not be opened.
        """
        return await asyncio.shield(self._session)

    async def call(self, tool: str, arguments: Mapping[str, Any], timeout: float) -> mcp_types.CallToolResult:
        """Call a tool of the server; who is cancelled meanwhile is not kept waiting.

        Raises:
            ToolServerFailed: there is no answer that could be used.
        """
        import mcp_types

        session = await self.opened()
        request = mcp_types.CallToolRequest(
            params=mcp_types.CallToolRequestParams(name=tool, arguments=dict(arguments))
        )
        # Not `session.call_tool`, which would hold the answer against the server's own schema, whatever that is.
        answer = await self._ask(lambda: session.send_request(request, _answers(), timeout), session)
        if not isinstance(answer, mcp_types.CallToolResult):
            raise ToolServerFailed(f"The tool {tool} asks for a person's input, which a call cannot give.")
        return answer

    async def list_tools(self) -> Sequence[mcp_types.Tool]:
        """Return the server's tools.

        Raises:
            ToolServerFailed: they could not be had.
        """
        import mcp_types

        session = await self.opened()
        found: list[mcp_types.Tool] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            parameters = mcp_types.PaginatedRequestParams(cursor=cursor) if cursor is not None else None
            page = await self._ask(partial(session.list_tools, params=parameters))
            found += page.tools
            before, cursor = cursor, page.next_cursor
            if not cursor or cursor == before or len(found) >= MOST_TOOLS:
                break
        return found[:MOST_TOOLS]

    async def finish(self) -> None:
        """End it once nobody waits for an answer any more, or for its opening."""
        await asyncio.wait([self._session])
        while self._calls and not self._ending.is_set():
            await asyncio.wait(self._calls)
        await self.close()

    async def close(self) -> None:
        """End it: who still waits for an answer, or for its opening, gets an error."""
        self._ending.set()
        if not self._session.done():
            self._fail(ConnectionLost(f"{self._name}: the connection was closed before it was open."))
            self._task.cancel()
        await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)

    async def _ask(self, ask: Callable[[], Awaitable[T]], session: ClientSession | None = None) -> T:
        """Ask in a task of its own; with a session, once more when it turns out that the tools have to be listed."""
        task = asyncio.create_task(self._answer(ask, session))
        self._calls.add(task)
        task.add_done_callback(self._after)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            self._given_up = True  # who is waited for in vain is not asked again
            raise

    async def _answer(self, ask: Callable[[], Awaitable[T]], session: ClientSession | None) -> T:
        from mcp import MCPError
        from mcp_types import HEADER_MISMATCH

        try:
            return await ask()
        except MCPError as error:
            if error.code != HEADER_MISMATCH or session is None:
                raise self._failure(error) from error
        except Exception as error:
            raise self._failure(error) from error
        try:
            await session.list_tools()
            return await ask()
        except Exception as error:
            raise self._failure(error) from error

    def _after(self, task: asyncio.Task[Any]) -> None:
        self._calls.discard(task)
        self.used_at = asyncio.get_running_loop().time()
        if not task.cancelled():
            task.exception()
        if self._given_up and not self._calls:
            self._ending.set()

    async def _hold(self) -> None:
        """Open it, keep it until it ends, and close it."""
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._options.open_timeout):
                    session = await self._open(stack)
                self.used_at = asyncio.get_running_loop().time()  # opening may take longer than it may lie idle
                self._session.set_result(session)
                if _tells_changes(session):
                    await self._listen(session)
                await self._ending.wait()
        except Exception as error:
            failure = self._failure(error)
            if self._session.done():
                logger.info("The connection to an MCP server ended: %s", failure.message)
            else:
                self._fail(failure)
        finally:
            self._ending.set()

    def _fail(self, failure: ToolServerFailed) -> None:
        self._session.set_exception(failure)
        self._session.exception()  # nobody may be waiting any more

    async def _open(self, stack: AsyncExitStack) -> ClientSession:
        await asyncio.to_thread(load, *_MODULES)  # a second's work at the first time
        is_older = self._configuration.server_type == "sse"  # which is of the older protocol only
        if self._program is None:
            return await self._agree(stack, is_older=is_older)
        try:
            async with AsyncExitStack() as first:
                session = await self._agree(first, is_older=False)
                stack.push_async_exit(first.pop_all().__aexit__)
                return session
        except Exception:
            if self._program.fault != ENDED:
                raise
        # Many end at the question whether they speak the newer protocol: all that the SDK for Rust made before.
        self._program = self._new_program()
        self._ending.clear()
        return await self._agree(stack, is_older=True)

    async def _agree(self, stack: AsyncExitStack, *, is_older: bool) -> ClientSession:
        """Connect, and agree on a version of the protocol."""
        from mcp import ClientSession
        from mcp.client._probe import negotiate_auto
        from mcp_types import Implementation

        from folkmoot.tools.mcp.deviations import Dispatcher

        read, write = await self._open_transport(stack)
        session = ClientSession(
            dispatcher=Dispatcher(Watched(read, self._ending), write),
            read_timeout_seconds=OPEN_TIMEOUT,
            message_handler=self._hear,
            client_info=Implementation(name="folkmoot", version=__version__),
        )
        await stack.enter_async_context(session)
        if is_older:
            await session.initialize()
        else:
            await negotiate_auto(session)
        return session

    def _new_program(self) -> Program | None:
        configuration = self._configuration
        return Program(configuration, self._allowance, self._options.sandbox) if configuration.is_program else None

    async def _open_transport(self, stack: AsyncExitStack) -> TransportStreams:
        if self._program is not None:
            return await stack.enter_async_context(self._program.run())
        from mcp.client.sse import sse_client
        from mcp.client.streamable_http import streamable_http_client

        from folkmoot.tools.mcp.http import ToolServerClient

        configuration = self._configuration
        assert configuration.server_url is not None
        self._client = client = ToolServerClient(
            configuration.server_url,
            configuration.headers,
            self._allowance,
            allow_private=self._options.allow_private,
            auth=await self._options.auth() if self._options.auth is not None else None,
        )
        if configuration.server_type == "sse":

            def ready(*_: Any, **__: Any) -> httpx2.AsyncClient:
                return client

            return await stack.enter_async_context(sse_client(configuration.server_url, httpx_client_factory=ready))
        await stack.enter_async_context(client)
        return await stack.enter_async_context(
            streamable_http_client(configuration.server_url, http_client=client, max_sse_event_size=LARGEST_MESSAGE)
        )

    async def _listen(self, session: ClientSession) -> None:
        """Hear of changes as the newer protocol tells them, until the connection ends."""
        from mcp.client.subscriptions import listen

        ending = asyncio.create_task(self._ending.wait())
        try:
            while not self._ending.is_set():
                hearing = asyncio.create_task(
                    _hear_changes(listen(session, tools_list_changed=True), self._tools_changed)
                )
                await asyncio.wait((ending, hearing), return_when=asyncio.FIRST_COMPLETED)
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)
                await asyncio.wait((ending,), timeout=LISTEN_AGAIN)
        finally:
            ending.cancel()

    async def _hear(self, message: Any) -> None:
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self._tools_changed()

    def _failure(self, error: BaseException) -> ToolServerFailed:
        """Say what went wrong: of a program what it complained of, too."""
        from mcp import MCPError

        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, ToolServerFailed):
            return error
        kind: type[ToolServerFailed] = ToolServerFailed
        if self._client is not None and self._client.needs_authorization:
            kind, self._given_up = NeedsAuthorization, True
        if isinstance(error, ProgramFailed):
            return ConnectionLost(f"{self._name}: {error}.")
        said = self._program.said if self._program is not None else ""
        if self._program is not None and self._program.fault is not None:
            return ConnectionLost(f"{self._name}: {self._program.fault}.{said}")
        if isinstance(error, MCPError):
            return self._told_failure(error, kind)
        if isinstance(error, TimeoutError):
            return kind(f"{self._name}: it did not answer within {self._options.open_timeout:g} seconds.{said}")
        if self._client is not None and isinstance(error, (FolkmootError, OSError, *self._client.failures)):
            return kind(f"{self._name}: {self._client.failure_text(error)}")
        if isinstance(error, FolkmootError):
            return kind(f"{self._name}: {error.message}")
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))[:200]
            return kind(f"{self._name}: what it answered is not of the protocol: {place}: {first['msg']}.")
        return kind(f"{self._name}: {NOT_UNDERSTOOD}")

    def _told_failure(self, error: MCPError, kind: type[ToolServerFailed]) -> ToolServerFailed:
        """Say what the server, or the SDK in its place, answered."""
        from mcp_types import CONNECTION_CLOSED, PARSE_ERROR

        from folkmoot.tools.mcp.http import SESSION_GONE

        said = error.message[:LONGEST_COMPLAINT]
        if error.data and len(detail := json.dumps(error.data, ensure_ascii=False)) <= LONGEST_COMPLAINT:
            said += f" ({detail})"
        if self._client is not None:
            said = self._client.without_secrets(said)
        if error.code == SESSION_GONE:
            kind, self._given_up = SessionEnded, True
        elif error.code == CONNECTION_CLOSED:
            too_long = "byte limit" in said  # the SDK has no other sign of it
            kind = ConnectionLost
            said = f"it sent a message of more than {LARGEST_MESSAGE:,} bytes." if too_long else LOST
        elif error.code == PARSE_ERROR:
            said = NOT_UNDERSTOOD
        return kind(f"{self._name}: {said}")


@cache
def _answers() -> TypeAdapter[Any]:
    """Return what reads the answer to a call; to make it takes ten times as long as to use it."""
    import mcp_types

    return TypeAdapter(mcp_types.CallToolResult | mcp_types.InputRequiredResult)


async def _hear_changes(subscribing: Any, tools_changed: Callable[[], None]) -> None:
    async with subscribing as subscription:
        async for _ in subscription:
            tools_changed()


def _tells_changes(session: ClientSession) -> bool:
    """Tell whether the server has to be asked to tell of changes; those of the older protocol tell unasked."""
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS

    capabilities = session.server_capabilities
    tools = capabilities.tools if capabilities is not None else None
    return session.protocol_version in MODERN_PROTOCOL_VERSIONS and bool(tools and tools.list_changed)
