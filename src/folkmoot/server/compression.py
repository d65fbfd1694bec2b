"""Answers are compressed for clients that take it, but for short ones and for streams of events."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

SHORTEST = 1500
"""Bytes of an answer that fits into one packet anyway."""

LEVEL = 4
"""Nearly as small as the highest level, in a third of the time."""

AT_ONCE = 32_000
"""Bytes that are compressed in place, in a fraction of a millisecond; more are on a thread."""


PACKED = frozenset({"/v1/backup", "/settings/backup"})
"""Whose answers are compressed by themselves."""


class Compression(GZipMiddleware):
    """Compresses what is sent to clients that say they take it; nothing is done for others."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        super().__init__(app, minimum_size=SHORTEST, compresslevel=LEVEL, thread_minimum_size=AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        takes_it = (
            scope["type"] == "http"
            and scope["path"] not in PACKED
            and any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])
        )
        await (super().__call__ if takes_it else self.app)(scope, receive, send)
