"""Answering the questions for names (DNS) of code that knows no other network than the one that is made for it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

_ADDRESS, _INTERNET = 1, 1
_ANSWER, _RECURSION, _UNKNOWN = 0x8080, 0x0100, 3
_SECONDS = 60
"""How long an answer may be remembered."""


def answer(question: bytes, address_of: Callable[[str], str | None]) -> bytes | None:
    """Return the answer to a datagram, None if it is no question for a name.

    Args:
        question: what came; anything at all.
        address_of: returns the IPv4 address that a name, in lower case, has inside, or None for a name without one.
    """
    if len(question) < 12:
        return None
    number, flags, questions = struct.unpack_from("!HHH", question)
    read = _read_name(question, 12)
    if flags & 0xF800 or questions != 1 or read is None:
        return None
    name, end = read
    kind, kind_of_network = struct.unpack_from("!HH", question, end)
    address = address_of(name) if kind_of_network == _INTERNET else None
    found = b""
    if address is not None and kind == _ADDRESS:
        found = struct.pack("!HHHIH", 0xC00C, _ADDRESS, _INTERNET, _SECONDS, 4) + socket.inet_aton(address)
    flags = _ANSWER | flags & _RECURSION | (_UNKNOWN if address is None else 0)
    return struct.pack("!HHHHHH", number, flags, 1, bool(found), 0, 0) + question[12 : end + 4] + found


def _read_name(data: bytes, place: int) -> tuple[str, int] | None:
    """Return a name in lower case and where its kind stands, None where there is no whole name."""
    labels = []
    while place < len(data) and data[place]:
        length = data[place]
        label = data[place + 1 : place + 1 + length]
        if length > 63 or not label.isascii() or b"." in label:
            return None
        labels.append(label.decode().lower())
        place += 1 + length
    return (".".join(labels), place + 1) if place + 5 <= len(data) else None
