"""Server processes forked from one that has imported everything, which saves each of them seconds of processor time.

A fork is a process of its own, like one that was started by the command: a session, an environment, a folder and a
log of its own, signals and an exit status. What it does not do is import, and take the interpreter apart at its end:
`tests/cli` starts servers by the command.

The process that is forked (`support.preloaded`) takes seconds to come up, so that the workers of a run share one.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent
SHARED = "FOLKMOOT_TESTS_PRELOADED"
"""The variable that tells workers where their run's preloaded process listens."""

PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "COVERAGE_PROCESS_CONFIG")
"""Variables that every process of the tests' own inherits; a server's others are its test's alone."""


class ForkFailed(Exception):
    """The preloaded process is gone; the message carries what it said."""


class Fork:
    """A forked process, with the face of `subprocess.Popen`."""

    def __init__(self, preloaded: Preloaded, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._preloaded = preloaded
        self._exit = os.pidfd_open(pid)
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal; None while the process runs."""
        with self._lock:
            if self.returncode is None and _readable(self._exit, 0):
                self.returncode = self._preloaded.reap(self.pid)
                os.close(self._exit)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when the process has ended.

        Args:
            timeout: seconds to wait at most; None for as long as it takes.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            _readable(self._exit, timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended."""
        # Not reaped before `poll` has seen its end, so the number is nobody else's.
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class PreloadedProcess:
    """The process that is forked, from the side of who starts it; it comes up while others connect to it already."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="folkmoot-preloaded-"))
        self.address = self._folder / "socket"
        self._lifeline, lifeline = socket.socketpair()
        with (
            lifeline,
            socket.socket(socket.AF_UNIX) as listener,
            _said_at(self.address).open("wb") as said,
        ):
            listener.bind(str(self.address))
            listener.listen()
            passed = (listener.fileno(), lifeline.fileno())
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.preloaded", *map(str, passed)],
                cwd=TESTS,
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=passed,
            )

    def close(self) -> None:
        """End the process, and its forks with it."""
        self._lifeline.close()
        self._process.terminate()  # heard by one that is still coming up
        self._process.wait()
        shutil.rmtree(self._folder)


class Preloaded:
    """A way to the process that is forked; what is forked through it ends with it."""

    def __init__(self, address: Path) -> None:
        self.address = address
        self._lock = threading.Lock()
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(address))
            self._channel = channel.makefile("rwb")

    def fork(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environ: Mapping[str, str],
        output: Path,
        errors: Path,
        script: Path | None = None,
    ) -> Fork:
        """Run `folkmoot ARGUMENTS`, or a script with them, in a process of its own.

        Args:
            arguments: the command line after the program's name.
            folder: where the process runs.
            environ: its variables, all of them.
            output: the file to which what it prints is appended.
            errors: the same for what it prints on its standard error; it may be the same file.
            script: a file in Python that is run in the place of `folkmoot`.

        Raises:
            ForkFailed: the preloaded process is gone.
        """
        places = {"folder": str(folder), "output": str(output), "errors": str(errors)}
        program = {"script": None if script is None else str(script), "arguments": list(arguments)}
        return Fork(self, self._ask({"fork": {**program, "environ": dict(environ), **places}}))

    def reap(self, pid: int) -> int:
        """Return the exit status of a process that has ended."""
        return self._ask({"reap": pid})

    def close(self) -> None:
        """Hang up; what was forked and still runs is killed."""
        self._channel.close()

    def _ask(self, question: dict[str, Any]) -> int:
        with self._lock:
            try:
                self._channel.write(json.dumps(question).encode() + b"\n")
                self._channel.flush()
                answer = self._channel.readline()
            except OSError:
                answer = b""
            if not answer:
                raise ForkFailed(_said_at(self.address).read_text(errors="replace"))
        return int(answer)


@cache
def preloaded() -> Preloaded:
    """Return this process's way to the run's preloaded process, which is started here where the run has none."""
    address = os.environ.get(SHARED)
    if address is None:
        process = PreloadedProcess()
        atexit.register(process.close)
        address = str(process.address)
    made = Preloaded(Path(address))
    atexit.register(made.close)
    return made


def _said_at(address: Path) -> Path:
    """Return where the process that listens there writes what goes wrong."""
    return address.with_name("said")


def _readable(descriptor: int, timeout: float | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))
