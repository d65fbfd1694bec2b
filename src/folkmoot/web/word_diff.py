"""Two texts side by side, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from folkmoot.memory.edits import bare_lines
from folkmoot.web.diffs import opcodes

AROUND = 3
"""Lines of what stayed that are shown on either side of a change."""

WORDS_COMPARED = 400
"""Words of a line up to which it is compared word by word."""

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a line, and whether the other line does not have it."""

    text: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """A line as one of the two texts has it."""

    number: int
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Row:
    """Lines that stand beside each other. `change` numbers the changes from 1, at the first row of each.

    A row of the kind `cut` stands for `count` lines that both have.
    """

    kind: Literal["same", "changed", "cut"]
    left: Side | None = None
    right: Side | None = None
    change: int | None = None
    count: int = 0


def side_by_side(before: str, after: str) -> list[Row]:
    """Return the rows of two texts beside each other; of what both have only what is near a change."""
    old, new = bare_lines(before), bare_lines(after)
    rows: list[Row] = []
    changes = 0
    for kind, start, end, new_start, new_end in opcodes(old, new):
        if kind == "equal":
            rows += [_same(start + at, new_start + at, old[start + at]) for at in range(end - start)]
            continue
        changes += 1
        for at in range(max(end - start, new_end - new_start)):
            left = old[start + at] if start + at < end else None
            right = new[new_start + at] if new_start + at < new_end else None
            pieces = _word_by_word(left, right)
            rows.append(
                Row(
                    "changed",
                    None if left is None else Side(start + at + 1, pieces[0]),
                    None if right is None else Side(new_start + at + 1, pieces[1]),
                    changes if at == 0 else None,
                )
            )
    return list(_near_changes(rows))


def changes_in(rows: Sequence[Row]) -> int:
    """Return how many changes rows show."""
    return max((row.change or 0 for row in rows), default=0)


def line_counts(before: str, after: str) -> tuple[int, int]:
    r"""Return how many lines an edit put into a text, and how many it took out.

    >>> line_counts("a\nb\nc", "a\nB\nnew\nc")
    (2, 1)
    """
    changed = [code for code in opcodes(bare_lines(before), bare_lines(after)) if code[0] != "equal"]
    added = sum(new_end - new_start for _, _, _, new_start, new_end in changed)
    return added, sum(end - start for _, start, end, _, _ in changed)


def _same(place: int, new_place: int, text: str) -> Row:
    pieces = [Piece(text)]
    return Row("same", Side(place + 1, pieces), Side(new_place + 1, pieces))


def _word_by_word(left: str | None, right: str | None) -> tuple[list[Piece], list[Piece]]:
    if left is None or right is None:
        return [Piece(left or "", changed=True)], [Piece(right or "", changed=True)]
    old, new = _WORDS.findall(left), _WORDS.findall(right)
    if len(old) > WORDS_COMPARED or len(new) > WORDS_COMPARED:
        return [Piece(left, changed=True)], [Piece(right, changed=True)]
    before: list[Piece] = []
    after: list[Piece] = []
    for kind, start, end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if start < end:
            before.append(Piece("".join(old[start:end]), kind != "equal"))
        if new_start < new_end:
            after.append(Piece("".join(new[new_start:new_end]), kind != "equal"))
    return before, after


def _near_changes(rows: Sequence[Row]) -> Iterator[Row]:
    near: set[int] = set()
    for place, row in enumerate(rows):
        if row.kind == "changed":
            near.update(range(place - AROUND, place + AROUND + 1))
    left_out = 0
    for place, row in enumerate(rows):
        if place in near:
            if left_out:
                yield Row("cut", count=left_out)
            left_out = 0
            yield row
        else:
            left_out += 1
    if left_out:
        yield Row("cut", count=left_out)
