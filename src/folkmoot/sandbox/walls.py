"""The walls around one call, raised by the process that is to be inside them, from the outermost to the innermost."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from folkmoot.sandbox import doors, landlock, linux, seccomp
from folkmoot.sandbox.asked import Numbered

INSIDE = 1000
"""Who the code is, in its own namespace of users."""

_CUTS_SHORT = 3
"""The version of Landlock that knows of truncating files."""

_UNUSED = 0x7A000000
"""From here on up are users that no system has; a server that runs as root gives each call one of its own."""

_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin")
_DEVICES = ("null", "zero", "full", "random", "urandom")
FOLDER = "/call"
"""The call's own folder, the only one that it may write to; /tmp is another name for it."""

_ROOM = 256 << 20
"""Bytes that an engine of JavaScript sets aside for its own: stacks of its threads, code, what it will throw away."""

_BYTES_A_FILE = 3200
"""Of the call's folder, for each file that it may hold."""

_MEANWHILE = 256
"""Threads that the server and its other calls may begin while a call runs as their user; its guard counts its own."""

_MOUNT_POINT = "/proc"
"""Where the new root is put together: it is there on every Linux and nothing that is shown inside lies in it."""


_USERS, _PROCESSES, _MOUNTS = "users of its own", "processes of its own", "mounts, network and names of its own"
_NETWORK, _FILES = "a network of its own", "files of its own"
NAMESPACES = (_USERS, _PROCESSES, _MOUNTS, _NETWORK, _FILES)
"""Walls that need namespaces."""


class WallMissing(Exception):
    """A wall cannot be raised here."""

    def __init__(self, wall: str, error: OSError) -> None:
        super().__init__(f"{wall} ({error.filename or 'a system call'}: {error.strerror})")


def leave_namespaces() -> None:
    """Give the children of this process, and itself, users and processes of their own.

    Raises:
        WallMissing: the kernel does not let this user.
    """
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        with _wall(_PROCESSES):
            linux.unshare(linux.NEW_PROCESSES)
        return
    with _wall(_USERS):
        linux.unshare(linux.NEW_USERS | linux.NEW_PROCESSES)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{INSIDE} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{INSIDE} {group} 1")


def raise_all(asked: Numbered, way: int | None) -> None:
    """Close this process, the first of its namespace, off from everything but Python and a folder of its own.

    Args:
        asked: what is shown, and how much the code may use.
        way: descriptor over which the sockets of that network go to the server.

    Raises:
        WallMissing: one of the walls cannot be raised.
    """
    with _wall("limits"):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with _wall(_MOUNTS):
        linux.unshare(linux.NEW_MOUNTS | linux.NEW_NETWORK | linux.NEW_IPC | linux.NEW_NAMES | linux.NEW_CGROUP)
        socket.sethostname("folkmoot")
    network = asked["network"]
    if network is not None and way is not None:
        with _wall(_NETWORK):
            doors.open_doors(network, way)
    with _wall(_FILES):
        shown = _make_root(asked)
    with _wall("no rights"):
        _drop(asked["serial"])
    with _wall("Landlock"):
        ports = () if network is None else network["ports"]
        landlock.restrict(shown, [FOLDER], [f"/dev/{name}" for name in _DEVICES], ports)
    with _wall("limits"):
        limit(asked["limits"], addresses=asked["command"] is None)
    with _wall("seccomp"):
        seccomp.install(network=network is not None)


def raise_alone(asked: Numbered, folder: str) -> None:
    """Close this process off where the kernel gives it no namespaces: it stays alone, and writes to no file.

    It shares users, processes and mounts with the server, so that Landlock and seccomp refuse what could reach those.

    Args:
        asked: what is shown, and how much the code may use.
        folder: an empty folder of the call's own.

    Raises:
        WallMissing: one of the walls cannot be raised.
    """
    with _wall("limits"):
        Path("/proc/self/oom_score_adj").write_text("1000")
        # The kernel counts those of the whole user, who is the server's.
        others = _threads_of(os.getuid()) + _MEANWHILE
    with _wall("no rights"):
        linux.drop_capabilities()
        linux.prctl(linux.NO_NEW_PRIVILEGES, 1)
        linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGKILL)
    with _wall("Landlock"):
        if landlock.version() < _CUTS_SHORT:
            raise OSError(errno.ENOSYS, "Linux 6.2 is the oldest that keeps files from being cut short", "Landlock")
        folders = [*_shown(None, False), *map(Path, (*asked["packages"], *asked["readable"]))]
        shown = landlock.all_but([Path(path) for path in asked["hidden"]], folders)
        landlock.restrict([*shown, folder], [], [f"/dev/{name}" for name in _DEVICES])
    with _wall("limits"):
        limit({**asked["limits"], "processes": asked["limits"]["processes"] + others}, addresses=True)
    with _wall("seccomp"):
        seccomp.install(alone=True)


class _wall:  # noqa: N801 - reads as a word of the steps above
    """Tell which wall an error of the kernel is about."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, OSError):
            raise WallMissing(self._name, error) from error


def _make_root(asked: Numbered) -> list[str]:
    """Enter a root with the system's programs, Python, packages and an empty folder; return what is shown."""
    root = _MOUNT_POINT
    linux.mount("none", "/", "", linux.RECURSIVE | linux.PRIVATE)
    linux.mount("tmpfs", root, "tmpfs", linux.NO_SUID | linux.NO_DEVICES, "size=1m,nr_inodes=4k,mode=755")
    shown: dict[Path, str] = {}
    network = asked["network"] is not None
    for path in _shown(asked["command"], network):
        if path.is_symlink():  # /lib, where it is a name for /usr/lib
            (Path(root) / path.relative_to("/")).symlink_to(path.readlink())
            continue
        if not any(path.is_relative_to(other) for other in shown):
            shown[path] = str(path)
    shown |= {Path(outside).resolve(): inside for outside, inside in inside_of(asked["packages"]).items()}
    shown |= {path: str(path) for path in map(Path, asked["readable"])}
    for path, inside in shown.items():
        _show(path, root + inside)
    for place in map(Path, asked["hidden"]):
        for path, inside in shown.items():
            if place.is_relative_to(real := path.resolve()) and place.exists():
                _hide(Path(root + inside) / place.relative_to(real))
    _make_devices(root)
    folder = root + FOLDER
    Path(folder).mkdir()
    size = asked["limits"]["folder_size"]
    data = f"size={size},nr_inodes={size // _BYTES_A_FILE},mode=1777"
    linux.mount("tmpfs", folder, "tmpfs", linux.NO_SUID | linux.NO_DEVICES, data)
    usual = Path(root) / "tmp"
    if not usual.exists():  # unless packages lie there
        usual.symlink_to(FOLDER)
    if network:
        doors.write_settings(Path(root) / "etc")
    processes = asked["processes"] and _show_processes(root)
    linux.enter_root(root)
    linux.close_mount("/", recursive=False)
    return [*shown.values(), *(["/etc"] if network else []), *(["/proc"] if processes else [])]


def _show_processes(root: str) -> bool:
    """Show the processes of this namespace; tell whether the kernel lets us, which it may not inside a container."""
    folder = Path(root) / "proc"
    folder.mkdir()
    try:
        linux.mount("proc", str(folder), "proc", linux.NO_SUID | linux.NO_DEVICES | linux.NO_EXECUTION)
    except PermissionError:
        return False
    return True


def inside_of(packages: Sequence[str]) -> dict[str, str]:
    """Return where folders of packages are inside, wherever they lie outside."""
    return {outside: f"/packages/{number}" for number, outside in enumerate(packages)}


def _shown(command: Sequence[str] | None, network: bool) -> list[Path]:
    """Return the folders and programs that are shown, outer ones first."""
    folders = {path for path in map(Path, _SYSTEM) if path.exists()}
    folders |= {Path(sys.base_prefix).resolve(), Path(sys.base_exec_prefix).resolve()}
    if command is not None:
        folders.add(Path(command[0]))
    if network:
        folders |= {path for path in map(Path, doors.CERTIFICATES) if path.is_dir()}
    return sorted(folders)


def _show(path: Path, target: str) -> None:
    if path.is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    linux.mount(str(path), target, "", linux.BIND | linux.RECURSIVE)
    linux.close_mount(target)


def _hide(target: Path) -> None:
    """Put nothing over a place that is shown."""
    if stat.S_ISDIR(target.stat().st_mode):
        linux.mount("tmpfs", str(target), "tmpfs", linux.NO_SUID | linux.NO_DEVICES, "size=4k,mode=755")
        linux.close_mount(str(target))
    else:
        linux.mount("/dev/null", str(target), "", linux.BIND)


def _make_devices(root: str) -> None:
    folder = Path(root) / "dev"
    folder.mkdir()
    for name in _DEVICES:
        (folder / name).touch()
        linux.mount(f"/dev/{name}", str(folder / name), "", linux.BIND)


def _drop(serial: int) -> None:
    """Become nobody."""
    if os.geteuid() == 0:
        user = _UNUSED + serial
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    linux.drop_capabilities()
    linux.prctl(linux.NO_NEW_PRIVILEGES, 1)
    linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGKILL)  # becoming another user undoes it; seccomp keeps it


def _threads_of(user: int) -> int:
    found = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            if process.stat().st_uid == user:
                found += len(list(Path(process, "task").iterdir()))
    return found


def limit(limits: Mapping[str, Any], *, addresses: bool) -> None:
    """Set the limits that the kernel keeps for each process.

    Args:
        limits: those of the call.
        addresses: count memory as addresses; else, for what reserves many more than it uses, as what can be written to,
            with room for its own.
    """
    for kind, value in (
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_AS, limits["memory"]) if addresses else (resource.RLIMIT_DATA, limits["memory"] + _ROOM),
        (resource.RLIMIT_FSIZE, limits["file_size"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        most = resource.getrlimit(kind)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))
    os.nice(5)
