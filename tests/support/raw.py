"""Requests as bytes, for what no HTTP client would send."""

from __future__ import annotations

import socket

from support.polling import PATIENCE
from support.server import ServerProcess


def ask_raw(server: ServerProcess, head: str) -> tuple[int, bytes]:
    """Send a request's head, without its last empty line, and return the answer's status and all its bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        close = "" if "Connection:" in head else "Connection: close\r\n"
        connection.sendall(f"{head}{close}\r\n".encode("latin-1"))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return int(answer.split(b" ", 2)[1]), answer
