"""seccomp: which system calls a process may make.

What is refused is what changes namespaces and mounts, looks into other processes, speaks to other machines, keeps
memory that no limit counts, or belongs to an administrator; and whatever is newer than this list.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Sequence

from folkmoot.sandbox.linux import (
    MACHINE,
    NEW_CGROUP,
    NEW_IPC,
    NEW_MOUNTS,
    NEW_NAMES,
    NEW_NETWORK,
    NEW_PROCESSES,
    NEW_USERS,
    PARENT_DEATH_SIGNAL,
    system_call,
)

_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_NEWEST = 466
"""The newest system call that was looked at: Linux 6.16's `removexattrat`."""

_X32 = 0x40000000
_NAMESPACES = NEW_MOUNTS | NEW_CGROUP | NEW_NAMES | NEW_IPC | NEW_USERS | NEW_PROCESSES | NEW_NETWORK

_REFUSED_EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443,
    "memfd_secret": 447, "process_mrelease": 448, "set_mempolicy_home_node": 450, "statmount": 457, "listmount": 458,
}  # fmt: skip
_REFUSED = {
    "x86_64": {
        "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "unshare": 272, "setns": 308,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "add_key": 248, "request_key": 249, "keyctl": 250,
        "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "delete_module": 176, "finit_module": 313,
        "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163, "quotactl": 179, "nfsservctl": 180,
        "sethostname": 170, "setdomainname": 171, "settimeofday": 164, "clock_settime": 227, "clock_adjtime": 305,
        "adjtimex": 159, "syslog": 103, "vhangup": 153, "personality": 135, "name_to_handle_at": 303,
        "open_by_handle_at": 304, "fanotify_init": 300, "lookup_dcookie": 212, "mbind": 237, "set_mempolicy": 238,
        "get_mempolicy": 239, "migrate_pages": 256, "move_pages": 279, "memfd_create": 319, "vmsplice": 278,
        "shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67, "semget": 64, "semctl": 66, "semop": 65,
        "semtimedop": 220, "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "mq_open": 240,
        "iopl": 172, "ioperm": 173, "modify_ldt": 154, "uselib": 134, "ustat": 136, "sysfs": 139, "_sysctl": 156,
    },
    "aarch64": {
        "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "add_key": 217, "request_key": 218, "keyctl": 219,
        "kexec_load": 104, "kexec_file_load": 294, "init_module": 105, "delete_module": 106, "finit_module": 273,
        "reboot": 142, "swapon": 224, "swapoff": 225, "acct": 89, "quotactl": 60, "nfsservctl": 42,
        "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "clock_settime": 112, "clock_adjtime": 266,
        "adjtimex": 171, "syslog": 116, "vhangup": 58, "personality": 92, "name_to_handle_at": 264,
        "open_by_handle_at": 265, "fanotify_init": 262, "lookup_dcookie": 18, "mbind": 235, "set_mempolicy": 237,
        "get_mempolicy": 236, "migrate_pages": 238, "move_pages": 239, "memfd_create": 279, "vmsplice": 75,
        "shmget": 194, "shmat": 196, "shmctl": 195, "shmdt": 197, "semget": 190, "semctl": 191, "semop": 193,
        "semtimedop": 192, "msgget": 186, "msgsnd": 189, "msgrcv": 188, "msgctl": 187, "mq_open": 180,
    },
}  # fmt: skip
_REFUSED_ALONE = {
    "x86_64": {
        "fork": 57, "vfork": 58, "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129,
        "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424, "socket": 41, "connect": 42, "bind": 49, "listen": 50,
        "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92, "fchown": 93, "lchown": 94,
        "fchownat": 260, "utime": 132, "utimes": 235, "futimesat": 261, "utimensat": 280,
        "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198,
        "fremovexattr": 199, "setxattrat": 463, "removexattrat": 466,
        "setpriority": 141, "ioprio_set": 251, "sched_setaffinity": 203, "sched_setscheduler": 144,
        "sched_setparam": 142, "sched_setattr": 314, "inotify_init": 253, "inotify_init1": 294, "mq_unlink": 241,
    },
    "aarch64": {
        "kill": 129, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138,
        "rt_tgsigqueueinfo": 240, "pidfd_send_signal": 424, "socket": 198, "connect": 203, "bind": 200, "listen": 201,
        "fchmod": 52, "fchmodat": 53, "fchmodat2": 452, "fchown": 55, "fchownat": 54, "utimensat": 88,
        "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16,
        "setxattrat": 463, "removexattrat": 466,
        "setpriority": 140, "ioprio_set": 30, "sched_setaffinity": 122, "sched_setscheduler": 119,
        "sched_setparam": 118, "sched_setattr": 274, "inotify_init1": 26, "mq_unlink": 181,
    },
}  # fmt: skip
"""What is refused besides where a call shares users, processes and mounts with the server: it could signal the server,
slow it down, and change what Landlock does not know of in the server's files."""

_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_FCNTL = {"x86_64": 72, "aarch64": 25}
_IOCTL = {"x86_64": 16, "aarch64": 29}
_WHO_IS_SIGNALLED = {"fcntl": (8, 10, 15), "ioctl": (0x8901, 0x8902)}
"""F_SETOWN, F_SETSIG, F_SETOWN_EX; FIOSETOWN, SIOCSPGRP: the kernel signals a process when a file is ready."""

_THREAD = 0x00010000
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435  # its flags lie in memory, where no filter reads them; the C library falls back to clone
_SOCKET = {"x86_64": (41, 53), "aarch64": (198, 199)}
_PRCTL = {"x86_64": 157, "aarch64": 167}

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENT_AT = 0, 4, 16
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def program(machine: str, *, network: bool = False, alone: bool = False) -> bytes:
    """Return the filter for a machine (`x86_64` or `aarch64`) as the kernel reads it.

    Args:
        machine: whose calls it reads.
        network: let sockets of TCP and UDP over IPv4 be made, and not only those between processes.
        alone: refuse children, sockets, signals and what changes files besides their contents.
    """
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURE[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
        *_refuse_at_least(_NEWEST + 1, errno.ENOSYS),
        *_refuse(_CLONE3, errno.ENOSYS),
    ]
    for number in (*_REFUSED_EVERYWHERE.values(), *_REFUSED[machine].values()):
        code += _refuse(number, errno.EPERM)
    code += _refuse_argument(_PRCTL[machine], (_EQUAL, 0, 1, PARENT_DEATH_SIGNAL))
    code += _for_one_process(machine) if alone else _for_processes(machine, network)
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def _for_processes(machine: str, network: bool) -> list[tuple[int, int, int, int]]:
    code = _refuse_argument(_CLONE[machine], (_ANY_BIT, 0, 1, _NAMESPACES))
    if network:
        code += _allow_internet(_SOCKET[machine][0])
    for number in _SOCKET[machine]:
        code += _refuse_argument(number, (_EQUAL, 1, 0, int(socket.AF_UNIX)))
    return code


def _for_one_process(machine: str) -> list[tuple[int, int, int, int]]:
    code = []
    for number in _REFUSED_ALONE[machine].values():
        code += _refuse(number, errno.EPERM)
    code += _refuse_argument(_CLONE[machine], (_ANY_BIT, 1, 0, _THREAD))
    code += _refuse_argument(_PRLIMIT[machine], (_EQUAL, 1, 0, 0))  # of another process than itself
    code += _refuse_values(_FCNTL[machine], 1, _WHO_IS_SIGNALLED["fcntl"])
    code += _refuse_values(_IOCTL[machine], 1, _WHO_IS_SIGNALLED["ioctl"])
    return code + _only_streams(_SOCKET[machine][1])


def _refuse(number: int, error: int) -> list[tuple[int, int, int, int]]:
    return [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | error)]


def _refuse_at_least(number: int, error: int) -> list[tuple[int, int, int, int]]:
    return [(_AT_LEAST, 0, 1, number), (_RETURN, 0, 0, _ERROR | error)]


def _refuse_argument(number: int, test: tuple[int, int, int, int]) -> list[tuple[int, int, int, int]]:
    """Refuse a call if its first argument does not jump over the refusal."""
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _ARGUMENT_AT),
        test,
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _refuse_values(number: int, argument: int, values: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Refuse a call with one of these values as an argument."""
    count = len(values)
    return [
        (_EQUAL, 0, count + 3, number),
        (_LOAD, 0, 0, _ARGUMENT_AT + 8 * argument),
        *((_EQUAL, count - place, 0, value) for place, value in enumerate(values)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
    ]


def _only_streams(number: int) -> list[tuple[int, int, int, int]]:
    """Let pairs of sockets be made that are connected for good; others could send to any name."""
    return [
        (_EQUAL, 0, 7, number),
        (_LOAD, 0, 0, _ARGUMENT_AT),
        (_EQUAL, 0, 3, int(socket.AF_UNIX)),
        (_LOAD, 0, 0, _ARGUMENT_AT + 8),
        (_AND, 0, 0, 0xF),
        (_EQUAL, 1, 0, int(socket.SOCK_STREAM)),
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _allow_internet(number: int) -> list[tuple[int, int, int, int]]:
    """Allow TCP and UDP over IPv4; go on to what comes behind with everything else."""
    return [
        (_EQUAL, 0, 12, number),
        (_LOAD, 0, 0, _ARGUMENT_AT),
        (_EQUAL, 0, 9, int(socket.AF_INET)),
        (_LOAD, 0, 0, _ARGUMENT_AT + 8),
        (_AND, 0, 0, 0xF),  # flags stand beside the kind
        (_EQUAL, 1, 0, int(socket.SOCK_STREAM)),
        (_EQUAL, 0, 5, int(socket.SOCK_DGRAM)),
        (_LOAD, 0, 0, _ARGUMENT_AT + 16),
        (_EQUAL, 2, 0, 0),
        (_EQUAL, 1, 0, socket.IPPROTO_TCP),
        (_EQUAL, 0, 1, socket.IPPROTO_UDP),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def install(*, network: bool = False, alone: bool = False) -> None:
    """Put the filter on this process and its children, for good; it must have given up new privileges before."""
    code = program(MACHINE, network=network, alone=alone)
    described = _Program(len(code) // 8, code)
    system_call("seccomp", _SECCOMP[MACHINE], 1, 0, ctypes.byref(described))
