"""Which hosts a call may reach: how they are written, and which name and port fits."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from folkmoot.errors import InvalidInput

USUAL_PORTS = (80, 443)
MOST_HOSTS = 64
MOST_PORTS = 16
_NAME = r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*"
_HOST = re.compile(rf"(?P<host>\*|(?:\*\.)?{_NAME})(?::(?P<port>[0-9]{{1,5}}))?")


@dataclass(frozen=True, slots=True)
class Host:
    """A host as it is named: a name, an IPv4 address, `*.example.org` for all below it, or `*` for every name."""

    name: str
    ports: tuple[int, ...] = USUAL_PORTS

    @property
    def address(self) -> str | None:
        """The address, where it is one and no name."""
        return self.name if _is_address(self.name) else "127.0.0.1" if self.name == "localhost" else None

    def fits(self, name: str) -> bool:
        """Tell whether a name, in lower case, is meant.

        >>> Host("*.example.org").fits("api.example.org"), Host("*.example.org").fits("example.org")
        (True, False)
        >>> Host("example.org").fits("example.org"), Host("example.org").fits("an-example.org")
        (True, False)
        """
        if self.name == "*":
            return True
        return name.endswith(self.name[1:]) if self.name.startswith("*.") else name == self.name


def read_hosts(hosts: Sequence[str], field: str = "allowed_hosts") -> tuple[Host, ...]:
    """Read hosts as people write them: `api.example.org`, `*.example.org`, `*`, each with `:port` for another port.

    >>> read_hosts(["API.example.org", "db.example.org:5432"])[1]
    Host(name='db.example.org', ports=(5432,))

    Raises:
        InvalidInput: one cannot be read, or there are too many; the message names `field`.
    """
    if len(hosts) > MOST_HOSTS:
        raise InvalidInput(f"{field}: {len(hosts)} hosts; at most {MOST_HOSTS} can be named. `*` stands for all.")
    read = tuple(_read_host(text, field) for text in hosts)
    if len({port for host in read for port in host.ports}) > MOST_PORTS:
        raise InvalidInput(f"{field}: more than {MOST_PORTS} ports are named.")
    return read


def _read_host(text: str, field: str) -> Host:
    found = _HOST.fullmatch(text.strip().lower())
    port = int(found["port"]) if found is not None and found["port"] is not None else None
    if found is None or len(found["host"]) > 253 or (port is not None and not 0 < port < 65536):
        raise InvalidInput(
            f"{field}: {text!r} is no host; write a name such as api.example.org, *.example.org or *, or an IPv4 "
            "address, with :port for another port than 80 and 443, and without a scheme and a path."
        )
    last = found["host"].rpartition(".")[2]
    if last.isdigit() and not _is_address(found["host"]):
        raise InvalidInput(f"{field}: {text!r} is no address; write its four numbers.")
    return Host(found["host"], USUAL_PORTS if port is None else (port,))


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
