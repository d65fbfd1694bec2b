"""A process that asks a server for its health, again and again, and remembers how long each answer took."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from bench import answering
from bench.http import Client

BETWEEN = 0.005
"""Seconds from an answer to the next question."""


class Asking:
    """Asks one server from `/begin` to `/end`, which tells how long each answer took, in milliseconds."""

    def __init__(self) -> None:
        """Start with nothing asked."""
        self._task: asyncio.Task[None] | None = None
        self._latencies: list[float] = []
        self._errors = 0

    async def respond(self, path: str, body: bytes) -> Any:
        """Do what one request asks for."""
        if path == "/begin":
            self._latencies, self._errors = [], 0
            self._task = asyncio.create_task(self._ask(json.loads(body)["url"]))
            return {}
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        return {"latencies": self._latencies, "errors": self._errors}

    async def _ask(self, url: str) -> None:
        client = Client(url)
        try:
            while True:
                begun = time.perf_counter()
                response = await client.get("/v1/health")
                self._latencies.append((time.perf_counter() - begun) * 1e3)
                self._errors += response.status != 200
                await asyncio.sleep(BETWEEN)
        finally:
            await client.aclose()


if __name__ == "__main__":
    answering.run(Asking().respond)
