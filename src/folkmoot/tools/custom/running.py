"""Running source code as a tool: what it is given, and what a model is told of what came of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from folkmoot.errors import SandboxBusy, SandboxUnavailable, ToolFailed
from folkmoot.models.prompt import Image
from folkmoot.sandbox.calls import Call, Environment, Network, Result, narrowed
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.settings import Settings
from folkmoot.tools.custom.packages import Packages
from folkmoot.tools.pictures import Pictured, pictured, read_parts

LONGEST_PRINTED = 50_000
"""Characters of what a call prints that are kept, of each of both streams."""

VARIABLE_NAME = "^[A-Za-z_][A-Za-z0-9_]*$"
"""What the name of an environment variable looks like, as a regular expression."""

_PYTHON_CLIENT = "letta_client", "letta-client"
_NPM_CLIENT = "@letta-ai/letta-client", "@letta-ai/letta-client"
"""What of the official client is imported, and its package."""

_TRACEBACK_LINES = 12
_MOST_RETURNED = 8_000_000
"""Bytes of what comes back as JSON: a million characters, each escaped."""


@dataclass(frozen=True, slots=True)
class Program:
    """Source code whose function is to be called."""

    source: str
    function: str
    name: str
    """What a model knows it by."""

    described: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schemas of arguments that were described apart from the source, by name."""

    packages: Packages = field(default_factory=Packages)
    """Its language and what it asks for; Python without any has those of the server."""

    limits: Mapping[str, float] = field(default_factory=dict)
    """What its calls may use at most, by the names of `calls.Limits`, where that is less than the server allows."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a call is given beside its arguments."""

    variables: Mapping[str, str] = field(default_factory=dict)
    network: Network = field(default_factory=Network)
    agent: Mapping[str, Any] | None = None
    """The agent that calls, as JSON."""

    agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class Returned:
    """What a call came to.

    `value` is what the function returned, as JSON has it; `error` why it returned nothing, for a model. `length` is
    that of a text that was returned, of which `value` may be the beginning. `blocks` are new texts of the agent's
    memory, by label.
    """

    value: Any = None
    error: str | None = None
    length: int = 0
    stdout: Sequence[str] = ()
    stderr: Sequence[str] = ()
    blocks: Mapping[str, str] = field(default_factory=dict)
    pictured: Pictured | None = None
    """The value as text and pictures, where it is parts of content."""

    @property
    def text(self) -> str:
        """What a model reads."""
        if self.error is not None:
            return self.error
        return self.pictured.text if self.pictured is not None else text_of(self.value)

    @property
    def pictures(self) -> Sequence[Image]:
        """What a model sees beside it."""
        return self.pictured.pictures if self.pictured is not None else ()


def text_of(value: Any) -> str:
    """Return a value as a model reads it.

    >>> text_of({"a": None}), text_of(None), text_of("as it is")
    ('{"a": null}', 'None', 'as it is')
    """
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


async def run_program(
    program: Program, arguments: Mapping[str, Any], around: Surroundings, sandbox: Sandbox, settings: Settings
) -> Returned:
    """Call a program's function in the sandbox; whatever the code does, this returns.

    Raises:
        ToolFailed: no code can be run here, or not now; or a variable has no name that one can have.
    """
    for name in around.variables:
        if re.fullmatch(VARIABLE_NAME, name) is None:
            raise ToolFailed(f"{program.name} could not be run: {name!r} cannot be the name of a variable.")
    seconds = settings.tool_timeout
    # Ahead of the time that a turn gives its tools, so that what was printed until then is kept.
    most = replace(sandbox.limits, seconds=max(seconds - 1, seconds / 2), value=_MOST_RETURNED)
    call = Call(
        program.source,
        program.function,
        arguments=arguments,
        variables=around.variables,
        language=program.packages.language,
        environment=_environment(program),
        limits=narrowed(most, program.limits),
        network=around.network,
    )
    try:
        result = await sandbox.run(_adapted(call, program, around))
    except (SandboxUnavailable, SandboxBusy) as error:
        raise ToolFailed(f"{program.name} could not be run: {error.message}. Nothing was done.") from error
    return _returned(program, result)


def _adapted(call: Call, program: Program, around: Surroundings) -> Call:
    """Return a call of a function with what stands between it and the server."""
    asked = {
        "arguments": dict(call.arguments),
        "agent": around.agent,
        "agent_id": around.agent_id,
        "schemas": dict(program.described),
    }
    return replace(call, arguments=asked, adapter=_adapter("inside.py" if call.language == "python" else "inside.cjs"))


def _returned(program: Program, result: Result) -> Returned:
    """Read what came back, believing nothing of it: the code may have written it itself."""
    stdout = _printed(result.stdout)
    stderr = [*_printed(result.stderr), *(f"network: {line}" for line in result.refused)]
    answer = result.value
    if result.status == "ok" and isinstance(answer, dict) and "value" in answer:
        length, blocks = answer.get("length"), answer.get("blocks")
        changed = blocks if isinstance(blocks, dict) else {}
        parts = read_parts(answer["value"])
        return Returned(
            answer["value"],
            length=length if isinstance(length, int) else 0,
            stdout=stdout,
            stderr=stderr,
            blocks={label: text for label, text in changed.items() if isinstance(text, str)},
            pictured=None if parts is None else pictured(parts),
        )
    trace = (result.error or "the program ended before the function returned").rstrip()
    said = f"TimeoutError: {trace}" if result.exceeded in ("time", "cpu") else _shortened(trace)
    refused = "".join(f"\nnetwork: {line}" for line in result.refused)
    return Returned(
        error=f"Error executing function {program.name}: {said}{refused}",
        stdout=stdout,
        stderr=[*stderr, "\n".join([trace])],
    )


def _shortened(trace: str) -> str:
    """Return a traceback as a model reads it: what was raised, and behind it the last lines of where."""
    _, mark, last = trace.rpartition("Traceback (most recent call last):\n")
    lines = (last if mark else trace).splitlines()
    place = next((number for number, line in enumerate(lines) if not line.startswith(" ")), 0)
    where = lines[:place][-_TRACEBACK_LINES:]
    return "\n".join([*lines[place:], *where])


def _printed(text: str) -> list[str]:
    """Return what was printed as the wire format has it: a list of one text, or of none."""
    if len(text) > LONGEST_PRINTED:
        text = f"{text[:LONGEST_PRINTED]}\n… ({len(text) - LONGEST_PRINTED:,} more characters were cut off)"
    return [text] if text else []


@cache
def _adapter(name: str) -> str:
    return (Path(__file__).parent / name).read_text()


def _environment(program: Program) -> Environment:
    """Return what a source can import: what it asks for, or else what the server runs on.

    Who uses the official client gets it, also where the server does without.
    """
    packages, is_python = program.packages.requirements, program.packages.language == "python"
    imported, package = _PYTHON_CLIENT if is_python else _NPM_CLIENT
    there = is_python and not packages and find_spec(imported) is not None
    if imported in program.source and not there and not any(each.startswith(package) for each in packages):
        packages = tuple(sorted({*packages, package}))
    if is_python and not packages:
        return Environment(packages=_packages())
    return Environment(requirements=packages)


@cache
def _packages() -> Path:
    """Return the folder of the packages that this server itself runs on, which tools may import."""
    import pydantic

    return Path(pydantic.__file__).parent.parent
