"""What the server asks of a guard before the code of its call comes."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class AskedNetwork(TypedDict):
    """A network with sockets that the server answers."""

    ports: list[int]
    addresses: list[str]
    """Those beside loopback's that have to be there."""


class Asked(TypedDict):
    """Everything about a call but its code; calls that ask for the same can use the same walls."""

    walls: Literal["namespaces", "alone"] | None
    """Which ones; None for none."""

    limits: dict[str, Any]
    """`calls.Limits`."""

    packages: list[str]
    """Folders of packages that may be read."""

    made: list[int]
    """When those were made, in nanoseconds: what was put in the place of another is another one."""

    readable: list[str]
    """Further files and folders that may be read, where they are."""

    command: list[str] | None
    """The program to become; None for Python."""

    network: AskedNetwork | None

    asks: bool
    """Whether the code may ask the server something while it runs."""

    processes: bool
    """Whether it sees its own processes at /proc, where the kernel allows that; many programs look for themselves."""

    hidden: list[str]
    """Paths that stay out of sight even where they lie in a folder that is shown."""


class Numbered(Asked):
    """What one guard is asked."""

    serial: int
    """Tells its user apart from those of the other calls of this moment, where the server is root."""
