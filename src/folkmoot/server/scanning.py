"""What a route does that may take long: it holds up nobody, and ends when its client goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from folkmoot.errors import ClientLeft
from folkmoot.server.event_stream import disconnected
from folkmoot.server.state import state_of
from folkmoot.store.engine import Store, Work

T = TypeVar("T")
S = TypeVar("S")

SHORT_PAGE = 100
"""Items of a list that are read and shown in place, where an index leads to them."""


class Scanning:
    """The scans of one request."""

    def __init__(self, store: Store, request: Request) -> None:
        """Scan `store` for as long as the client of `request` is there."""
        self._store = store
        self._request = request

    async def __call__(self, work: Work[T], then: Callable[[T], S], *, short: bool = False) -> S:
        """Return what `then` makes of what `work` reads.

        Args:
            work: what to read.
            then: what to make of it, such as the response; it runs on another thread.
            short: it takes a millisecond this time, and is done in place.

        Raises:
            ClientLeft: nobody waits for the answer any more; the scan was given up.
            StoreOverloaded: too many scans wait, or this one took too long.
        """
        if short:
            return then(await self._store.read(work))
        return await self.while_here(self._store.scan(work, then))

    async def while_here(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of what may take long, or give it up when the client goes away.

        Raises:
            ClientLeft: nobody waits for the answer any more.
        """
        scanning = asyncio.create_task(work)
        leaving = asyncio.create_task(disconnected(self._request.receive))
        try:
            await asyncio.wait((scanning, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not scanning.done():
                raise ClientLeft
            return scanning.result()
        finally:
            for task in (scanning, leaving):
                task.cancel()
            await asyncio.gather(scanning, leaving, return_exceptions=True)


async def scanning_of(request: Request) -> Scanning:
    """Return the scans of `request`."""
    return Scanning((await state_of(request)).store, request)


Scan = Annotated[Scanning, Depends(scanning_of)]
