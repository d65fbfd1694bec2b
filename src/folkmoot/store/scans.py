"""Room for reads that may take long: a few at once, each on a thread, and a queue that does not grow without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from folkmoot.errors import StoreOverloaded

T = TypeVar("T")

AT_ONCE = 4
"""Scans that run at once. They share the interpreter with the event loop, so that more would only slow each other."""

MOST_WAITING = 100
"""Scans that may wait for their turn before more are refused."""

LONGEST_SCAN = 30.0
"""Seconds after which a scan is given up."""

TOO_LONG = (
    f"This would take longer than {LONGEST_SCAN:g} seconds and was given up. Ask for less: a filter that fits fewer, "
    "a smaller page, an earlier version."
)


class Scans:
    """The turns and the threads of one engine's scans."""

    def __init__(self, wait: float) -> None:
        """Let scans wait `wait` seconds for their turn before they are refused."""
        self._wait = wait
        self._waiting = 0
        self._free = asyncio.Semaphore(AT_ONCE)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="folkmoot-scan")

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it for `LONGEST_SCAN` at most.

        Raises:
            StoreOverloaded: too many wait already, the wait was too long, or the scan was.
        """
        await self._acquire()
        try:
            async with asyncio.timeout(LONGEST_SCAN):
                yield
        except TimeoutError as error:
            raise StoreOverloaded(TOO_LONG) from error
        finally:
            self._free.release()

    async def run(self, function: Callable[[], T], interrupt: Callable[[], None] = lambda: None) -> T:
        """Run `function` on a thread and return its result; when nobody waits for it any more, call `interrupt`."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, function)
        try:
            return await running
        except asyncio.CancelledError:
            interrupt()
            raise

    async def close(self) -> None:
        """Wait for what runs, and end the threads."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    async def _acquire(self) -> None:
        if self._waiting >= MOST_WAITING:
            raise StoreOverloaded("Too many searches and long lists wait already. Try again in a moment.")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait):
                await self._free.acquire()
        except TimeoutError as error:
            raise StoreOverloaded("Other searches and long lists took too long. Try again in a moment.") from error
        finally:
            self._waiting -= 1
