"""What a turn takes while a backup of the server's database is made, and what the file has."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from statistics import median

from bench import bars
from bench.bars import Figure
from bench.http import Client, Response
from bench.measuring import timed
from bench.processes import PASSED_ON
from bench.work import MODEL, Size

TURNS_AT_ONCE = 3
"""Turns between two looks whether the backup is done."""


class Backups:
    """Measures one server, whose database should be large by now."""

    def __init__(self, client: Client, store: str, url: str, home: Path, size: Size) -> None:
        """Measure the server behind `client`, which works with the database at `url`."""
        self._client = client
        self._store = store
        self._url = url
        self._home = home
        self._size = size

    async def figures(self) -> AsyncIterator[Figure]:
        """Take turns alone and beside backups, in rounds: what else the machine does changes."""
        agent = await self._client.need("POST", "/v1/agents", {"name": "bench backups", "model": MODEL})

        async def turn(_: int) -> Response:
            return await self._client.post(f"/v1/agents/{agent['id']}/messages", {"input": "hello"})

        await timed(self._size.turns // 4 + 1, 1, turn)
        alone: list[float] = []
        meanwhile: list[float] = []
        failures = 0
        for number in range(self._size.backups):
            quiet = await timed(max(self._size.turns // self._size.backups, 5), 1, turn)
            making = asyncio.create_task(self._back_up(self._home / f"{number}.folkmoot"))
            alone += quiet.latencies
            failures += quiet.errors.total()
            most = len(meanwhile) + self._size.backup_turns
            while not making.done() and len(meanwhile) < most:
                busy = await timed(TURNS_AT_ONCE, 1, turn)
                meanwhile += busy.latencies
                failures += busy.errors.total()
            failures += await making != 0
        p50, alone_p50 = median(meanwhile), median(alone)
        rows = rows_of(self._home / "0.folkmoot") / 1e6
        note = f"{rows:,.0f} MB of rows, {len(meanwhile)} turns; {alone_p50:.1f} ms alone, {p50:.1f} ms meanwhile"
        yield Figure(bars.TURN_BACKUP, self._store, value=p50 / alone_p50, unit="×", note=note, failures=failures)

    async def _back_up(self, file: Path) -> int:
        """Make a backup by the command and return its exit status."""
        environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        command = (sys.executable, "-m", "folkmoot", "backup", str(file), "--database", self._url)
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**environ, "HOME": str(self._home), "FOLKMOOT_DATA": str(self._home / "data")},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait()


def rows_of(file: Path) -> int:
    """Return how many bytes of rows a backup has, as they are before they are compressed."""
    from folkmoot.transfer.backup_file import BackupReader

    with closing(BackupReader(file)) as reader:
        return sum(piece.bytes for piece in reader.pieces)
