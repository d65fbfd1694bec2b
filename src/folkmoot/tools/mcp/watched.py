"""A stream of a server's messages that says when it is over."""

from __future__ import annotations

import asyncio
from typing import Any

from folkmoot.tools.mcp.allowance import MOST_REQUESTS, REQUESTS_A_SECOND, Allowance


class Watched:
    """A stream of a server's messages: its end ends the connection, and so does a server that asks without end."""

    def __init__(self, stream: Any, ending: asyncio.Event) -> None:
        """Read from `stream`; `ending` is set when there is no more."""
        self._stream = stream
        self._ending = ending
        self._requests = Allowance(MOST_REQUESTS, REQUESTS_A_SECOND)

    @property
    def last_context(self) -> Any:
        """What the SDK looks for: in whose context a message was sent."""
        return getattr(self._stream, "last_context", None)

    async def receive(self) -> Any:
        """Return the next message.

        Raises:
            anyio.EndOfStream: there is none, or the server asks too much.
        """
        import anyio
        from mcp_types import JSONRPCRequest

        try:
            item = await self._stream.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._ending.set()
            raise
        if isinstance(getattr(item, "message", None), JSONRPCRequest) and not self._requests.has_one():
            self._ending.set()
            raise anyio.EndOfStream
        return item

    def __aiter__(self) -> Watched:
        return self

    async def __anext__(self) -> Any:
        import anyio

        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Read no more."""
        await self._stream.aclose()

    async def __aenter__(self) -> Watched:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
