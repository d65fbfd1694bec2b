"""Programs that stand: started for long, spoken with over standard input and output, behind the walls that calls have.

A program sees the system's programs, its own package, and what its owner names, all read-only; it writes to a home in
memory that goes with it. A guard of its own (`standing_guard.py`) stays beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import folkmoot
from folkmoot.errors import SandboxUnavailable
from folkmoot.sandbox.asked import Numbered
from folkmoot.sandbox.calls import Limits, Network
from folkmoot.sandbox.processes import next_serial
from folkmoot.sandbox.relay import Plan, Relay, plan
from folkmoot.sandbox.sandbox import Sandbox

PATH = "/usr/local/bin:/usr/bin:/bin"

LIMITS = Limits(
    cpu_seconds=1 << 40,
    memory=2 << 30,
    processes=256,
    open_files=4096,
    file_size=1 << 30,
    folder_size=512 << 20,
    connections=64,
)
"""What one program may use; it lives too long for a count of seconds or of bytes that it sends."""

EVERY_HOST = ("*",)

_MARKS = ("pyvenv.cfg", "package.json", "pyproject.toml")
"""Files that stand in the folder of a package."""

_OF_THE_SYSTEM = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
"""What many programs need to start; nothing in it is secret."""

_NEVER = ("/", "/etc", "/tmp", "/call", "/packages")  # noqa: S108 - not to write to
_OF_THE_KERNEL = ("/proc", "/sys", "/dev")
"""Where nothing is a file of the machine: a program has its own of them."""

_MADE_INSIDE = ("/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf")

_BOOT = """
import sys
sys.path.insert(0, sys.argv[1])
from folkmoot.sandbox.standing_guard import main
del sys.path[0]
sys.exit(main(sys.argv[2]))
"""


@dataclass(frozen=True, slots=True)
class StandingProgram:
    """A program to start."""

    command: str
    args: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    """All of its environment but `LANG`, `HOME`, `TMPDIR` and, unless it is among them, `PATH`."""

    hosts: Sequence[str] = EVERY_HOST
    """Whom it may reach, as `reach.read_hosts` reads them."""

    readable: Sequence[str] = ()
    """Files and folders that it may read beside its own package and what its arguments name."""


@asynccontextmanager
async def standing(sandbox: Sandbox, program: StandingProgram) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a program behind the sandbox's walls, and answer its network until this is left; its end is the caller's.

    Raises:
        SandboxUnavailable: it cannot be started here; the message says why and what to do.
        InvalidInput: a host cannot be read.
        OSError: there is no process to be had.
    """
    strict = await sandbox.check_standing()
    variables = {"PATH": PATH, "LANG": "C.UTF-8", **program.variables}
    command = shutil.which(program.command, path=variables["PATH"])
    if command is None:
        raise SandboxUnavailable(
            f"{program.command} is not found in {variables['PATH']}, or is no program; name it by its path"
        )
    network = plan(Network(tuple(program.hosts))) if strict else None
    ours, theirs = socket.socketpair()
    relaying: asyncio.Task[None] | None = None
    try:
        with theirs, tempfile.TemporaryFile() as told:
            # Not as the guard's own environment: LD_PRELOAD and the like would hold for it, who has no walls.
            told.write(json.dumps(variables).encode())
            told.seek(0)
            asked = {
                "server": os.getpid(),
                "argv": [command, *program.args],
                "variables": told.fileno(),
                "limits": asdict(LIMITS),
                "way": theirs.fileno() if network is not None else None,
                "walls": _walls(sandbox, command, program, network) if strict else None,
            }
            root = str(Path(folkmoot.__file__).parent.parent)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _BOOT, root, json.dumps(asked)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"LANG": "C.UTF-8"},
                cwd="/",
                pass_fds=[told.fileno(), *([theirs.fileno()] if network is not None else [])],
                start_new_session=True,
            )
        if network is not None:
            ours.setblocking(False)
            relay = Relay(network, LIMITS, sandbox.private_hosts, endless=True)
            relaying = asyncio.create_task(relay.serve(ours))
        yield process
    finally:
        if relaying is not None:
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)
        ours.close()


def _walls(sandbox: Sandbox, command: str, program: StandingProgram, network: Plan | None) -> Numbered:
    real = Path(command).resolve()
    named = [_without_steps_up(path) for path in (*_paths_in(program.args), *map(Path, program.readable))]
    readable = [path for each in (Path(command), real, *named) for path in (each, *_package_of(each))]
    for path in named:
        place = path.resolve()
        inside = (*_OF_THE_KERNEL, *sandbox.hidden)
        if {str(path), str(place)} & {*_NEVER} or any(place.is_relative_to(folder) for folder in inside):
            raise SandboxUnavailable(f"{path} cannot be shown to a program; name what it needs of it")
    shown = _outermost([*(path for path in map(Path, _OF_THE_SYSTEM) if path.exists()), *readable])
    return {
        "walls": "namespaces",
        "limits": asdict(LIMITS),
        "packages": [],
        "made": [],
        "readable": shown,
        "command": [str(real)],
        "network": {"ports": list(network.ports), "addresses": list(network.addresses)} if network else None,
        "processes": True,
        "asks": False,
        "hidden": list(sandbox.hidden),
        "serial": next_serial(),
    }


def _paths_in(args: Iterable[str]) -> list[Path]:
    """Return the files and folders that arguments name, as `/srv/notes` and `--root=/srv/notes` do.

    What is the kernel's is not among them: a program has its own `/dev/null`.
    """
    named = (part for each in args for part in (each, each.partition("=")[2]) if part.startswith("/"))
    found = [Path(part) for part in named if len(part) < 4096 and "\0" not in part and Path(part).exists()]
    return [path for path in found if not any(path.is_relative_to(folder) for folder in _OF_THE_KERNEL)]


def _without_steps_up(path: Path) -> Path:
    """Return a path as it is, or where it leads to if it has `..`, which says nothing of where that is."""
    return path.resolve() if ".." in path.parts else path


def _package_of(path: Path) -> list[Path]:
    """Return the folder of the package that a file belongs to: of an environment, or with its list of dependencies."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() fails for a user who has none
    for folder in path.parents:
        if folder.name == "node_modules":
            return [folder]
        if any((folder / mark).is_file() for mark in _MARKS) and folder not in (home, Path("/")):
            return [folder]
    return []


def _outermost(paths: Iterable[Path]) -> list[str]:
    """Return paths without those that lie in another one, or in the system's folders."""
    inside = [Path(each) for each in ("/usr", "/lib", "/lib32", "/lib64", "/bin", sys.base_prefix)]
    kept: list[Path] = []
    for path in sorted({path.absolute() for path in paths}, key=lambda path: len(path.parts)):
        if str(path) not in _MADE_INSIDE and not any(path.is_relative_to(other) for other in (*inside, *kept)):
            kept.append(path)
    return [str(path) for path in kept]
