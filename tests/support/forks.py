"""Server processes forked from one that has imported everything, which saves each of them seconds of processor time.

A fork is a process of its own, like one that was started by the command: a session, an environment, a folder and a
log of its own, signals and an exit status. What it does not do is import, and take the interpreter apart at its end:
`tests/cli` starts servers by the command.

Run as `python -m support.forks FD`, this module is the process that is forked; it has one thread and no event loop.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NoReturn

from support.rehearsal import rehearse

TESTS = Path(__file__).parent.parent
PRELOADED = (
    "folkmoot.cli",
    "folkmoot.serving",
    "folkmoot.store.postgres",
    "logging.config",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.websockets.auto",
)
"""What the rehearsal does not import."""

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


class Preloaded:
    """The process that is forked, from the side of the tests; it ends with them, and its forks with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said = TemporaryFile()  # noqa: SIM115 - closed by `close`
        here, there = socket.socketpair()
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.forks", str(there.fileno())],
                cwd=TESTS,
                env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=(there.fileno(),),
            )
        self._channel = here.makefile("rwb")
        here.close()

    def fork(
        self, arguments: Sequence[str], *, folder: Path, environ: Mapping[str, str], output: Path, errors: Path
    ) -> Fork:
        """Run `folkmoot ARGUMENTS` in a process of its own.

        Args:
            arguments: the command line after the program's name.
            folder: where the process runs.
            environ: its variables, all of them.
            output: the file to which what it prints is appended.
            errors: the same for what it prints on its standard error; it may be the same file.

        Raises:
            ForkFailed: the preloaded process is gone.
        """
        places = {"folder": str(folder), "output": str(output), "errors": str(errors)}
        return Fork(self, self._ask({"fork": {"arguments": list(arguments), "environ": dict(environ), **places}}))

    def reap(self, pid: int) -> int:
        """Return the exit status of a process that has ended."""
        return self._ask({"reap": pid})

    def close(self) -> None:
        """End the process."""
        self._channel.close()
        self._process.wait()
        self._said.close()

    def _ask(self, question: dict[str, Any]) -> int:
        with self._lock:
            try:
                self._channel.write(json.dumps(question).encode() + b"\n")
                self._channel.flush()
                answer = self._channel.readline()
            except OSError:
                answer = b""
            if not answer:
                self._said.seek(0)
                raise ForkFailed(self._said.read().decode(errors="replace"))
        return int(answer)


@cache
def preloaded() -> Preloaded:
    """Return this process's one, made when it is first needed."""
    made = Preloaded()
    atexit.register(made.close)
    return made


def _readable(descriptor: int, timeout: float | None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))


# -- the preloaded process itself ----------------------------------------------------------------------------


def main(descriptor: int) -> None:
    """Import everything, then fork and reap as told until the tests hang up."""
    for module in PRELOADED:
        __import__(module)
    rehearse()
    gc.collect()
    gc.freeze()  # so that a fork's collector does not write to the pages that it shares
    assert threading.active_count() == 1, "a process with threads is not safe to fork"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    living: set[int] = set()
    channel = socket.socket(fileno=descriptor)
    questions = channel.makefile("rb")
    for line in questions:
        question = json.loads(line)
        if "reap" in question:
            pid = question["reap"]
            answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            living.discard(pid)
        else:
            answer = os.fork()
            if not answer:
                questions.close()
                channel.close()
                _become(question["fork"])
            living.add(answer)
        channel.sendall(b"%d\n" % answer)
    for pid in living:
        os.kill(pid, signal.SIGKILL)


def _become(order: Mapping[str, Any]) -> NoReturn:
    """Be what `python -m folkmoot` would be in this folder, with this environment."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, descriptor in (("output", 1), ("errors", 2)):
        file = os.open(order[name], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(order["environ"])
    os.chdir(order["folder"])
    sys.path[0] = order["folder"]
    sys.argv[1:] = order["arguments"]
    try:
        runpy.run_module("folkmoot", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _end(end.code)
    except BaseException:
        traceback.print_exc()
        _end(1)
    _end(0)


def _end(code: str | int | None) -> NoReturn:
    """End as an interpreter does, but for freeing all that it holds, which takes longer than most servers live."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for the threads that are not daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main(int(sys.argv[1]))
