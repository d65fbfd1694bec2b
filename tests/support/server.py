"""A real Folkmoot process: `python -m folkmoot serve`, with an environment of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import httpx

from support.ports import free_port

HEALTH_CHECKS = 600
PAUSE = 0.05
"""Seconds between two questions for the health; a process that ends is noticed at once."""

STOP_WAIT = 60.0
PORT_ATTEMPTS = 3
PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "COVERAGE_PROCESS_START")


class ServerFailed(Exception):
    """The server did not start; the message carries what it said."""


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
    ) -> None:
        self.port = free_port()
        self._database = database
        self._home = home
        self._args = args
        self._env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._env |= {"HOME": str(home), "FOLKMOOT_DATA": str(home / "data")}
        if model_url is not None:
            self._env |= {"OPENAI_API_KEY": "scripted", "OPENAI_BASE_URL": model_url}
        if anthropic_url is not None:
            self._env |= {"ANTHROPIC_API_KEY": "scripted", "ANTHROPIC_BASE_URL": anthropic_url}
        self._env |= env or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        for _ in range(PORT_ATTEMPTS - 1):
            try:
                self.start()
            except ServerFailed as error:
                if "address already in use" not in str(error).lower():
                    raise
                self.port = free_port()
            else:
                return self
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process, running or ended."""
        if self._process is None:
            raise ServerFailed("The server was never started.")
        return self._process

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self._home.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "folkmoot", "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--database", self._database, *self._args],
                cwd=self._home,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        with httpx.Client(base_url=self.url, trust_env=False) as client:
            self._wait_for_health(client, self._process)

    def stop(self) -> int:
        """Ask the server to end, by SIGTERM, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_WAIT)
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

    def _wait_for_health(self, client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
        for _ in range(HEALTH_CHECKS):
            try:
                status = process.wait(PAUSE)
            except subprocess.TimeoutExpired:
                if _healthy(client):
                    return
            else:
                raise ServerFailed(f"The server ended with status {status}:\n{self.log()}")
        self.kill()
        raise ServerFailed(f"The server did not answer:\n{self.log()}")


def _healthy(client: httpx.Client) -> bool:
    try:
        answer = client.get("/v1/health/")
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json().get("status") == "ok"
