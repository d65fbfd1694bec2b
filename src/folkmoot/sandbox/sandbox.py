"""The server's side of the sandbox: how many calls run and wait, and what their guards report."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import struct
import subprocess
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import folkmoot
from folkmoot.errors import SandboxBusy, SandboxUnavailable
from folkmoot.sandbox.answering import answer_all
from folkmoot.sandbox.asked import Asked
from folkmoot.sandbox.calls import Answer, Call, Environment, Limits, Mode, Network, Result, Walls
from folkmoot.sandbox.environments import Environments
from folkmoot.sandbox.node import find_node, packages_needed
from folkmoot.sandbox.reach import read_hosts
from folkmoot.sandbox.relay import Relay, plan
from folkmoot.sandbox.results import read_result

logger = logging.getLogger(__name__)

IDLE_SECONDS = 300.0
"""How long a forker is kept without a call."""

MOST_SPARES = 8
"""Guards that wait behind their walls, each for a next call with the same packages, limits and ports."""

BEHIND_SECONDS = 0.5
MOST_WAITING = 256
LARGE_ANSWER = 256 * 1024
"""Bytes of an answer from which on it is read on a thread."""

_MOST_SENT = 10_000_000
_GRACE_SECONDS = 5.0
"""Beyond its own time, for a call's start and its report."""

_serials = count(1)
_TRIAL = Call("6 * 7", limits=Limits(seconds=20.0))
_BOOT = """
import sys
sys.path.insert(0, sys.argv[1])
from folkmoot.sandbox.forker import main
del sys.path[0]
main(int(sys.argv[2]))
"""
_REMEDY = (
    "Run the server on Linux 5.13 or later with Landlock, as root or where users may make namespaces (in Docker: "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined, and --cap-add SYS_ADMIN for root; on "
    "Ubuntu: kernel.apparmor_restrict_unprivileged_userns=0). "
    "FOLKMOOT_TOOL_SANDBOX=trusted runs code without walls, as the server itself"
)
_ENFORCED = {
    "namespaces": ("own files", "own processes", "no network but named hosts", "Landlock", "seccomp", "limits"),
    "alone": (
        "without namespaces, which the kernel refuses here",
        "no files to write",
        "one process",
        "no network",
        "Landlock",
        "seccomp",
        "limits",
    ),
}


def next_serial() -> int:
    """Return what tells the user of a next program apart from those of all others of this moment."""
    return (os.getpid() % 4096) * 4096 + next(_serials) % 4096


class _NoNamespaces(SandboxUnavailable):
    """The walls that need namespaces cannot be raised here."""


class Sandbox:
    """Runs calls; nothing is started before the first one."""

    def __init__(
        self,
        mode: Mode,
        hidden: Sequence[Path] = (),
        *,
        environments: Environments | None = None,
        limits: Limits | None = None,
        private_hosts: Sequence[str] = (),
        running: int | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            mode: whether there are walls.
            hidden: files and folders of the server, kept out of sight wherever they lie.
            environments: makes the packages that calls ask for; when None, there are none.
            limits: what a call may use where nobody says otherwise; it is kept for who makes calls.
            private_hosts: hosts that code may reach, where a call names them, though their addresses are not public.
            running: calls at once; twice the processors when None.

        Raises:
            InvalidInput: one of the hosts cannot be read.
        """
        self.mode = mode
        self.environments = environments
        self.limits = limits or Limits()
        self.hidden = [str(path.resolve()) for path in hidden]
        self.private_hosts = read_hosts(private_hosts, "tool_private_hosts")
        most = running or 2 * (os.cpu_count() or 1)
        self._running = asyncio.Semaphore(most)
        self._asking = asyncio.Semaphore(most)
        """Of calls that may ask: while one waits for its answer another may run, perhaps the one that it waits for."""

        self._waiting = 0
        self._forkers: dict[Path, _Forker] = {}
        self._starting = asyncio.Lock()
        self._trying = asyncio.Lock()
        self._expecting: asyncio.Task[None] | None = None
        self._walls: Walls | None = None
        self._kind: Literal["namespaces", "alone"] = "namespaces"
        self._closed = False

    @property
    def known(self) -> Walls | None:
        """What holds; None as long as it has not been tried."""
        return self._walls

    async def walls(self) -> Walls:
        """Return what holds; it is tried until it does."""
        if self._walls is not None and self._walls.missing is None:
            return self._walls
        async with self._trying:
            if self._walls is None or self._walls.missing is not None:  # what was missing may be there by now
                self._walls = await self._try()
            return self._walls

    async def walls_behind(self) -> Walls:
        """Return what holds, tried when the server's start is over and leaves the processors free."""
        await asyncio.sleep(BEHIND_SECONDS)
        return await self.walls()

    async def check_standing(self) -> bool:
        """See whether programs that stand may be started here; return whether behind walls.

        Raises:
            SandboxUnavailable: none may; the message says why and what to do.
        """
        if self.mode == "off":
            raise SandboxUnavailable("this server runs no code of others (FOLKMOOT_TOOL_SANDBOX=off)")
        walls = await self.walls()
        if walls.missing is not None:
            raise SandboxUnavailable(walls.missing)
        if self.mode == "strict" and self._kind == "alone":
            raise SandboxUnavailable(f"programs are not started where the kernel refuses namespaces. {_REMEDY}")
        return self.mode == "strict"

    async def _try(self) -> Walls:
        if self.mode == "off":
            return Walls(self.mode, ("no code is run",))
        if self.mode == "strict" and sys.platform != "linux":
            return Walls(self.mode, missing=f"there are no walls for {sys.platform} yet. {_REMEDY}")
        self._kind = "namespaces"
        try:
            try:
                result = await self._run(_TRIAL)
            except _NoNamespaces:
                self._kind = "alone"
                result = await self._run(_TRIAL)
        except SandboxUnavailable as error:
            return Walls(self.mode, missing=error.message)
        finally:
            await self._end_forkers()  # nothing of it shall stay before the first call
        if result.value != 42:
            return Walls(self.mode, missing=f"code did not run: {result.error} {result.stderr}".strip())
        if self.mode == "trusted":
            return Walls(self.mode, ("CODE RUNS WITHOUT WALLS, with every right of this server",))
        return Walls(self.mode, _ENFORCED[self._kind])

    def expect(self) -> None:
        """Have what runs Python started behind, where it is not there yet: a call may come soon.

        That takes longer than all else of a first call. What goes wrong is told by the call.
        """
        ready = self.mode != "off" and self._walls is not None and self._walls.missing is None and not self._closed
        if ready and self._expecting is None:
            self._expecting = asyncio.create_task(self._expect())

    async def _expect(self) -> None:
        try:
            await self._forker(Environment().interpreter)
        except SandboxUnavailable as error:
            logger.debug("No call can be prepared for: %s", error.message)
        finally:
            self._expecting = None

    async def run(self, call: Call) -> Result:
        """Run a call when its turn has come; a call that is cancelled is ended.

        Raises:
            SandboxUnavailable: it cannot be run here; the message says why and what to do.
            SandboxBusy: too many calls wait.
            InvalidInput: a host of its network cannot be read.
        """
        if self.mode == "off":
            raise SandboxUnavailable("this server runs no code (FOLKMOOT_TOOL_SANDBOX=off)")
        walls = await self.walls()
        if walls.missing is not None:
            raise SandboxUnavailable(walls.missing)
        if self.mode == "strict" and self._kind == "alone":
            call = _for_one_process(call)
        kind, requirements = await asyncio.to_thread(packages_needed, call.language, call.environment.requirements)
        if not requirements:
            async with self._place(call) as placed:
                return await self._run(placed)
        if self.environments is None:
            raise SandboxUnavailable("packages cannot be installed here; leave the requirements out")
        installed = self.environments.use(kind, requirements, call.limits.seconds / 2)
        async with installed as packages, self._place(call) as placed:
            return await self._run(placed, packages)

    @asynccontextmanager
    async def _place(self, call: Call) -> AsyncIterator[Call]:
        """Wait until a call may run; give the call to run, which leaves its place to others while it is answered."""
        if self._waiting >= MOST_WAITING:
            raise SandboxBusy(f"{MOST_WAITING} calls wait to be run already; try again in a moment")
        async with AsyncExitStack() as held:
            place = _Place(self._running)
            self._waiting += 1
            try:
                if call.answer is not None:
                    await held.enter_async_context(self._asking)
                await place.take()
            finally:
                self._waiting -= 1
            held.callback(place.leave)
            yield call if call.answer is None else replace(call, answer=place.left_for(call.answer))

    async def _run(self, call: Call, installed: Path | None = None) -> Result:
        network = plan(call.network) if self.mode == "strict" else None  # without walls there is the server's
        packages = [path for path in (installed, call.environment.packages) if path is not None]
        asked: Asked = {
            "limits": asdict(call.limits),
            "packages": [str(path) for path in packages],
            "walls": self._kind if self.mode == "strict" else None,
            "made": [path.stat().st_ctime_ns for path in packages],
            "hidden": self.hidden,
            "readable": [str(path.resolve()) for path in call.readable],
            "command": await self._command(call),
            "processes": False,
            "asks": call.answer is not None,
            "network": {"ports": list(network.ports), "addresses": list(network.addresses)}
            if network is not None
            else None,
        }
        code = {
            "source": call.source,
            "language": call.language,
            "entry": call.entry,
            "arguments": dict(call.arguments),
            "adapter": call.adapter,
            "variables": dict(call.variables),
            "packages": asked["packages"],
        }
        sent = json.dumps(code).encode()
        if len(sent) > _MOST_SENT:
            raise SandboxUnavailable(f"source and arguments have {len(sent):,} bytes; a call takes {_MOST_SENT:,}")
        forker = await self._forker(call.environment.interpreter)
        relay = Relay(network, call.limits, self.private_hosts) if network is not None else None
        try:
            async with asyncio.timeout(call.limits.seconds + _GRACE_SECONDS):
                report, pieces = await forker.ask(asked, sent, relay, call.answer)
        except TimeoutError:
            return Result("ended", error="the call's guard did not answer in time", exceeded="time")
        _check_walls(report)
        if sum(map(len, pieces)) > LARGE_ANSWER:
            result = await asyncio.to_thread(read_result, call, report, pieces)
        else:
            result = read_result(call, report, pieces)
        return replace(result, refused=relay.refused) if relay is not None else result

    async def _command(self, call: Call) -> list[str] | None:
        """Return the program that runs a call; None for Python, which is there already."""
        if call.language == "python":
            return None
        return (await asyncio.to_thread(find_node)).command(call.limits.memory)

    async def _forker(self, interpreter: Path) -> _Forker:
        async with self._starting:
            if self._closed:
                raise SandboxUnavailable("the server is being stopped")
            forker = self._forkers.get(interpreter)
            if forker is not None and forker.ended:
                forker.let_go()
                await asyncio.to_thread(forker.wait)
                forker = None
            return await self._start(interpreter) if forker is None else forker

    async def _start(self, interpreter: Path) -> _Forker:
        """Start a forker; one whose caller goes away meanwhile is kept too, so that somebody ends it."""
        starting = asyncio.create_task(asyncio.to_thread(_Forker, interpreter))
        try:
            await asyncio.wait([starting])
        finally:
            await asyncio.wait([starting])  # a thread is not cancelled
            if starting.exception() is None:
                self._forkers[interpreter] = starting.result()
                starting.result().rest()
        return starting.result()

    async def close(self) -> None:
        """End everything that runs, for good."""
        self._closed = True
        if self._expecting is not None:
            await self._expecting
        if self.environments is not None:
            await self.environments.close()
        async with self._starting:  # what is being started is there by then
            await self._end_forkers()

    async def _end_forkers(self) -> None:
        forkers, self._forkers = list(self._forkers.values()), {}
        for forker in forkers:
            forker.let_go()
            await asyncio.to_thread(forker.wait)


class _Place:
    """One call's place among those that run."""

    def __init__(self, running: asyncio.Semaphore) -> None:
        self._running = running
        self._held = False

    async def take(self) -> None:
        """Wait for it."""
        await self._running.acquire()
        self._held = True

    def leave(self) -> None:
        """Let another call have it, if it is held."""
        if self._held:
            self._held = False
            self._running.release()

    def left_for(self, answer: Answer) -> Answer:
        """Return what answers while another call may have the place, and gives the answer when there is one again."""

        async def answered(question: Any) -> Any:
            self.leave()
            told = await answer(question)
            await self.take()
            return told

        return answered


class _Forker:
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
                    env={"LANG": "C.UTF-8"},
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
        self._spares: OrderedDict[str, _Guard] = OrderedDict()

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

    def _take_spare(self, asked: Asked) -> _Guard | None:
        """Return the guard that waits behind walls already, if those are the ones asked for."""
        guard = self._spares.pop(json.dumps(asked), None)
        if guard is not None and guard.ended:
            guard.close()
            return None
        return guard

    async def _guard(self, asked: Asked) -> _Guard:
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
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        guard = _Guard(reader, writer, way, asking)
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


class _Guard:
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


def _for_one_process(call: Call) -> Call:
    """Return what can be run of a call where there are no namespaces: no JavaScript, and nobody is reached.

    Raises:
        SandboxUnavailable: it cannot do without.
    """
    what = "JavaScript and TypeScript" if call.language != "python" else "code that may reach hosts"
    if call.language != "python" or call.network.hosts:
        raise SandboxUnavailable(f"{what} cannot be run here, since the kernel refuses namespaces. {_REMEDY}")
    return replace(call, network=Network())


def _check_walls(report: dict[str, Any]) -> None:
    """Refuse a report of a call that was not run.

    Raises:
        SandboxUnavailable: a wall could not be raised.
    """
    if "missing" in report:
        kind = _NoNamespaces if report["namespaces"] else SandboxUnavailable
        raise kind(f"a wall is missing: {report['missing']}. {_REMEDY}")
