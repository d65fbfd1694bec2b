"""How fast a database of the retired server is taken over, and with how much memory; then backup, restore and copy."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from bench import bars
from bench.backups import rows_of
from bench.bars import Figure
from bench.processes import PASSED_ON, ROOT

MESSAGES = 100_000
LOOKED_AT_EVERY = 0.05
OTHER = {"sqlite": "postgres", "postgres": "sqlite"}


def measure(messages: int = MESSAGES) -> list[Figure]:
    """Return rates, seconds and the largest memory on each store.

    Args:
        messages: that the source has, half of them in one conversation.
    """
    sys.path.insert(0, str(ROOT / "tests"))
    from support.postgres import PostgresServer
    from transfer.retired_database import grow, load_dump

    async def fill(url: str) -> None:
        await load_dump(url)
        await grow(url, messages)

    figures: list[Figure] = []
    with PostgresServer(durable=True) as server, tempfile.TemporaryDirectory(prefix="folkmoot-bench-") as name:
        home = Path(name)

        def empty(store: str, what: str) -> str:
            """Return the address of a database that is not there or empty."""
            return server.create_database() if store == "postgres" else f"sqlite:///{home / what}.sqlite3"

        source = server.create_database()
        asyncio.run(fill(source))
        for store, other in OTHER.items():
            target = empty(store, "moved")
            run = _command(home, "import", source, "--database", target)
            note = f"{messages:,} in {run.seconds:.1f} s, {run.processor:.1f} s of the processor"
            failed = _all_came(run, messages)
            rate = messages / run.seconds
            figures.append(Figure(bars.MOVED, store, value=rate, unit="/s", note=note, failures=failed))
            figures.append(Figure(bars.MOVING_MEMORY, store, value=run.memory, unit="MB"))
            figures += _moves(home, store, target, empty(store, f"restored-{store}"), empty(other, "copied"))
    return figures


def _moves(home: Path, store: str, source: str, again: str, elsewhere: str) -> Iterator[Figure]:
    """Back a database up, restore it into one of the same kind, and copy it to the other kind."""
    file = home / f"{store}.folkmoot"
    for name, arguments in (
        (bars.BACKED_UP, ("backup", str(file), "--database", source)),
        (bars.RESTORED, ("restore", str(file), "--database", again)),
        (bars.COPIED, ("copy", "--from", source, "--to", elsewhere)),
    ):
        run = _command(home, *arguments)
        size = asyncio.run(_size(source)) / 1e9
        note = (
            f"{size * 1e3:,.0f} MB, {rows_of(file) / 1e6:,.0f} of them rows, in {run.seconds:.1f} s, "
            f"{run.processor:.1f} s of the command's processor time, {run.memory:.0f} MB of memory"
        )
        failed = int(run.status != 0)
        yield Figure(name, store, value=run.seconds / size, unit="s", note=note, failures=failed)


async def _size(url: str) -> int:
    """Return how many bytes a database has, its indexes among them."""
    if url.startswith("sqlite"):
        return Path(url.removeprefix("sqlite:///")).stat().st_size
    connection = await asyncpg.connect(url)
    try:
        found: int = await connection.fetchval("SELECT pg_database_size(current_database())")
    finally:
        await connection.close()
    return found


@dataclass(frozen=True, slots=True)
class Run:
    """How a command ended: seconds of the clock and of its own processor time, its largest memory in MB."""

    status: int
    said: str
    seconds: float
    processor: float
    memory: float


def _command(home: Path, *arguments: str) -> Run:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environ = {**kept, "HOME": str(home), "FOLKMOOT_DATA": str(home / "data"), "OPENAI_API_KEY": "scripted"}
    command = [sys.executable, "-m", "folkmoot", *arguments]
    begun, memory, processor = time.perf_counter(), 0, 0.0
    with (
        (home / "commands.log").open("wb") as log,
        (home / "said").open("w+") as said,
        subprocess.Popen(command, env=environ, stdout=said, stderr=log) as process,
    ):
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            with watched.oneshot():
                memory = max(memory, watched.memory_info().rss)
                times = watched.cpu_times()
            processor = times.user + times.system
            time.sleep(LOOKED_AT_EVERY)
        seconds = time.perf_counter() - begun
        said.seek(0)
        return Run(process.returncode, said.read(), seconds, processor, memory / 1e6)


def _all_came(run: Run, messages: int) -> int:
    """Return 1 if not all messages came."""
    taken = re.search(r"^messages +[\d,]+ +([\d,]+)", run.said, re.MULTILINE)
    return int(run.status != 0 or taken is None or int(taken[1].replace(",", "")) < messages)
