"""The network of a call's own: nothing but loopback, with sockets that the server answers.

A socket belongs to the network that it was made in, whoever holds it. So the sockets are made inside, before the code
runs, and handed to the server: what the code connects to is the server's relay, and there is no other way.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path

from folkmoot.sandbox.asked import AskedNetwork

_GET_FLAGS, _SET_FLAGS, _SET_ADDRESS, _SET_MASK = 0x8913, 0x8914, 0x8916, 0x891C
_UP = 0x1
INSIDE, _MASK = "11.0.0.0", "255.0.0.0"
"""Addresses that names have inside. They look public: many programs refuse a name whose address is not, and rightly
so; whom a name really leads to, the relay sees to. Nobody is reached at these by their number: they are an army's."""

_WAITING = 64
"""Connections that may wait to be accepted."""

CERTIFICATES = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted")
"""Where systems keep whom TLS trusts."""


def open_doors(network: AskedNetwork, way: int) -> None:
    """Make the sockets of this process's network and hand them out: that of names first, then one for each port.

    Args:
        network: `ports`, and `addresses` beside those of loopback.
        way: descriptor of a socket to the server.

    Raises:
        OSError: the network cannot be made.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as names, socket.socket(fileno=way) as server:
        asked = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(names, _GET_FLAGS, asked), 16)
        fcntl.ioctl(names, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))
        fcntl.ioctl(names, _SET_ADDRESS, _named(b"lo:0", INSIDE))
        fcntl.ioctl(names, _SET_MASK, _named(b"lo:0", _MASK))  # on loopback, all of the network is here
        for number, address in enumerate(network["addresses"], 1):
            fcntl.ioctl(names, _SET_ADDRESS, _named(b"lo:%d" % number, address))
        names.bind(("127.0.0.1", 53))
        sockets = [names]
        try:
            for port in network["ports"]:
                sockets.append(socket.create_server(("0.0.0.0", port), backlog=_WAITING))  # noqa: S104 - of its own
            socket.send_fds(server, [b"n"], [one.fileno() for one in sockets])
        finally:
            for one in sockets[1:]:
                one.close()


def _named(interface: bytes, address: str) -> bytes:
    return struct.pack("16sH2x4s8x", interface, socket.AF_INET, socket.inet_aton(address))


def write_settings(folder: Path) -> None:
    """Tell the C library where names are asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("hosts", "127.0.0.1 localhost\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
        ("resolv.conf", "nameserver 127.0.0.1\nsearch .\noptions timeout:3 attempts:2\n"),
    ):
        (folder / name).write_text(text)
