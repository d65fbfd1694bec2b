"""How fast a database of the retired server is taken over, and with how much memory."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench import bars
from bench.bars import Figure
from bench.processes import PASSED_ON, ROOT

MESSAGES = 100_000
LOOKED_AT_EVERY = 0.05


def measure(messages: int = MESSAGES) -> list[Figure]:
    """Return the rate and the largest memory on each store.

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
        source = server.create_database()
        asyncio.run(fill(source))
        for store, target in (("sqlite", f"sqlite:///{name}/moved.sqlite3"), ("postgres", server.create_database())):
            seconds, memory, failures = _import(source, target, Path(name), messages)
            rate = messages / seconds
            note = f"{messages:,} in {seconds:.1f} s"
            figures.append(Figure(bars.MOVED, store, value=rate, unit="/s", note=note, failures=failures))
            figures.append(Figure(bars.MOVING_MEMORY, store, value=memory, unit="MB"))
    return figures


def _import(source: str, target: str, home: Path, messages: int) -> tuple[float, float, int]:
    """Run the command; return its seconds, its largest memory in MB, and 1 if not everything came."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environ = {**kept, "HOME": str(home), "FOLKMOOT_DATA": str(home / "data"), "OPENAI_API_KEY": "scripted"}
    command = [sys.executable, "-m", "folkmoot", "import", source, "--database", target]
    begun, memory = time.perf_counter(), 0
    with (
        (home / "import.log").open("wb") as log,
        subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            memory = max(memory, watched.memory_info().rss)
            time.sleep(LOOKED_AT_EVERY)
        seconds = time.perf_counter() - begun
        assert process.stdout is not None
        said = process.stdout.read()
    taken = re.search(r"^messages +[\d,]+ +([\d,]+)", said, re.MULTILINE)
    whole = process.returncode == 0 and taken is not None and int(taken[1].replace(",", "")) >= messages
    return seconds, memory / 1e6, 0 if whole else 1
