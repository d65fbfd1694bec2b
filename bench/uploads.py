"""Many files at once, and what a turn takes while they are read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from statistics import median

from bench import bars
from bench.bars import Figure
from bench.http import Client, Response
from bench.measuring import timed
from bench.work import MODEL, Size

ROUNDS = 10
"""How often it is measured without uploads, and with some."""

SENT_AT_ONCE = 4
PAUSE = 0.1
LINE = "Line {number} of file {file}: the kettle in the kitchen sings, and a heron stands still by the water.\n"


class Uploads:
    """Measures one server."""

    def __init__(self, client: Client, store: str, size: Size) -> None:
        """Measure the server behind `client`."""
        self._client = client
        self._store = store
        self._size = size

    async def figures(self) -> AsyncIterator[Figure]:
        """Take turns alone and while files are taken in and read, in rounds: what else the machine does changes."""
        agent = await self._client.need("POST", "/v1/agents", {"name": "bench uploads", "model": MODEL})
        folder = await self._client.need("POST", "/v1/folders", {"name": "bench uploads"})

        async def turn(_: int) -> Response:
            return await self._client.post(f"/v1/agents/{agent['id']}/messages", {"input": "hello"})

        await timed(self._size.turns // 4 + 1, 1, turn)
        alone: list[float] = []
        meanwhile: list[float] = []
        seconds, failures, failed = 0.0, 0, 0
        rounds = min(ROUNDS, self._size.uploads)
        for number in range(rounds):
            quiet = await timed(max(self._size.turns // rounds, 5), 1, turn)
            alone += quiet.latencies
            failures += quiet.errors.total()
            first, end = (self._size.uploads * each // rounds for each in (number, number + 1))
            reading = asyncio.create_task(self._read_all(folder["id"], range(first, end)))
            while not reading.done():
                busy = await timed(3, 1, turn)
                meanwhile += busy.latencies
                failures += busy.errors.total()
            took, bad = await reading
            seconds, failed = seconds + took, failed + bad
        p50, alone_p50 = median(meanwhile), median(alone)
        megabytes = self._size.uploads * self._size.upload_bytes / 1e6
        note = f"{megabytes:,.0f} MB in {self._size.uploads} files; {alone_p50:.1f} ms alone, {p50:.1f} ms meanwhile"
        yield Figure(bars.TURN_MEANWHILE, self._store, value=p50 / alone_p50, unit="×", note=note, failures=failures)
        yield Figure(
            bars.FILES_READ,
            self._store,
            value=seconds,
            unit="s",
            note=f"{megabytes / seconds:.1f} MB/s, with turns meanwhile",
            failures=failed,
        )

    async def _read_all(self, folder_id: str, numbers: Sequence[int]) -> tuple[float, int]:
        """Upload files and wait until all are read; return the seconds, and how many could not be."""
        begun = time.perf_counter()
        sent = await timed(len(numbers), SENT_AT_ONCE, lambda number: self._upload(folder_id, numbers[number]))
        while await self._client.need("GET", f"/v1/jobs?source_id={folder_id}&active=true&limit=1"):
            await asyncio.sleep(PAUSE)
        seconds = time.perf_counter() - begun
        files = await self._client.need("GET", f"/v1/folders/{folder_id}/files?limit={len(numbers)}")
        bad = sum(each["processing_status"] != "completed" for each in files)
        return seconds, bad + sent.errors.total()

    async def _upload(self, folder_id: str, number: int) -> Response:
        lines = self._size.upload_bytes // len(LINE) + 1
        text = "".join(LINE.format(number=line, file=number) for line in range(lines))
        return await self._client.upload(f"/v1/folders/{folder_id}/upload", f"file-{number}.txt", text.encode())
