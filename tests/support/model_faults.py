"""What can go wrong with a model's answer, and the hold that keeps answers back until a test lets them go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from support.polling import PATIENCE


@dataclass(frozen=True)
class Fail:
    """Answer with an error, in the words of the API that is asked; `code` is OpenAI's."""

    status: int
    message: str
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """Never answer; the connection stays open until the client goes."""


@dataclass(frozen=True)
class Drop:
    """Cut the connection after so many pieces of a stream; none: before any byte of the answer."""

    after: int = 0


@dataclass(frozen=True)
class Break:
    """Tell of a failure in a stream, after so many pieces of it, as a provider does that is overloaded."""

    after: int


@dataclass(frozen=True)
class Nonsense:
    """Answer 200 with a page that is no JSON."""


@dataclass(frozen=True)
class Reply:
    """Answer with this message, whatever the script says."""

    message: dict[str, Any]
    finish_reason: str | None = None


@dataclass(frozen=True)
class Raw:
    """Answer with this very body, as JSON; or, where a stream is asked for, with these bytes if there are any."""

    body: Any
    stream: bytes = b""


Fault = Fail | Hang | Drop | Break | Nonsense | Reply | Raw


class Held:
    """Answers kept back. Made by `ScriptedModel.hold`; used from the test's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, matching: str, after: int) -> None:
        self.matching = matching
        self.after = after
        self._loop = loop
        self._changed = threading.Condition()
        self._waiting: list[asyncio.Future[None]] = []
        self._arrived = 0
        self._open = False

    @property
    def arrived(self) -> int:
        """How many answers have been kept back so far, released or not."""
        with self._changed:
            return self._arrived

    def wait_for(self, count: int) -> None:
        """Return when `count` answers have been kept back so far.

        In an async test call it as `await asyncio.to_thread(held.wait_for, n)`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._arrived >= count, PATIENCE):
                raise TimeoutError(f"{self._arrived} of {count} requests came to the held model")

    def release(self, count: int | None = None) -> None:
        """Let the oldest `count` answers go; without a count all of them, and hold no more."""
        with self._changed:
            self._open = self._open or count is None
            going, self._waiting = self._waiting[:count], self._waiting[count:] if count is not None else []
        for future in going:
            self._loop.call_soon_threadsafe(_let_go, future)

    async def keep(self) -> None:
        """Wait, on the model's own loop, until this answer is released."""
        future = self._loop.create_future()
        with self._changed:
            if self._open:
                return
            self._waiting.append(future)
            self._arrived += 1
            self._changed.notify_all()
        await future


def _let_go(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
