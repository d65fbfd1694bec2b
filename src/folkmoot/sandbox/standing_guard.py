"""Starts a program that stands and stays beside it: when the server or the program ends, so does all that came of it.

Run in an interpreter of its own. The program gets standard input and output as they are, the environment that it is
given, and an empty folder as its home, which goes when it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from folkmoot.sandbox import linux, walls
from folkmoot.sandbox.guard import memory_of

_CHILD_SUBREAPER = 36
_NOT_FOUND = 127
_LOOK = 1.0
"""Seconds between two looks at the server, and at the program's memory."""


def main(text: str) -> int:
    """Run a program to its end, or until the server ends or asks for it; return the program's exit status.

    Args:
        text: JSON of `server` (its process), `argv`, `variables` (descriptor of a file with the program's environment,
            as JSON), `limits`, `walls` (`asked.Numbered`, or None for no walls), and `way` (descriptor over which the
            sockets of its network go, or None).
    """
    asked = json.loads(text)
    with os.fdopen(asked["variables"]) as told:
        variables = json.load(told)
    os.umask(0o022)  # folders of the program's root, which another user enters
    waking, wakes = os.pipe()
    for descriptor in (waking, wakes):
        os.set_blocking(descriptor, False)
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: ended.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    if asked["walls"] is not None:
        try:
            walls.leave_namespaces()
        except walls.WallMissing as error:
            sys.exit(f"a wall of the sandbox is missing: {error}")
    _stay_with(asked["server"])
    home = tempfile.mkdtemp(prefix="folkmoot-program-") if asked["walls"] is None else f"{walls.FOLDER}/home"
    try:
        program = _start(asked, {**variables, "HOME": home, "TMPDIR": home})
        status = None
        while status is None and not ended and os.getppid() == asked["server"]:
            select.select([waking], [], [], _LOOK)
            with contextlib.suppress(BlockingIOError):
                os.read(waking, 1024)
            status = _reap(program)
            if sys.platform == "linux" and memory_of(program) > asked["limits"]["memory"]:
                break
        _end_all(program)
        return 0 if status is None else status
    finally:
        if asked["walls"] is None:
            shutil.rmtree(home, ignore_errors=True)


def _stay_with(server: int) -> None:
    """Let the kernel tell this process when the server ends, and give it the program's orphans."""
    if sys.platform == "linux":
        linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGTERM)
        linux.prctl(_CHILD_SUBREAPER, 1)
    if os.getppid() != server:
        sys.exit(0)


def _start(asked: dict[str, Any], variables: dict[str, str]) -> int:
    """Start the program and leave input and output to it alone, so that each side hears when the other one ends."""
    told, telling = os.pipe()
    program = os.fork()
    if program == 0:
        _become(asked, variables, telling)
    os.close(telling)
    if asked["way"] is not None:
        os.close(asked["way"])
    with os.fdopen(told, "rb") as pipe:  # closed by the kernel when the program has taken over
        if problem := pipe.read():
            sys.stderr.write(f"{problem.decode(errors='replace')}\n")
            sys.stderr.flush()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    return program


def _become(asked: dict[str, Any], variables: dict[str, str], telling: int) -> NoReturn:
    """Be the program, behind its walls; what keeps it from that is written to `telling`."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        if asked["walls"] is not None:
            walls.raise_all(asked["walls"], asked["way"])
            Path(variables["HOME"]).mkdir()
        else:
            _limit(asked["limits"])
        os.chdir(variables["HOME"])
        os.execve(asked["argv"][0], asked["argv"], variables)  # noqa: S606 - what this is for
    except walls.WallMissing as error:
        os.write(telling, f"a wall of the sandbox is missing: {error}".encode()[:4096])
    except OSError as error:
        os.write(telling, f"{asked['argv'][0]}: {error.strerror}".encode()[:4096])
    finally:
        os._exit(_NOT_FOUND)


def _limit(limits: dict[str, Any]) -> None:
    """Set what can be limited without walls: the kernel would count all of the server's processes, and its memory."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_FSIZE, limits["file_size"]),
    ):
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))
    with contextlib.suppress(OSError):  # not on every system; whoever needs memory takes it from here first
        Path("/proc/self/oom_score_adj").write_text("500")
    os.nice(5)


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
    """Kill the program's processes, generation after generation: orphans of one become this process's children.

    Behind walls the first of them takes all others with it.
    """
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
