"""A real Folkmoot process, forked or started by `python -m folkmoot serve`, with an environment of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

from support.forks import PASSED_ON, preloaded
from support.polling import PATIENCE
from support.ports import free_port

HEALTH_CHECKS = 30_000
PAUSE = 0.01
"""Seconds between two questions for the health; a process that ends is noticed at once."""

HEALTH_WAIT = 5.0

FORKS = sys.platform == "linux"
"""Whether servers may be forked; elsewhere the command starts them all."""


class ServerFailed(Exception):
    """The server did not start; the message carries what it said."""


class Process(Protocol):
    """What the tests do with a process, be it a `subprocess.Popen` or a fork."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when it has ended, or raise `subprocess.TimeoutExpired` after seconds."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal."""
        ...

    def kill(self) -> None:
        """Send SIGKILL."""
        ...


class ServerProcess:
    """A running server; `restart` brings it back at the same address.

    with ServerProcess(database=url, home=tmp_path, model_url=model.base_url) as server:
        httpx.get(server.url + "/v1/health/")

    Args:
        database: the store's address.
        home: an empty folder of its own: HOME, working folder and place of the log.
        model_url: what OPENAI_BASE_URL is set to; None leaves the server without a key.
        anthropic_url: what ANTHROPIC_BASE_URL is set to, likewise.
        env: more variables, which win over the others.
        args: more arguments of `serve`.
        by_command: whether the command starts it, in a fresh interpreter, and not a fork of a preloaded one.
        through: a program and its arguments that the command is started by, and that it takes the place of.
    """

    def __init__(
        self,
        *,
        database: str,
        home: Path,
        model_url: str | None = None,
        anthropic_url: str | None = None,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        by_command: bool = not FORKS,
        through: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.database = database
        self._home = home
        self._args = args
        self._by_command = by_command or bool(through)
        self._through = through
        self._env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._env |= {"HOME": str(home), "FOLKMOOT_DATA": str(home / "data")}
        if model_url is not None:
            self._env |= {"OPENAI_API_KEY": "scripted", "OPENAI_BASE_URL": model_url}
        if anthropic_url is not None:
            self._env |= {"ANTHROPIC_API_KEY": "scripted", "ANTHROPIC_BASE_URL": anthropic_url}
        self._env |= env or {}
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> Process:
        """The process, running or ended."""
        if self._process is None:
            raise ServerFailed("The server was never started.")
        return self._process

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self._home.mkdir(parents=True, exist_ok=True)
        arguments = ["serve", "--host", "127.0.0.1", "--port", str(self.port), "--database", self.database, *self._args]
        self._process = self._run(arguments) if self._by_command else self._fork(arguments)
        self._wait_for_health(self._process)

    def stop(self) -> int:
        """Ask the server to end, by SIGTERM, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"The server did not end on SIGTERM:\n{self.log()}") from None

    def kill(self) -> None:
        """End the server by SIGKILL: it gets no chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Stop the server if it runs, and start it again at the same address over the same store."""
        self.stop()
        self.start()

    def log(self) -> str:
        """Return everything the process has written, from its first start on."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    @property
    def _log_path(self) -> Path:
        return self._home / "server.log"

    def _fork(self, arguments: Sequence[str]) -> Process:
        log = self._log_path
        return preloaded().fork(arguments, folder=self._home, environ=self._env, output=log, errors=log)

    def _run(self, arguments: Sequence[str]) -> Process:
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                [*self._through, sys.executable, "-m", "folkmoot", *arguments],
                cwd=self._home,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait_for_health(self, process: Process) -> None:
        for _ in range(HEALTH_CHECKS):
            try:
                status = process.wait(PAUSE)
            except subprocess.TimeoutExpired:
                if self._healthy():
                    return
            else:
                raise ServerFailed(f"The server ended with status {status}:\n{self.log()}")
        self.kill()
        raise ServerFailed(f"The server did not answer:\n{self.log()}")

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HEALTH_WAIT)
        try:
            connection.request("GET", "/v1/health/")
            answer = connection.getresponse()
            return answer.status == 200 and json.load(answer).get("status") == "ok"
        except OSError:
            return False
        finally:
            connection.close()
