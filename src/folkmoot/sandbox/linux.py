"""The system calls that Python's standard library does not have."""

from __future__ import annotations

import ctypes
import os

NEW_MOUNTS, NEW_CGROUP, NEW_NAMES, NEW_IPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEW_USERS, NEW_PROCESSES, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000

NO_SUID, NO_DEVICES, NO_EXECUTION = 0x2, 0x4, 0x8
BIND, RECURSIVE, PRIVATE = 0x1000, 0x4000, 0x40000
_DETACH, _AT_CURRENT, _AT_RECURSIVE = 2, -100, 0x8000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_MOUNT_SETATTR = 442

PARENT_DEATH_SIGNAL, DUMPABLE, NO_NEW_PRIVILEGES = 1, 4, 38

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
MACHINE = os.uname().machine


def system_call(name: str, number: int, *arguments: object) -> int:
    """Make a system call.

    Raises:
        OSError: the kernel refused; its `filename` is the call's name.
    """
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return checked(name, _libc.syscall(ctypes.c_long(number), *passed))


def checked(name: str, result: int) -> int:
    """Return what a function of the C library returned, unless that was an error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def unshare(flags: int) -> None:
    """Leave namespaces; children are born in the new namespace of processes."""
    checked("unshare", _libc.unshare(flags))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount a file system, or bind a folder to another place."""
    checked(
        f"mount {target}",
        _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()),
    )


def close_mount(path: str, *, read_only: bool = True, recursive: bool = True) -> None:
    """Let nobody write below a mount, gain rights by its files, or open its devices."""
    attributes = (ctypes.c_uint64 * 4)((1 if read_only else 0) | NO_SUID | NO_DEVICES, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    size = ctypes.sizeof(attributes)
    system_call("mount_setattr", _MOUNT_SETATTR, _AT_CURRENT, path.encode(), flags, ctypes.byref(attributes), size)


def enter_root(path: str) -> None:
    """Make a mount the root folder, and let go of the old one."""
    os.chdir(path)
    system_call("pivot_root", _PIVOT_ROOT[MACHINE], b".", b".")
    checked("umount2", _libc.umount2(b".", _DETACH))
    os.chdir("/")


def prctl(option: int, value: int) -> None:
    """Change something of this process."""
    checked(
        "prctl", _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    )


def drop_capabilities() -> None:
    """Give up every capability, of those that root or a new namespace gave."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    system_call("capset", _CAPSET[MACHINE], ctypes.byref(header), ctypes.byref(none))
