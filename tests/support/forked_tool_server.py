"""The SDK's server of tools as a program that need not load the SDK: `python forked_tool_server.py ADDRESS`.

At the address `tool_server.py forks` forks a process that speaks with whoever started this one; this one only hands on
what both say.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys

PIECE = 65536


def hand_on(way: socket.socket) -> None:
    """Hand on in both directions until the other end is closed."""
    poll = select.poll()
    for end in (0, way.fileno()):
        poll.register(end, select.POLLIN)
    while True:
        for end, _ in poll.poll():
            piece = os.read(end, PIECE)
            if end == 0 and piece:
                way.sendall(piece)
            elif end == 0:
                poll.unregister(0)
                way.shutdown(socket.SHUT_WR)
            elif piece:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            else:
                return


if __name__ == "__main__":
    host, _, port = sys.argv[1].removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(json.dumps(dict(os.environ)).encode() + b"\n")
        hand_on(connection)
