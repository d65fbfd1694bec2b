"""What is asked of the sandbox, and what comes back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Mode = Literal["strict", "trusted", "off"]
Exceeded = Literal["time", "cpu", "memory", "output", "value"]


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter and packages, both read-only to the code."""

    interpreter: Path = Path(sys.executable)
    requirements: tuple[str, ...] = ()
    """Packages with versions, as `requirements.read_requirements` reads them."""

    packages: Path | None = None
    """A folder of packages that is there already; the sandbox sets it where there are requirements."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a call may use; what goes past a limit is ended or refused by the kernel."""

    seconds: float = 60.0
    """From its start to its end."""

    cpu_seconds: int = 60
    """Of one process."""

    memory: int = 512 * 1024 * 1024
    """Bytes, of one process as addresses and of all of them as pages."""

    processes: int = 32
    """Processes and threads at once."""

    open_files: int = 64
    file_size: int = 64 * 1024 * 1024
    """Bytes of one file."""

    folder_size: int = 64 * 1024 * 1024
    """Bytes of all files together; they are kept in memory."""

    output: int = 1_000_000
    """Bytes of standard output, and as many of standard error."""

    value: int = 1_000_000
    """Bytes of the returned value as JSON."""

    connections: int = 16
    """Connections to hosts at once."""

    sent: int = 64 * 1024 * 1024
    """Bytes sent to all hosts."""

    received: int = 256 * 1024 * 1024
    """Bytes received from all hosts."""


@dataclass(frozen=True, slots=True)
class Network:
    """Whom the code may talk to; nobody when empty."""

    hosts: tuple[str, ...] = ()
    """As `reach.read_hosts` reads them: `api.example.org`, `db.example.org:5432`, `*.example.org`, `*`."""

    server: str | None = None
    """Address and port of this server, such as 127.0.0.1:8283; the code finds it at 127.0.0.1 with that port."""


@dataclass(frozen=True, slots=True)
class Call:
    """Code to run once.

    With an `entry` the source is a module, whose function of that name is called with `arguments` (JSON values) by
    name, each as its hint asks for; without one it is a program, and its value that of its last line, where that is an
    expression.
    """

    source: str
    entry: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    environment: Environment = field(default_factory=Environment)
    limits: Limits = field(default_factory=Limits)
    network: Network = field(default_factory=Network)
    readable: tuple[Path, ...] = ()
    """Folders that the code may read beside its packages, each at its own path."""

    adapter: str = ""
    """A module of the caller's own that stands between, inside the walls: names in its `SCOPE` are known to the source,
    `before(function, arguments)` returns what the function is called with, `after(value)` what its value becomes."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a call came to.

    `ok`: the code ran to its end, and `value` is what it returned, as JSON has it. `error`: it raised, and `error` is
    the traceback of its own lines. `ended`: it was ended, and `error` says by what; `exceeded` names the limit if it
    was one.
    """

    status: Literal["ok", "error", "ended"]
    value: Any = None
    error: str | None = None
    exceeded: Exceeded | None = None
    stdout: str = ""
    stderr: str = ""
    refused: tuple[str, ...] = ()
    """What of the network it was refused, one line each."""


@dataclass(frozen=True, slots=True)
class Walls:
    """What is enforced on this machine; `missing` says what is not, and what to do, when nothing may run."""

    mode: Mode
    enforced: tuple[str, ...] = ()
    missing: str | None = None

    @property
    def line(self) -> str:
        """All of it in one line.

        >>> Walls("strict", ("own files", "no network")).line
        'strict: own files, no network'
        """
        if self.missing is not None:
            return f"{self.mode}, but code cannot be run: {self.missing}"
        return f"{self.mode}: {', '.join(self.enforced)}"
