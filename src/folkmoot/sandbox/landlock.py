"""Landlock: which files a process may touch, and whom outside it may speak to or signal."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from folkmoot.sandbox.linux import system_call

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _READ, _LIST = 1, 2, 4, 8
_BIND, _CONNECT = 1, 2
_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}
"""All rights over files that each version of the interface knows."""


class _Path(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def version() -> int:
    """Return the version of the kernel's interface.

    Raises:
        OSError: the kernel has none, or it is switched off.
    """
    return system_call("landlock_create_ruleset", _CREATE, None, 0, 1)


class _Port(ctypes.Structure):
    _fields_ = [("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64)]


def restrict(
    readable: Sequence[str], writable: Sequence[str], devices: Sequence[str], ports: Sequence[int] | None = ()
) -> None:
    """Close all files to this process and its children but these; close signals and sockets outside, and the network.

    Args:
        readable: folders to read and to run programs of.
        writable: folders to do everything in.
        devices: files to read and write.
        ports: those that may be connected to; None leaves the network open.
    """
    known = version()
    rights = _RIGHTS.get(known, 0xFFFF)
    network = _BIND | _CONNECT if known >= 4 and ports is not None else 0
    scopes = 0x3 if known >= 6 else 0
    attributes = (ctypes.c_uint64 * 3)(rights, network, scopes)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    ruleset = system_call("landlock_create_ruleset", _CREATE, ctypes.byref(attributes), size, 0)
    try:
        for paths, allowed in ((readable, _EXECUTE | _READ | _LIST), (writable, rights), (devices, _READ | _WRITE)):
            for path in paths:
                _allow(ruleset, path, allowed)
        for port in ports if network and ports else ():
            system_call("landlock_add_rule", _ADD, ruleset, 2, ctypes.byref(_Port(_CONNECT, port)), 0)
        system_call("landlock_restrict_self", _RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, allowed: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:  # it has gone since it was listed, as another call's folder does
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            allowed &= _EXECUTE | _WRITE | _READ
        system_call("landlock_add_rule", _ADD, ruleset, 1, ctypes.byref(_Path(allowed, place)), 0)
    finally:
        os.close(place)


def all_but(hidden: Sequence[Path], folders: Iterable[Path]) -> list[str]:
    """Return what to show so that folders are to be seen, but not what is hidden in them.

    What holds something hidden is not shown itself, but what lies beside that is.
    """

    def shown(folder: Path) -> Iterable[str]:
        if folder in hidden:
            return
        if not any(path.is_relative_to(folder) for path in hidden):
            yield str(folder)
            return
        for child in folder.iterdir():
            if not child.is_symlink():  # what it leads to is shown, or not, by itself
                yield from shown(child)

    return [path for folder in folders for path in shown(folder.resolve())]
