"""The server's side of the sandbox: how many calls run and wait, and what their guards report."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from folkmoot.errors import SandboxBusy, SandboxUnavailable
from folkmoot.sandbox.asked import Asked
from folkmoot.sandbox.calls import Answer, Call, Environment, Limits, Mode, Network, Result, Walls
from folkmoot.sandbox.environments import Environments
from folkmoot.sandbox.node import find_node, packages_needed
from folkmoot.sandbox.processes import Forker
from folkmoot.sandbox.reach import read_hosts
from folkmoot.sandbox.relay import Relay, plan
from folkmoot.sandbox.results import read_result

logger = logging.getLogger(__name__)

T = TypeVar("T")

BEHIND_SECONDS = 0.5
MOST_WAITING = 256
LARGE_ANSWER = 256 * 1024
"""Bytes of an answer from which on it is read on a thread."""

_MOST_SENT = 10_000_000
_GRACE_SECONDS = 5.0
"""Beyond its own time, for a call's start and its report."""

_TRIAL = Call("6 * 7", limits=Limits(seconds=20.0))
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
        self._forkers: dict[Path, Forker] = {}
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

    async def _forker(self, interpreter: Path) -> Forker:
        async with self._starting:
            if self._closed:
                raise SandboxUnavailable("the server is being stopped")
            forker = self._forkers.get(interpreter)
            if forker is not None and forker.ended:
                forker.let_go()
                await _to_its_end(asyncio.to_thread(forker.wait))
                forker = None
            return await self._start(interpreter) if forker is None else forker

    async def _start(self, interpreter: Path) -> Forker:
        """Start a forker; one whose caller goes away meanwhile is kept too, so that somebody ends it."""

        async def start() -> Forker:
            forker = self._forkers[interpreter] = await asyncio.to_thread(Forker, interpreter)
            forker.rest()
            return forker

        return await _to_its_end(start())

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
        for forker in forkers:
            await _to_its_end(asyncio.to_thread(forker.wait))


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Do what starts or ends a process, and wait for it also when the caller is cancelled: a thread is not."""
    working = asyncio.create_task(work)
    try:
        await asyncio.wait([working])
    finally:
        await asyncio.wait([working])
        working.exception()  # a caller that was cancelled does not ask for it
    return working.result()


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
