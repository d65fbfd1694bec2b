"""Reading a tool's source in the language that it is written in.

Python's parser lets nobody else work meanwhile, and takes a second for 200,000 characters of the worst kind: a long
source is read by a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import folkmoot
from folkmoot.errors import BadRequest
from folkmoot.tools.custom import reading, typescript
from folkmoot.tools.custom.reading import ReadTool

T = TypeVar("T")

Language: TypeAlias = Literal["python", "typescript"]

LONGEST_READ_HERE: Mapping[str, int] = {"python": 10_000, "typescript": 3_000}
"""Characters of a source that is read in this process, which takes some hundredths of a second."""

SECONDS = 30.0
"""How long another process may take."""

MOST_MEMORY = 1_000_000_000
"""Bytes of memory that it may take; the parser of TypeScript takes as many for 30,000 characters of the worst kind."""

TOO_DEEP = "source_code: it, or a schema beside it, is nested too deeply or too large to be read. Make it flatter."

_threads = ThreadPoolExecutor(2, thread_name_prefix="folkmoot-source")
"""Where requests' sources are read: two at once, so that many long ones hold up nobody but each other."""

_READ: dict[str, Callable[..., ReadTool]] = {"python": reading.read_tool, "typescript": typescript.read_tool}
_DESCRIBE: dict[str, Callable[..., tuple[str, str]]] = {
    "python": reading.describe_tool,
    "typescript": typescript.describe_tool,
}
_BOOT = """
import sys
sys.path.insert(0, sys.argv[1])
from folkmoot.tools.custom.languages import main
main()
"""


async def in_turn(work: Callable[..., T], *arguments: Any) -> T:
    """Return what reading comes to, done on a thread when its turn has come.

    Raises:
        BadRequest: what is read is nested too deeply.
    """
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, partial(work, *arguments))
    except RecursionError as error:
        raise BadRequest(TOO_DEEP) from error


def read_tool(language: Language, text: str, description: str | None = None) -> ReadTool:
    """Return what a source tells of the tool that it is; for a thread, since it takes a while.

    Args:
        language: what it is written in.
        text: the source.
        description: what the tool does, where the source does not say it.

    Raises:
        BadRequest: it cannot be read; the error names the place and the remedy.
    """
    if len(text) <= LONGEST_READ_HERE[language]:
        return _READ[language](text, description=description)
    return ReadTool(**_apart("read", language, text, {"description": description}))


def describe_tool(language: Language, text: str, name: str | None = None) -> tuple[str, str]:
    """Return the name of the function that is the tool of a source, and what is said of it; for a thread.

    Args:
        language: what it is written in.
        text: the source.
        name: the function that is meant; the last one when None or not there.

    Raises:
        BadRequest: the source cannot be read, or has no function.
    """
    if len(text) <= LONGEST_READ_HERE[language]:
        return _DESCRIBE[language](text, name)
    function, said = _apart("describe", language, text, {"name": name})
    return function, said


def _apart(what: str, language: Language, text: str, options: dict[str, Any]) -> Any:
    """Have another process read a source; return what it found."""
    asked = json.dumps({"what": what, "language": language, "text": text, "options": options})
    root = str(Path(folkmoot.__file__).parent.parent)
    try:
        command = [sys.executable, "-I", "-c", _BOOT, root]
        done = subprocess.run(command, input=asked.encode(), stdout=-1, check=True, timeout=SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise BadRequest(f"source_code: it takes over {SECONDS:g} seconds to read. Make it smaller.") from error
    except subprocess.CalledProcessError as error:
        raise BadRequest(TOO_DEEP) from error
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise BadRequest(answer["error"], **answer["extra"])
    return answer["found"]


def main() -> None:
    """Be the process that reads one source: what is asked comes over standard input, what was found goes out."""
    for kind, most in ((resource.RLIMIT_AS, MOST_MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # elsewhere than on Linux, kernels may know no such bound
            resource.setrlimit(kind, (most, most))
    asked = json.loads(sys.stdin.buffer.read())
    try:
        if asked["what"] == "read":
            read = _READ[asked["language"]](asked["text"], **asked["options"])
            found: Any = {"name": read.name, "description": read.description, "parameters": read.parameters}
        else:
            found = _DESCRIBE[asked["language"]](asked["text"], **asked["options"])
        answer = {"found": found}
    except BadRequest as error:
        answer = {"error": error.message, "extra": error.extra}
    sys.stdout.write(json.dumps(answer))
