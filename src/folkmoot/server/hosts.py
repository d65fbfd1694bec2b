"""Under which names the server answers.

A page of the internet can let its own name point to this machine (DNS rebinding); for the browser it is then of the
same origin as the server, which without a key would tell it everything. Only the `Host` header shows the foreign name.
An address in its place was not looked up by anybody's name server, so it is safe wherever it is one of this machine's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from folkmoot.errors import BadRequest

_HOST = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{0,5})?")

LONGEST = 270
"""Bytes of a `Host` header: a name has at most 253."""


class Hosts:
    """The names of one server."""

    def __init__(self, listening: str, allowed: Sequence[str], *, any_name: bool) -> None:
        """Know which names are served.

        Args:
            listening: the address listened on, as it was set.
            allowed: further names; `*.example.org` stands for all below `example.org`.
            any_name: serve every name.
        """
        self._names = {name.lower() for name in (listening, *allowed) if not name.startswith("*.")}
        self._endings = tuple(name[1:].lower() for name in allowed if name.startswith("*."))
        self._any_name = any_name
        self._all_addresses = listening in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on
        self._serves = lru_cache(256)(self._decide)

    def serves(self, host: bytes, own_address: str) -> bool:
        """Tell whether a request is answered.

        Args:
            host: its `Host` header.
            own_address: this machine's address that it came in at.

        Raises:
            BadRequest: the header has not the form of one.
        """
        if len(host) > LONGEST:  # it must not be kept either
            raise _malformed()
        return self._serves(host, own_address)

    def _decide(self, host: bytes, own_address: str) -> bool:
        name = host_name(host)
        if self._any_name or name in self._names or name == "localhost":
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name.endswith((".localhost", *self._endings))
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return self._all_addresses or address.is_loopback or str(address) == own_address


def host_name(host: bytes) -> str:
    """Return the name or address of a `Host` header, in small letters, without port and brackets.

    Raises:
        BadRequest: it has not the form of one.

    >>> host_name(b"Moot.example.org:8283"), host_name(b"[::1]:8283"), host_name(b"localhost.")
    ('moot.example.org', '::1', 'localhost')
    """
    match = _HOST.fullmatch(host)
    if match is None:
        raise _malformed()
    return (match[1] or match[2]).decode("ascii").lower().removesuffix(".")


def _malformed() -> BadRequest:
    return BadRequest("The Host header is not a name or address with or without a port; send one such as localhost.")
