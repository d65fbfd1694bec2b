"""Connections to one PostgreSQL database, each lent to one piece of work at a time.

asyncpg's own pool starts a task and sets three timers each time it lends one, which costs more than to read a row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import asyncpg

REST_SECONDS = 300.0
"""How long a connection stays open that nobody needs."""

SHORT_SECONDS = 5.0
"""How long fewer connections are lent after PostgreSQL had no more."""

Connection: TypeAlias = "asyncpg.Connection[Any]"


class Pool:
    """As many connections as are needed at once, up to a number; the one that was used last is lent first."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], most: int, wait: float) -> None:
        """Open connections by `connect`, `most` at once; wait `wait` seconds for one that is free."""
        self._connect = connect
        self._most = most
        self._wait = wait
        self._free = asyncio.Semaphore(most)
        self._withheld: list[asyncio.TimerHandle] = []
        self._opening = 0
        self._lent: set[Connection] = set()
        self._resting: list[tuple[float, Connection]] = []  # with since when, the longest first
        self._closing: set[asyncio.Task[None]] = set()
        self._looking: asyncio.TimerHandle | None = None

    def lend(self) -> Loan:
        """Lend a connection that is in no transaction, for an `async with`.

        Raises:
            TimeoutError: none was free in time, or could be opened in time.
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: none could be opened. Where PostgreSQL has no more,
                and others have some of this pool, one of those is waited for.
        """
        return Loan(self)

    async def close(self) -> None:
        """Wait for what is lent, and close every connection."""
        while self._withheld:
            self._withheld.pop().cancel()
            self._free.release()
        for _ in range(self._most):
            await self._free.acquire()
        if self._looking is not None:
            self._looking.cancel()
        while self._resting:
            await self._resting.pop()[1].close()

    def terminate(self) -> None:
        """Drop every connection at once, whatever goes on over it."""
        for connection in (*self._lent, *(connection for _, connection in self._resting)):
            connection.terminate()

    async def _take(self) -> Connection:
        await self._wait_for_one()
        connection = self._rested()
        if connection is None:
            async with asyncio.timeout(self._wait):
                connection = await self._open()
        self._lent.add(connection)
        return connection

    async def _open(self) -> Connection:
        """Open a connection, or take one that others give back where PostgreSQL has no more."""
        while True:
            self._opening += 1
            try:
                return self._rested() or await self._connect()
            except asyncpg.TooManyConnectionsError:
                if not self._lent and self._opening == 1:  # nobody will give one back
                    self._free.release()
                    raise
            except BaseException:
                self._free.release()
                raise
            finally:
                self._opening -= 1
            self._withhold()
            await self._free.acquire()

    def _withhold(self) -> None:
        """Let nobody have the place of a connection that cannot be opened, for a while."""

        def give_back() -> None:
            self._withheld.remove(timer)
            self._free.release()

        timer = asyncio.get_running_loop().call_later(SHORT_SECONDS, give_back)
        self._withheld.append(timer)

    async def _wait_for_one(self) -> None:
        if not self._free.locked():
            await self._free.acquire()  # does not wait, and so needs no timer
            return
        async with asyncio.timeout(self._wait):
            await self._free.acquire()

    def _rested(self) -> Connection | None:
        """Return a connection that is open and that nobody uses, if there is one."""
        while self._resting:
            connection = self._resting.pop()[1]
            if not connection.is_closed():
                return connection
        return None

    def _take_back(self, connection: Connection) -> None:
        self._lent.discard(connection)
        self._free.release()
        if connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
            return
        loop = asyncio.get_running_loop()
        self._resting.append((loop.time(), connection))
        if self._looking is None:
            self._looking = loop.call_later(REST_SECONDS, self._drop_rested)

    def _close_behind(self, connection: Connection) -> None:
        closing = asyncio.create_task(self._close(connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(self, connection: Connection) -> None:
        """Close a connection when what goes on over it has been cancelled; only then another one may take its place."""
        try:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await connection.close(timeout=self._wait)
        finally:
            self._lent.discard(connection)
            self._free.release()

    def _drop_rested(self) -> None:
        """Close what nobody has needed for long, and look again later if anything is left."""
        loop = asyncio.get_running_loop()
        while self._resting and self._resting[0][0] <= loop.time() - REST_SECONDS:
            self._resting.pop(0)[1].terminate()
        self._looking = loop.call_later(REST_SECONDS, self._drop_rested) if self._resting else None


class Loan:
    """A connection for as long as a block of statements takes. A generator would cost as much again."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        """Lend a connection of `pool`."""
        self._pool = pool

    async def __aenter__(self) -> Connection:
        """Return the connection."""
        self._connection = await self._pool._take()
        return self._connection

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Give it back."""
        if isinstance(error, asyncio.CancelledError | TimeoutError):  # a statement may be under way still
            self._pool._close_behind(self._connection)
        else:
            self._pool._take_back(self._connection)
