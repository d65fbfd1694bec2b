"""Free TCP ports."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port of this machine that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
