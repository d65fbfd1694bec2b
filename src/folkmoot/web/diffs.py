"""The lines of a block's version as they are shown: who wrote each, and what the version before had instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from folkmoot.memory.edits import bare_lines
from folkmoot.memory.history import Version, WrittenLine

DIFFED_PAIRS = 250_000
"""`difflib` gets old and new lines when their numbers multiplied are at most this."""


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A line with its writer; one that the version before had and this one has not is `gone`, and has none.

    `cut` stands for lines that are left out, whose number is its own.
    """

    kind: Literal["same", "added", "gone", "cut"]
    text: str
    number: int | None = None
    version: Version | None = None


def with_blame(lines: Sequence[WrittenLine], after: int = 0) -> list[ShownLine]:
    """Return a version's lines behind the first `after`, each with its writer."""
    return [
        ShownLine("same", line.text.rstrip("\r\n"), number, line.version)
        for number, line in enumerate(lines, after + 1)
    ]


def with_changes(before: str, lines: Sequence[ShownLine]) -> list[ShownLine]:
    """Return a version's lines, those that are new in it marked, and between them those that it no longer has."""
    old, new = bare_lines(before), [line.text for line in lines]
    shown: list[ShownLine] = []
    for kind, start, end, new_start, new_end in opcodes(old, new):
        if kind != "equal":
            shown += [ShownLine("gone", text) for text in old[start:end]]
        mark: Literal["same", "added"] = "same" if kind == "equal" else "added"
        shown += [ShownLine(mark, line.text, line.number, line.version) for line in lines[new_start:new_end]]
    return shown


def around_changes(before: str, after: str, around: int = 2) -> list[ShownLine]:
    """Return what is new and what is gone in a text, with `around` lines of what stayed on either side."""
    whole = [ShownLine("same", text, number) for number, text in enumerate(bare_lines(after), 1)]
    lines = with_changes(before, whole)
    near: set[int] = set()
    for place, line in enumerate(lines):
        if line.kind != "same":
            near.update(range(place - around, place + around + 1))
    shown: list[ShownLine] = []
    for place, line in enumerate(lines):
        if place in near:
            shown.append(line)
        elif shown and shown[-1].kind == "cut":
            shown[-1] = ShownLine("cut", "", (shown[-1].number or 0) + 1)
        else:
            shown.append(ShownLine("cut", "", 1))
    return shown


def opcodes(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield what became of the lines of a text, as `difflib` does; what is too much for it is one replacement."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    old_end, new_end = len(old) - tail, len(new) - tail
    yield "equal", 0, head, 0, head
    if (old_end - head) * (new_end - head) <= DIFFED_PAIRS:
        matcher = SequenceMatcher(None, old[head:old_end], new[head:new_end], autojunk=False)
        for kind, start, end, new_start, end_of_new in matcher.get_opcodes():
            yield kind, start + head, end + head, new_start + head, end_of_new + head
    else:
        yield "replace", head, old_end, head, new_end
    yield "equal", old_end, len(old), new_end, len(new)
