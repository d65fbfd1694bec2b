"""The processes of a measurement: the server, the scripted model, the bare application, PostgreSQL."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

ROOT = Path(__file__).parent.parent
PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SSL_CERT_FILE")
LONGEST_START = 60.0
STOP_WAIT = 30.0


class NotStarted(Exception):
    """A process ended before it said its address; the message is what it wrote."""


@dataclass(frozen=True, slots=True)
class Running:
    """A process that has said its address."""

    url: str
    pid: int
    cold_start: float
    """Seconds from the command to the first healthy answer."""

    def resident(self) -> float:
        """Return the resident memory of the process and its children, in MB."""
        process = psutil.Process(self.pid)
        family = [process, *process.children(recursive=True)]
        return float(sum(member.memory_info().rss for member in family)) / 1e6

    def processor_seconds(self) -> float:
        """Return the processor time that the process has used, and its children that have ended or still run."""
        process = psutil.Process(self.pid)
        own = process.cpu_times()
        living = [member.cpu_times() for member in process.children(recursive=True)]
        return float(
            sum(times.user + times.system for times in (own, *living)) + own.children_user + own.children_system
        )


@contextmanager
def helper(module: str) -> Iterator[Running]:
    """Run `python -m <module>` from this project's folder."""
    with _started([sys.executable, "-m", module], ROOT, {}, Path(os.devnull), None) as running:
        yield running


@contextmanager
def folkmoot(database: str, home: Path, model_url: str) -> Iterator[Running]:
    """Run a server over `database`, its own folder being `home`, its model the scripted one."""
    environ = {
        "HOME": str(home),
        "FOLKMOOT_DATA": str(home / "data"),
        "OPENAI_API_KEY": "scripted",
        "OPENAI_BASE_URL": f"{model_url}/v1",
    }
    command = [sys.executable, "-m", "folkmoot", "serve", "--port", "0", "--database", database]
    with _started(command, home, environ, home / "server.log", "/v1/health") as running:
        yield running


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL of the benchmark's own, its commits synced to the disk, and give a fresh database's address."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.postgres import PostgresServer

    with PostgresServer(durable=True) as server:
        yield server.create_database()


@contextmanager
def _started(
    command: Sequence[str], folder: Path, environ: Mapping[str, str], log_path: Path, health: str | None
) -> Iterator[Running]:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    begun = time.perf_counter()
    with (
        log_path.open("ab") as log,
        subprocess.Popen(
            command, cwd=folder, env={**kept, **environ}, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            url = _address(process, log_path)
            if health is not None:
                _wait_until_healthy(url, health, begun + LONGEST_START)
            yield Running(url, process.pid, time.perf_counter() - begun)
        finally:
            process.terminate()
            process.wait(STOP_WAIT)


def _address(process: subprocess.Popen[str], log_path: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"address\s+(http://\S+)", line):
            return found[1]
    raise NotStarted(log_path.read_text(errors="replace") or "The process ended and said nothing.")


def _wait_until_healthy(url: str, path: str, deadline: float) -> None:
    parts = urlsplit(url)
    while time.perf_counter() < deadline:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    raise NotStarted(f"{url} did not get healthy.")
