"""A kernel that refuses namespaces, as it does in a container with Docker's default profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from folkmoot.sandbox import processes

if TYPE_CHECKING:
    import pytest

_CONFINE = """
import ctypes, errno, struct
from folkmoot.sandbox import linux, seccomp
refused = seccomp._REFUSED[linux.MACHINE]
names = ("mount", "umount2", "pivot_root", "unshare", "setns", "sethostname", "name_to_handle_at", "bpf", "keyctl")
code = [(seccomp._LOAD, 0, 0, seccomp._NUMBER_AT)]
for number in (*(refused[name] for name in names), *range(428, 434), 442):
    code += seccomp._refuse(number, errno.EPERM)
code += seccomp._refuse(435, errno.ENOSYS)
code += seccomp._refuse_argument(seccomp._CLONE[linux.MACHINE], (seccomp._ANY_BIT, 0, 1, seccomp._NAMESPACES))
code.append((seccomp._RETURN, 0, 0, seccomp._ALLOW))
text = b"".join(struct.pack("=HBBI", *line) for line in code)
linux.prctl(linux.NO_NEW_PRIVILEGES, 1)
linux.system_call("seccomp", seccomp._SECCOMP[linux.MACHINE], 1, 0, ctypes.byref(seccomp._Program(len(code), text)))
"""


def refuse_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all sandboxes find themselves in such a container."""
    monkeypatch.setattr(processes, "_BOOT", refusing_boot())


def refusing_boot() -> str:
    """Return how an interpreter starts there."""
    return processes._BOOT.replace("main(", f"{_CONFINE}main(")
