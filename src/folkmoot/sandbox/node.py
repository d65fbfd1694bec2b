"""Finding what runs JavaScript on this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from folkmoot.errors import SandboxUnavailable
from folkmoot.sandbox.calls import Language
from folkmoot.sandbox.requirements import Kind

OLDEST = (18, 0)
_READS_TYPES = (22, 13)
"""From here on Node takes the types out of TypeScript itself."""

AMARO = "amaro@1"
"""The package that does it in Node, for the older ones."""

_MEMORY_SHARE = 0.75
"""Of a call's memory, what its objects may take; the rest is Node's own."""

_RUNNER = Path(__file__).with_name("program.cjs")


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js of this machine."""

    path: Path
    version: tuple[int, int]

    @property
    def reads_types(self) -> bool:
        """Whether it runs TypeScript without further packages."""
        return self.version >= _READS_TYPES

    def command(self, memory: int) -> list[str]:
        """Return what starts it, for code that may have so many bytes of memory."""
        heap = max(16, int(memory * _MEMORY_SHARE) >> 20)
        return [str(self.path), f"--max-old-space-size={heap}", "-e", _RUNNER.read_text()]


@cache
def find_node() -> Node:
    """Return the machine's Node.js; it is looked for until it is found.

    Raises:
        SandboxUnavailable: there is none, or it is too old.
    """
    found = shutil.which("node")
    if found is None:
        raise SandboxUnavailable(
            "JavaScript and TypeScript cannot be run here: Node.js is not installed on the server's machine. "
            f"Install version {OLDEST[0]} or later, or write the code in Python"
        )
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False, timeout=20)  # noqa: S603
    version = re.match(r"v(\d+)\.(\d+)", told.stdout)
    node = Node(Path(found).resolve(), (int(version[1]), int(version[2])) if version is not None else (0, 0))
    if node.version < OLDEST:
        raise SandboxUnavailable(
            f"JavaScript and TypeScript cannot be run here: {found} is {told.stdout.strip() or 'not Node.js'}, and "
            f"version {OLDEST[0]} or later is needed. Install that, or write the code in Python"
        )
    return node


def packages_needed(language: Language, requirements: tuple[str, ...]) -> tuple[Kind, tuple[str, ...]]:
    """Return who installs the packages of some code, and which: those it asks for, and what its Node.js lacks.

    Raises:
        SandboxUnavailable: there is no Node.js for it.
    """
    if language == "python":
        return "pip", requirements
    if language == "typescript" and not find_node().reads_types and AMARO not in requirements:
        return "npm", (*requirements, AMARO)
    return "npm", requirements
