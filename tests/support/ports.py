"""TCP ports that nobody else takes."""

from __future__ import annotations

import atexit
import socket
import sys


def free_port() -> int:
    """Return a port of this machine on which nobody listens, and which only the caller can pass on.

    A socket of this process stays bound to it without listening: the system gives the port to nobody who asks for any
    free one, and lets those who name it listen, because they say SO_REUSEADDR too. That is so on Linux; elsewhere the
    port is only likely to stay free.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind(("127.0.0.1", 0))
    port: int = holder.getsockname()[1]
    if sys.platform == "linux":
        atexit.register(holder.close)  # which keeps it until then
    else:
        holder.close()
    return port
