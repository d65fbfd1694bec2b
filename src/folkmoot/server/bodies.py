"""Requests' bodies: JSON is read in place on the event loop, so that a large body may not be made of many small values.

A block's text of ten megabytes is read in some 50 ms; as many bytes of empty lists would take seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from folkmoot.errors import InvalidInput

MOST_VALUES = 100_000
"""Values (texts, numbers, keys, lists, objects) in a request's body."""

SMALL = 100_000
"""Bytes of a body that are not counted: it cannot have more values."""


class BodyRoute(APIRoute):
    """A route whose body is looked over before it is read as JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler behind the look."""
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def handle(request: Request) -> Response:
            length = request.headers.get("content-length", "")
            if not length.isdigit() or int(length) > SMALL:
                await asyncio.to_thread(check_values, await request.body())
            return await handler(request)

        return handle


def check_values(body: bytes) -> None:
    """Refuse JSON that is made of more than `MOST_VALUES`.

    Raises:
        InvalidInput: it is.
    """
    if len(body) <= SMALL or _separators(body) < MOST_VALUES:
        return
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if (
        len(plain) - len(plain.translate(None, b'"')) <= 2 * MOST_VALUES
        and _separators(b"".join(plain.split(b'"')[::2])) < MOST_VALUES
    ):
        return
    raise InvalidInput(
        f"body: is made of more than {MOST_VALUES:,} values. Send fewer items in one request, or one long "
        "text instead of many short ones."
    )


def _separators(text: bytes) -> int:
    """Return how many values the text separates, keys counted, when none of it is inside quotes."""
    return len(text) - len(text.translate(None, b",:[{"))
