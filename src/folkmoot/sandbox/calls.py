"""What is asked of the sandbox, and what comes back."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from folkmoot.errors import InvalidInput

Language = Literal["python", "javascript", "typescript"]
Mode = Literal["strict", "trusted", "off"]
Exceeded = Literal["time", "cpu", "memory", "processes", "output", "value"]


Answer: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Answers a question of the code's; both are JSON values, and what is asked may have been made to harm."""

SOURCE = "127.64.0.1"
"""Where connections from inside a call to this server come from, so that it knows that they are code's."""


@dataclass(frozen=True, slots=True)
class Environment:
    """An interpreter and packages, both read-only to the code."""

    interpreter: Path = Path(sys.executable)
    requirements: tuple[str, ...] = ()
    """Packages with versions, as `requirements.read_requirements` reads them."""

    packages: Path | None = None
    """A folder of packages that is there already, in which is looked behind the requirements."""


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


def read_limits(text: str) -> Limits:
    """Read limits as a setting names them; the others stay as they are.

    >>> read_limits("memory=1000000000, processes=64").processes
    64

    Raises:
        InvalidInput: there is no such limit, or its value is no whole number above 0.
    """
    names = [each.name for each in fields(Limits) if each.name != "seconds"]
    values = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, value = map(str.strip, part.partition("="))
        if name not in names:
            raise InvalidInput(f"tool_limits: {name!r} is no limit; there are {', '.join(names)}.")
        if not value.isdecimal() or not 0 < int(value) < 1 << 62:
            raise InvalidInput(f"tool_limits: {name} is {value!r}; write a whole number above 0.")
        values[name] = int(value)
    return replace(Limits(), **values)


def check_limits(given: Any) -> dict[str, float]:
    """Return limits that one tool sets for its own calls.

    Raises:
        InvalidInput: they are no object of limits, or the value of one is no number above 0.
    """
    if not isinstance(given, Mapping):
        raise InvalidInput('limits: has to be an object such as {"seconds": 10, "memory": 100000000}.')
    names = [each.name for each in fields(Limits)]
    for name, value in given.items():
        if name not in names:
            raise InvalidInput(f"limits: {name[:80]!r} is no limit; there are {', '.join(names)}.")
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (name == "seconds" and isinstance(value, float))) or not 0 < value < 1 << 62:
            raise InvalidInput(f"limits: {name} is {str(value)[:80]}; write a whole number above 0.")
    return dict(given)


def narrowed(limits: Limits, own: Mapping[str, float]) -> Limits:
    """Return the lesser of both limits, each.

    >>> narrowed(Limits(seconds=60, processes=32), {"seconds": 2.5, "processes": 100}).seconds
    2.5
    """
    return replace(limits, **{name: min(getattr(limits, name), value) for name, value in own.items()})


@dataclass(frozen=True, slots=True)
class Network:
    """Whom the code may talk to; nobody when empty."""

    hosts: tuple[str, ...] = ()
    """As `reach.read_hosts` reads them: `api.example.org`, `db.example.org:5432`, `*.example.org`, `*`."""

    server: str | None = None
    """Address and port of this server, such as 127.0.0.1:8283; the code finds it at 127.0.0.1 with that port."""


@dataclass(frozen=True, slots=True)
class Call:
    """Code to run once, in Python, or in JavaScript or TypeScript as a module.

    With an `entry` the source is a module, whose function of that name is called with `arguments` (JSON values) by
    name, each as its hint asks for; without one it is a program, and its value that of its last line, where that is an
    expression.
    """

    source: str
    entry: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    language: Language = "python"
    environment: Environment = field(default_factory=Environment)
    limits: Limits = field(default_factory=Limits)
    network: Network = field(default_factory=Network)
    readable: tuple[Path, ...] = ()
    """Folders that the code may read beside its packages, each at its own path."""

    adapter: str = ""
    """A module of the caller's own that stands between, inside the walls: names in its `SCOPE` are known to the source,
    `before(function, arguments)` returns what the function is called with, `after(value)` what its value becomes."""

    answer: Answer | None = None
    """What answers the `ask(question)` that the adapter of Python code then finds, one question after the other."""


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
