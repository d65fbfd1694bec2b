"""The sandbox's processes, seen from the server: one that forks guards, and a guard for each call."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import subprocess
from collections import OrderedDict
from itertools import count
from pathlib import Path
from typing import Any

import folkmoot
from folkmoot.errors import SandboxUnavailable
from folkmoot.sandbox.answering import answer_all
from folkmoot.sandbox.asked import Asked
from folkmoot.sandbox.calls import Answer
from folkmoot.sandbox.relay import Relay

logger = logging.getLogger(__name__)

IDLE_SECONDS = 300.0
"""How long a forker is kept without a call."""

MOST_SPARES = 8
"""Guards that wait behind their walls, each for a next call with the same packages, limits and ports."""

_serials = count(1)
_BOOT = """
import sys
sys.path.insert(0, sys.argv[1])
from folkmoot.sandbox.forker import main
del sys.path[0]
main(int(sys.argv[2]))
"""


def next_serial() -> int:
    """Return what tells the user of a next program apart from those of all others of this moment."""
    return (os.getpid() % 4096) * 4096 + next(_serials) % 4096


class Forker:
    """An interpreter's process that forks guards."""

    def __init__(self, interpreter: Path) -> None:
        """Start it.

        Raises:
            SandboxUnavailable: the interpreter cannot be started.
        """
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        root = str(Path(folkmoot.__file__).parent.parent)
        command = [str(interpreter), "-I", "-S", "-c", _BOOT, root, str(theirs.fileno())]
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                    command,
                    # Or each thread of a call that allocates reserves 64 MB of the addresses that the call may have.
                    env={"LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "1"},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    umask=0o022,  # folders of a call's root, which another user enters
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C is the server's affair
                )
        except OSError as error:
            self._socket.close()
            raise SandboxUnavailable(f"the interpreter {interpreter} cannot be started: {error.strerror}") from error
        self._idle: asyncio.TimerHandle | None = None
        self._asked = 0
        self._spares: OrderedDict[str, Guard] = OrderedDict()

    @property
    def ended(self) -> bool:
        """Whether it is to be started anew."""
        return self._socket.fileno() < 0 or self._process.poll() is not None

    async def ask(
        self, asked: Asked, sent: bytes, relay: Relay | None, answer: Answer | None
    ) -> tuple[dict[str, Any], list[bytes]]:
        """Have a guard run what is sent, within the limits and walls asked for; return its report and what it read.

        Args:
            asked: limits and walls.
            sent: the code.
            relay: answers the call's network as long as it runs.
            answer: answers what the code asks meanwhile.

        Raises:
            SandboxUnavailable: there is no report; the forker or the guard has ended.
        """
        self._asked += 1
        if self._idle is not None:
            self._idle.cancel()
        guard = self._take_spare(asked)
        try:
            if guard is None:
                guard = await self._guard(asked)
            if relay is not None:
                guard.serve(relay)
            if answer is not None:
                guard.answer(answer)
            guard.send(sent)
            report = await guard.report()
        except (OSError, asyncio.IncompleteReadError) as error:
            raise SandboxUnavailable(f"the sandbox ended before the call did ({error}); try again") from error
        finally:
            if guard is not None:
                await guard.end()  # and the call with it, should it still run
            self._asked -= 1
            if self._asked == 0:
                self.rest()
        if "missing" not in report[0] and not asked["readable"]:  # those are hardly asked for again
            await self._keep_spare(asked)
        return report

    def rest(self) -> None:
        """Wait for the next call, but not for ever."""
        self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_idle)

    async def _keep_spare(self, asked: Asked) -> None:
        """Have a guard wait behind its walls for a next call of the same kind; of those kinds, the latest."""
        kind = json.dumps(asked)
        if kind in self._spares:
            return
        try:
            guard = await self._guard(asked)
        except OSError:
            return  # it is being closed; were it dead, the next call would start another
        if kind in self._spares or self._socket.fileno() < 0:
            guard.close()
            return
        self._spares[kind] = guard
        if len(self._spares) > MOST_SPARES:
            self._spares.popitem(last=False)[1].close()

    def _take_spare(self, asked: Asked) -> Guard | None:
        """Return the guard that waits behind walls already, if those are the ones asked for."""
        guard = self._spares.pop(json.dumps(asked), None)
        if guard is not None and guard.ended:
            guard.close()
            return None
        return guard

    async def _guard(self, asked: Asked) -> Guard:
        """Have a guard forked, which begins to raise its walls."""
        ours, theirs = socket.socketpair()
        way, their_way = socket.socketpair()
        asking, their_asking = socket.socketpair()
        with theirs, their_way, their_asking:
            wanted = [theirs, *([their_way] if asked["network"] is not None else []), *([their_asking] * asked["asks"])]
            try:
                socket.send_fds(self._socket, [b"c"], [each.fileno() for each in wanted])
            except OSError:
                for each in (ours, way, asking):
                    each.close()
                raise
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours)
        except BaseException:  # whoever wanted it has given up
            way.close()
            asking.close()
            raise
        guard = Guard(reader, writer, way, asking)
        guard.send(json.dumps({**asked, "serial": next_serial()}).encode())
        return guard

    def _end_idle(self) -> None:
        self.let_go()
        asyncio.get_running_loop().run_in_executor(None, self.wait)

    def let_go(self) -> None:
        """Let it end, as it does by itself when nobody can ask it any more."""
        if self._idle is not None:
            self._idle.cancel()
        for guard in self._spares.values():
            guard.close()
        self._spares.clear()
        self._socket.close()

    def wait(self) -> None:
        """Wait until it has ended, and its guards and their programs with it."""
        self._process.terminate()
        self._process.wait()


class Guard:
    """The guard of one call, at the other end of a socket."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: socket.socket, asking: socket.socket
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._way = way
        self._asking = asking
        self._serving: list[asyncio.Task[None]] = []

    @property
    def ended(self) -> bool:
        """Whether it has gone away, or said something before it was asked."""
        return self._reader.at_eof() or self._writer.is_closing()

    def send(self, message: bytes) -> None:
        """Send a message behind its length."""
        self._writer.write(struct.pack("!I", len(message)) + message)

    async def report(self) -> tuple[dict[str, Any], list[bytes]]:
        """Return its report and what it read."""
        (length,) = struct.unpack("!I", await self._reader.readexactly(4))
        report: dict[str, Any] = json.loads(await self._reader.readexactly(length))
        return report, [await self._reader.readexactly(length) for length in report["lengths"]]

    def serve(self, relay: Relay) -> None:
        """Have the network of its call answered until its end."""
        self._serving.append(asyncio.create_task(relay.serve(self._way)))

    def answer(self, answer: Answer) -> None:
        """Have what the code of its call asks answered until its end."""
        self._serving.append(asyncio.create_task(answer_all(self._asking, answer)))

    async def end(self) -> None:
        """Let go of it; it ends its call, and all connections of that are closed."""
        for task in self._serving:
            task.cancel()
        for problem in await asyncio.gather(*self._serving, return_exceptions=True):
            if isinstance(problem, Exception):
                logger.error("The network or the questions of a call could not be answered.", exc_info=problem)
        self.close()

    def close(self) -> None:
        """Let go of it; it ends its call."""
        self._writer.close()
        self._way.close()
        self._asking.close()
