"""Starts a program and stays beside it: when the server or the program ends, so does everything that came of it.

Run as a script, without Folkmoot: `guard.py <the server's process> <command> [arguments]`. The program gets standard
input and output, the environment as it is, and an empty folder as its home, which goes when it ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

OPEN_FILES = 4096
LARGEST_FILE = 1 << 30

_PARENT_DEATH_SIGNAL, _CHILD_SUBREAPER = 1, 36
_NOT_FOUND = 127


def main(server: int, command: list[str]) -> int:
    """Run the program to its end, or until `server` ends or asks for it; return the program's exit status."""
    waking, wakes = os.pipe()
    for descriptor in (waking, wakes):
        os.set_blocking(descriptor, False)
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: ended.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    _stay_with(server)
    home = tempfile.mkdtemp(prefix="folkmoot-mcp-")
    try:
        program = os.fork()
        if program == 0:
            _become(command, home)
        _let_go_of_streams()
        status = None
        while status is None and not ended and os.getppid() == server:
            select.select([waking], [], [], 1.0)
            with contextlib.suppress(BlockingIOError):
                os.read(waking, 1024)
            status = _reap(program)
        _end_all(program)
        return 0 if status is None else status
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _stay_with(server: int) -> None:
    """Let the kernel tell this process when the server ends, and give it the program's orphans."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
        libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != server:
        sys.exit(0)


def _become(command: list[str], home: str) -> NoReturn:
    """Be the program."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for kind, most in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, OPEN_FILES),
            (resource.RLIMIT_FSIZE, LARGEST_FILE),
        ):
            hard = resource.getrlimit(kind)[1]
            value = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (value, value))
        with contextlib.suppress(OSError):  # not on every system; whoever needs memory takes it from here first
            Path("/proc/self/oom_score_adj").write_text("500")
        os.nice(5)
        os.chdir(home)
        os.environ["HOME"] = os.environ["TMPDIR"] = home
        os.execvp(command[0], command)  # noqa: S606 - what this is for
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.stderr.flush()
    finally:
        os._exit(_NOT_FOUND)


def _let_go_of_streams() -> None:
    """Leave input and output to the program alone, so that each side hears when the other one ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _reap(program: int) -> int | None:
    """Take note of processes that have ended; return the program's exit status if it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return found
            if process == program:
                found = os.waitstatus_to_exitcode(status) & 0xFF
    return found


def _end_all(program: int) -> None:
    """Kill the program's processes, generation after generation: orphans of one become this process's children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program, signal.SIGKILL)
    for _ in range(1000):
        for process in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    own = str(os.getpid())
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            if entry.read_text(errors="replace").rpartition(")")[2].split()[1] == own:
                found.append(int(entry.parent.name))
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
