"""Finding lines of an agent's files by a regular expression, in a time that does not depend on the expression.

RE2 goes through a text once, whatever the expression: none takes longer and longer, as with a backtracking engine. The
texts are read some at a time, on the scans' threads, until the time is up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from folkmoot.errors import ToolFailed
from folkmoot.files.chunks import AT_ONCE, chunks_behind
from folkmoot.files.files import File
from folkmoot.files.open_files import readable_files
from folkmoot.files.views import view_lines
from folkmoot.store.engine import Row, Store, Transaction

PAGE = 20
"""Findings that are shown at once."""

MOST_CONTEXT = 20
LONGEST_PATTERN = 1000

MOST_COUNTED = 10_000
"""Findings after which no further ones are counted."""

LONGEST_REST = 1_000_000
"""Characters of an unfinished line that are looked at together with what follows."""

_VIEW = 20_000
"""Characters of a finding's lines and those around it."""


@dataclass(frozen=True, slots=True)
class Grep:
    """What is looked for: a pattern, in files whose names match `include`; the findings behind `offset` are shown."""

    pattern: str
    include: str | None
    around: int
    offset: int


@dataclass(slots=True)
class _Findings:
    """The lines that were found, and those that are shown."""

    counts: dict[str, int] = field(default_factory=dict)
    shown: list[tuple[File, int]] = field(default_factory=list)
    total: int = 0

    def add(self, file: File, lines: Sequence[int], wanted: Grep) -> None:
        for line in lines:
            if wanted.offset <= self.total < wanted.offset + PAGE:
                self.shown.append((file, line))
            self.total += 1
        if lines:
            self.counts[file.path] = self.counts.get(file.path, 0) + len(lines)


async def grep(store: Store, agent_id: str, wanted: Grep, seconds: float) -> str:
    """Return the lines of an agent's files that a pattern matches, as a model reads them.

    Args:
        store: the organisation's store.
        agent_id: whose folders.
        wanted: what to look for.
        seconds: when to stop looking.

    Raises:
        ToolFailed: the pattern cannot be used.
    """
    expression = _compiled(wanted.pattern)
    files = await store.read(lambda transaction: readable_files(transaction, agent_id))
    files = [file for file in files if wanted.include is None or _matches(file, wanted.include)]
    if not files:
        return "There are no files to look into" + (f" that match {wanted.include!r}." if wanted.include else ".")
    found, until, searched = _Findings(), time.monotonic() + seconds, 0
    for file in files:
        if not await _look_into(store, file, expression, wanted, found, until):
            break
        searched += 1
    return await _told(store, wanted, found, searched, len(files))


def _compiled(pattern: str) -> Any:
    import re2  # some megabytes of memory, for those who look for something

    if not pattern or len(pattern) > LONGEST_PATTERN:
        raise ToolFailed(f"pattern: write an expression of 1 to {LONGEST_PATTERN} characters.")
    options = re2.Options()
    options.never_nl = True  # a finding is a line, or in one
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        return re2.compile(f"(?m){pattern}", options=options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        raise ToolFailed(f"pattern: {pattern!r} cannot be used: {reason.partition(':')[0]}.") from error


def _matches(file: File, include: str) -> bool:
    return fnmatchcase(file.name.lower(), include.lower()) or fnmatchcase(file.path.lower(), include.lower())


async def _look_into(store: Store, file: File, expression: Any, wanted: Grep, found: _Findings, until: float) -> bool:
    """Look through one file; False when the time is up, or enough was found."""
    place, rest = -1, _Rest("", 1)
    while True:
        if time.monotonic() > until or found.total >= MOST_COUNTED:
            return False

        async def read(transaction: Transaction, place: int = place) -> Sequence[Row]:
            return await chunks_behind(transaction, file, place)

        def look(rows: Sequence[Row], rest: _Rest = rest) -> tuple[int | None, list[int], _Rest]:
            last = rows[-1]["place"] if len(rows) == AT_ONCE else None
            return last, *_lines_with(expression, rest, "".join(row["text"] for row in rows), is_last=last is None)

        next_place, lines, rest = await store.scan(read, look)
        found.add(file, lines, wanted)
        if next_place is None:
            return True
        place = next_place


@dataclass(frozen=True, slots=True)
class _Rest:
    """The beginning of a line whose end is not read yet, and its number."""

    text: str
    line: int


def _lines_with(expression: Any, rest: _Rest, more: str, *, is_last: bool) -> tuple[list[int], _Rest]:
    """Return the numbers of the lines in which an expression is found, and what is to be looked at with the next text.

    A line that is longer than `LONGEST_REST` is cut: each part of it counts as a line of its own there.
    """
    text = rest.text + more
    end = len(text) if is_last else text.rfind("\n") + 1
    if not is_last and len(text) - end > LONGEST_REST:
        end = len(text)
    lines: list[int] = []
    number, counted = rest.line, 0
    for match in expression.finditer(text[:end]):
        start = match.start()
        if start == end and text[:end].endswith("\n"):
            break  # behind the last line
        number += text.count("\n", counted, start)
        counted = start
        if not lines or lines[-1] != number:
            lines.append(number)
        if len(lines) > MOST_COUNTED:
            break
    return lines, _Rest(text[end:], rest.line + text.count("\n", 0, end))


async def _told(store: Store, wanted: Grep, found: _Findings, searched: int, files: int) -> str:
    if not found.total:
        more = "" if searched == files else f" The time was up after {searched} of {files} files; name fewer (include)."
        return f"No line of {searched} files matches {wanted.pattern!r}.{more}"
    most = "more than " if found.total >= MOST_COUNTED else ""
    last = wanted.offset + len(found.shown)
    head = f"{most}{found.total} lines match, in {len(found.counts)} of {files} files."
    if searched < files and not most:
        head += f" The time was up after {searched} files; name fewer (include)."
    counts = "\n".join(f"{path}: {count}" for path, count in list(found.counts.items())[:PAGE])
    if not found.shown:
        return f"{head}\n{counts}\nNone of them stands behind offset {wanted.offset}."
    rest = f" The next ones: offset={last}." if last < found.total else ""
    shown = f"Shown: {wanted.offset + 1} to {last}.{rest}"

    async def read(transaction: Transaction) -> list[str]:
        return [await _around(transaction, file, line, wanted.around) for file, line in found.shown]

    return "\n\n".join([f"{head} {shown}\n{counts}", *await store.scan(read)])


async def _around(transaction: Transaction, file: File, line: int, around: int) -> str:
    view = await view_lines(transaction, file, max(line - around, 1), line + around, _VIEW)
    marked = [f"> {each}" if each.startswith(f"{line}: ") else f"  {each}" for each in view.text.split("\n")]
    return "\n".join([f"{file.path}, line {line}", *marked])
