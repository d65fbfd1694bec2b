"""Running one program of this machine that may write to one folder only; in an interpreter of its own.

Network and most files stay open to it: it is no stranger's program, but what it works on is a stranger's.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path

from folkmoot.sandbox import landlock, linux

_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty")


def main(text: str) -> None:
    """Become the program that `text` describes.

    Args:
        text: JSON of `command`, `folder` (to write to), `hidden` (not to be read), `file_size` (bytes of one file), and
            `walls`.
    """
    asked = json.loads(text)
    if sys.platform == "linux":
        linux.prctl(linux.PARENT_DEATH_SIGNAL, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (asked["file_size"], asked["file_size"]))
    os.nice(10)
    os.umask(0o022)  # another user reads it, behind its walls; the folder that all of it is in stays closed
    if asked["walls"]:
        linux.drop_capabilities()  # those of root look into other processes
        linux.prctl(linux.NO_NEW_PRIVILEGES, 1)
        readable = landlock.all_but([Path(path) for path in (*asked["hidden"], asked["folder"])], [Path("/")])
        landlock.restrict(readable, [asked["folder"]], [name for name in _DEVICES if Path(name).exists()], None)
    os.execvp(asked["command"][0], asked["command"])  # noqa: S606 - named by the server
