"""The process that forks a guard for each call: an interpreter that has imported what most code wants."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys

from folkmoot.sandbox.guard import guard

_SOON = ("traceback", "asyncio", "csv", "datetime", "decimal", "hashlib", "random", "statistics", "uuid")


def main(descriptor: int) -> None:
    """Fork a guard for each connection that comes over the socket `descriptor`, until its other end is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the guards
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with socket.socket(fileno=descriptor) as server:
        while True:
            message, passed, _, _ = socket.recv_fds(server, 1, 3)
            if not message:
                return
            with socket.socket(fileno=passed[0]) as control:
                if os.fork() == 0:
                    server.close()
                    _be_guard(control, passed[1:])
            for descriptor in passed[1:]:
                os.close(descriptor)
            _import_more()


def _be_guard(control: socket.socket, passed: list[int]) -> None:
    try:
        guard(control, passed)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # into the server's log; the server notices that there is no report
    finally:
        os._exit(0)


def _import_more() -> None:
    """Import, behind the first call, what later ones may want, so that they find it there."""
    if _SOON[-1] not in sys.modules:
        for name in _SOON:
            importlib.import_module(name)
        gc.freeze()  # or the children's first collection would copy all of it
