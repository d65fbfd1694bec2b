"""A provider's request and response as they go over the wire, for traces and previews.

    with noting() as exchange:
        ...                        # ask a model
    exchange.request, exchange.response
    exchange.texts()

Only bodies are looked at, never headers, where keys are. A streamed response is left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2


@dataclass(slots=True)
class Exchange:
    """The bodies that have been sent and received; `sends` is off when a request is only to be seen."""

    sends: bool = True
    request: bytes | None = None
    response: bytes | None = None

    def texts(self) -> dict[str, str]:
        """Return the bodies that there are, as text: they are JSON already, and are kept as they went."""
        bodies = {"request": self.request, "response": self.response}
        return {name: body.decode("utf-8", "replace") for name, body in bodies.items() if body is not None}


class NotSent(Exception):
    """A request was seen and is not sent."""


_noted: ContextVar[Exchange | None] = ContextVar("_noted", default=None)


@contextmanager
def noting(*, sends: bool = True) -> Iterator[Exchange]:
    """Note the last request of what runs inside, and its response."""
    exchange = Exchange(sends)
    token = _noted.set(exchange)
    try:
        yield exchange
    finally:
        _noted.reset(token)


async def note_request(request: httpx2.Request) -> None:
    """Keep a request that is about to be sent, when somebody notes it."""
    exchange = _noted.get()
    if exchange is not None:
        exchange.request, exchange.response = request.content, None
        if not exchange.sends:
            raise NotSent


async def note_response(response: httpx2.Response) -> None:
    """Keep a whole response that has come, when somebody notes it."""
    exchange = _noted.get()
    if exchange is not None and "event-stream" not in response.headers.get("content-type", ""):
        exchange.response = await response.aread()


def read_body(body: str | bytes) -> Any:
    """Return what a body says: JSON, or its text where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body if isinstance(body, str) else body.decode("utf-8", "replace")
