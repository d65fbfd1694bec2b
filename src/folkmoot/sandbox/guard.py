"""The guard of one call: outside the walls, it starts the program, reads what it says, and ends it.

What it reads may have been made to harm: it keeps a bounded number of bytes and looks into none of them.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from folkmoot.sandbox import linux, program, walls
from folkmoot.sandbox.asked import Numbered

_LOOK = 0.05
"""Seconds between two looks at the memory."""

_PAGE = resource.getpagesize()


class _Gone(Exception):
    """The server has gone away, or does not want the call any more."""


def _receive(control: socket.socket) -> bytes:
    """Return what the server sends behind its length."""
    (length,) = struct.unpack("!I", _exactly(control, 4))
    return _exactly(control, length)


def _exactly(control: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = control.recv(min(length - len(data), 1 << 20))
        if not piece:
            raise _Gone
        data += piece
    return bytes(data)


def guard(control: socket.socket, passed: Sequence[int]) -> None:
    """Raise the walls that `control` asks for, run the call that comes behind, and report what it came to.

    Args:
        control: a connection to the server.
        passed: descriptors of sockets to the server that the call asks for: over which the server gets the sockets of
            its network, then over which its code asks.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        asked: Numbered = json.loads(_receive(control))
    except _Gone:
        return
    if asked["walls"] == "namespaces":
        _answer(asked, control, None, passed)
        return
    from tempfile import TemporaryDirectory  # a third of the start, and not for those with files of their own

    with TemporaryDirectory(prefix="folkmoot-call-", ignore_cleanup_errors=True) as folder:
        _answer(asked, control, folder, passed)


def _answer(asked: Numbered, control: socket.socket, folder: str | None, passed: Sequence[int]) -> None:
    try:
        _serve(asked, control, folder, passed)
    except (walls.WallMissing, OSError) as error:
        with suppress(BrokenPipeError):  # it may be the server that is gone
            missing = str(error)
            _report(control, {"missing": missing, "namespaces": missing.startswith(walls.NAMESPACES)}, [])
    except _Gone:
        return  # and the program with this process


def _serve(asked: Numbered, control: socket.socket, folder: str | None, passed: Sequence[int]) -> None:
    if asked["walls"] == "namespaces":
        walls.leave_namespaces()
        linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGKILL)
    watch = _Watch(asked, control, folder, passed)
    try:
        watch.begin(_receive(control))
        _report(control, *watch.until_end())
    finally:
        watch.kill()


def _report(control: socket.socket, report: dict[str, Any], pieces: list[bytes]) -> None:
    report["lengths"] = [len(piece) for piece in pieces]
    head = json.dumps(report).encode()
    control.sendall(struct.pack("!I", len(head)) + head + b"".join(pieces))


class _Watch:
    """The program, seen from outside."""

    def __init__(self, asked: Numbered, control: socket.socket, folder: str | None, passed: Sequence[int]) -> None:
        """Start it; it waits behind its walls for the code.

        Raises:
            OSError: a wall is missing; the message names it.
        """
        self._limits = asked["limits"]
        self._walls = asked["walls"]
        self._control = control
        self._until = 0.0
        self._ending: tuple[int, resource.struct_rusage] | None = None
        given, self._giving = os.pipe()
        pipes = [os.pipe() for _ in range(4)]
        self._process = os.fork()
        if self._process == 0:
            _become(asked, [given, *(writing for _, writing in pipes)], folder, passed)
        for descriptor in (given, *(writing for _, writing in pipes), *passed):
            os.close(descriptor)
        self._stdout, self._stderr, self._value, ready = (reading for reading, _ in pipes)
        self._kept = {self._stdout: bytearray(), self._stderr: bytearray(), self._value: bytearray()}
        self._most = {
            self._stdout: self._limits["output"],
            self._stderr: self._limits["output"],
            self._value: self._limits["value"],
        }
        for reading in self._kept:
            os.set_blocking(reading, False)
        problem = os.read(ready, 4096).decode()
        os.close(ready)
        if problem:
            self.kill()
            raise OSError(problem)

    def begin(self, call: bytes) -> None:
        """Give it the code."""
        self._until = time.monotonic() + self._limits["seconds"]
        with os.fdopen(self._giving, "wb") as pipe:
            pipe.write(call)

    def until_end(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return how the program ended, and its output, errors and value."""
        exceeded = None
        ended = os.pidfd_open(self._process)
        poll = select.poll()
        open_ = set(self._kept)
        for descriptor in (ended, self._control.fileno(), *open_):
            poll.register(descriptor, select.POLLIN)
        while exceeded is None:
            ready = {descriptor for descriptor, _ in poll.poll(_LOOK * 1000)}
            for descriptor in ready & open_:
                if not self._read(descriptor):
                    poll.unregister(descriptor)
                    open_.remove(descriptor)
            exceeded = self._exceeded()
            if ended in ready:
                break
            if not open_ and self._kept[self._value] and exceeded is None:
                return self._told(None, 0)  # all is said; the rest of its end takes the kernel a while
            if self._control.fileno() in ready:
                raise _Gone
        status, usage = self.kill()
        for descriptor in open_:
            while self._read(descriptor):
                pass
        exceeded = exceeded or self._exceeded_at_end(status, usage)
        return self._told(exceeded, -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))

    def _told(self, exceeded: str | None, ending: int) -> tuple[dict[str, Any], list[bytes]]:
        pieces = [bytes(kept[: self._most[place]]) for place, kept in self._kept.items()]
        return {"exceeded": exceeded, "ending": ending}, pieces

    def _read(self, descriptor: int) -> bool:
        """Keep what there is to read; tell whether there may be more, now or later, that is wanted."""
        kept = self._kept[descriptor]
        try:
            piece = os.read(descriptor, 65536)
        except BlockingIOError:
            return False
        kept += piece
        return bool(piece) and len(kept) <= self._most[descriptor]

    def _exceeded(self) -> str | None:
        if time.monotonic() >= self._until:
            return "time"
        full = self._full()
        if full is None and self._walls == "namespaces" and memory_of(self._process) > self._limits["memory"]:
            return "memory"
        if full is None and self._walls == "alone" and _threads(self._process) > self._limits["processes"]:
            return "processes"  # the kernel would count all of this user's
        return full

    def _full(self) -> str | None:
        for descriptor, kept in self._kept.items():
            if len(kept) > self._most[descriptor]:
                return "value" if descriptor == self._value else "output"
        return None

    def _exceeded_at_end(self, status: int, usage: resource.struct_rusage) -> str | None:
        if os.WIFSIGNALED(status) and b"out of memory" in self._kept[self._stderr]:
            return "memory"  # as Node says of itself
        used = usage.ru_utime + usage.ru_stime
        # The kernel counts a limit's seconds by its ticks, and on a busy machine finds many more than were used.
        if os.WIFSIGNALED(status) and used >= self._limits["cpu_seconds"] / 2:
            return "cpu"
        return self._full()

    def kill(self) -> tuple[int, resource.struct_rusage]:
        """End the program, and with the first process of a namespace all others of it; return how it ended."""
        if self._ending is None:
            if self._walls:
                os.kill(self._process, signal.SIGKILL)
            else:
                with suppress(ProcessLookupError):  # it had no time yet to make a group
                    os.killpg(self._process, signal.SIGKILL)
                os.kill(self._process, signal.SIGKILL)
            _, status, usage = os.wait4(self._process, 0)
            self._ending = status, usage
        return self._ending


def _become(asked: Numbered, pipes: list[int], folder: str | None, passed: Sequence[int]) -> NoReturn:
    """Be the program: raise the walls, let go of everything but the pipes, wait for the code and run it.

    Args:
        asked: the limits, and what is shown and hidden.
        pipes: where the code comes from, and where output, errors, value, and what goes wrong here go.
        folder: the call's own folder where it has no files of its own.
        passed: sockets to the server, as `guard` got them.
    """
    left = list(passed)
    way = left.pop(0) if asked["network"] is not None else None
    try:
        os.setsid()
        linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if folder is None:
            walls.raise_all(asked, way)
        elif asked["walls"] == "alone":
            Path(folder, "home").mkdir()
            walls.raise_alone(asked, folder)
        top = max(*pipes, *left) + 1
        places = [0, 1, 2, top, top + 1, top + 2][: len(pipes) + len(left)]
        for descriptor, place in zip([*pipes, *left], places, strict=True):
            os.dup2(descriptor, place, inheritable=place < 3 or (place == top and asked["command"] is not None))
        os.closerange(top + 2 + len(left), 1 << 16)
        os.closerange(3, top)
        os.close(top + 1)
    except BaseException as error:
        os.write(pipes[-1], str(error).encode()[:4096] or b"unknown")
        os._exit(1)
    try:
        if asked["command"] is not None:
            _execute(asked["command"], asked["packages"], top, folder)
        with os.fdopen(os.dup(0), "rb") as pipe:
            call = json.loads(pipe.read())
        if folder is None:
            call["packages"] = list(walls.inside_of(call["packages"]).values())
        program.run(call, top, folder or walls.FOLDER, top + 2 if left else None)
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(1)


def _execute(command: Sequence[str], packages: Sequence[str], result: int, folder: str | None) -> NoReturn:
    """Become another program than this one, which waits for the code as this one would."""
    inside = packages if folder is not None else list(walls.inside_of(packages).values())
    place = folder or walls.FOLDER
    home = f"{place}/home"
    Path(home).mkdir(exist_ok=True)
    os.chdir(home)
    variables = {**program.variables(place), "NODE_NO_WARNINGS": "1"}
    os.execve(command[0], [*command, str(result), *inside[:1]], variables)  # noqa: S606 - named by the server


def memory_of(process: int) -> int:
    """Return the bytes of memory that a process and its descendants hold, by the kernel's count of their pages."""
    total, open_ = 0, [process]
    while open_:
        number = open_.pop()
        try:
            total += int(Path(f"/proc/{number}/statm").read_text().split()[1]) * _PAGE
            for children in Path(f"/proc/{number}/task").glob("*/children"):
                open_ += map(int, children.read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    return total


def _threads(process: int) -> int:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it has ended meanwhile
    return int(status.partition("\nThreads:")[2].split()[0])
