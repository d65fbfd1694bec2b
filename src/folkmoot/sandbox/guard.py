"""The guard of one call: outside the walls, it starts the program, reads what it says, and ends it.

What it reads may have been made to harm: it keeps a bounded number of bytes and looks into none of them.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import socket
import struct
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from folkmoot.sandbox import linux, program, walls

_LOOK = 0.05
"""Seconds between two looks at the memory."""

_PAGE = resource.getpagesize()


def receive(control: socket.socket) -> dict[str, Any]:
    """Return the call, which the server sends behind its length."""
    (length,) = struct.unpack("!I", _exactly(control, 4))
    call: dict[str, Any] = json.loads(_exactly(control, length))
    return call


def _exactly(control: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = control.recv(min(length - len(data), 1 << 20))
        if not piece:
            os._exit(0)  # the server has gone away, or thought better of it
        data += piece
    return bytes(data)


def guard(control: socket.socket) -> None:
    """Run the call that comes from `control`, and report there what it came to."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    call = receive(control)
    folder = None if call["walls"] else tempfile.mkdtemp(prefix="folkmoot-call-")
    try:
        if call["walls"]:
            walls.leave_namespaces()
            linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGKILL)
        watch = _Watch(call, control, folder)
        report, pieces = watch.until_end()
    except (walls.WallMissing, OSError) as error:
        report, pieces = {"missing": str(error)}, []
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    report["lengths"] = [len(piece) for piece in pieces]
    head = json.dumps(report).encode()
    control.setblocking(True)
    control.sendall(struct.pack("!I", len(head)) + head + b"".join(pieces))


class _Watch:
    """The program, seen from outside."""

    def __init__(self, call: Mapping[str, Any], control: socket.socket, folder: str | None) -> None:
        self._limits = call["limits"]
        self._walls = folder is None
        self._control = control
        self._until = time.monotonic() + self._limits["seconds"]
        pipes = [os.pipe() for _ in range(4)]
        self._process = os.fork()
        if self._process == 0:
            _become(call, [writing for _, writing in pipes], folder)
        for _, writing in pipes:
            os.close(writing)
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
            self._kill()
            raise OSError(problem)

    def until_end(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return how the program ended, and its output, errors and value."""
        exceeded = None
        ended = os.pidfd_open(self._process)
        poll = select.poll()
        for descriptor in (ended, self._control.fileno(), *self._kept):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(_LOOK * 1000)}
            for descriptor in ready & self._kept.keys():
                if not self._read(descriptor):
                    poll.unregister(descriptor)
            if ended in ready:
                break
            if self._control.fileno() in ready:  # the server says nothing more: it has gone away
                self._kill()
                os._exit(0)
            exceeded = self._exceeded()
            if exceeded is not None:
                break
        status, usage = self._kill()
        for descriptor in self._kept:
            while self._read(descriptor):
                pass
        exceeded = exceeded or self._exceeded_at_end(status, usage)
        ending = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        report = {"exceeded": exceeded, "ending": ending}
        return report, [bytes(kept[: self._most[place]]) for place, kept in self._kept.items()]

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
        if full is None and self._walls and _memory(self._process) > self._limits["memory"]:
            return "memory"
        return full

    def _full(self) -> str | None:
        for descriptor, kept in self._kept.items():
            if len(kept) > self._most[descriptor]:
                return "value" if descriptor == self._value else "output"
        return None

    def _exceeded_at_end(self, status: int, usage: resource.struct_rusage) -> str | None:
        used = usage.ru_utime + usage.ru_stime
        if os.WIFSIGNALED(status) and used >= self._limits["cpu_seconds"] - 0.1:
            return "cpu"
        return self._full()

    def _kill(self) -> tuple[int, resource.struct_rusage]:
        """End the program, and with the first process of a namespace all others of it."""
        if self._walls:
            os.kill(self._process, signal.SIGKILL)
        else:
            os.killpg(self._process, signal.SIGKILL)
        _, status, usage = os.wait4(self._process, 0)
        return status, usage


def _become(call: Mapping[str, Any], pipes: list[int], folder: str | None) -> NoReturn:
    """Be the program: raise the walls, let go of everything but the pipes, run the code."""
    try:
        os.setsid()
        linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if folder is None:
            walls.raise_all(call["limits"], call["packages"], call["hidden"], call["serial"])
        nothing = os.open("/dev/null", os.O_RDONLY)
        for descriptor, place in zip((nothing, *pipes), _places(pipes), strict=True):
            os.dup2(descriptor, place, inheritable=place < 3)
        ready = _places(pipes)[-1]
        os.closerange(ready + 1, 1 << 16)
        for descriptor in range(3, ready - 1):
            os.close(descriptor)
        os.close(ready)
    except BaseException as error:
        os.write(pipes[-1], str(error).encode()[:4096] or b"unknown")
        os._exit(1)
    try:
        program.run(call, ready - 1, folder or walls.FOLDER)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(1)


def _places(pipes: list[int]) -> list[int]:
    """Return where standard input, the pipes and the one that says `ready` go: the last two above all others."""
    top = max(pipes) + 2
    return [0, 1, 2, top, top + 1]


def _memory(process: int) -> int:
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
