"""What is shown of a file's text: numbered lines, as many as there is room for."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

from folkmoot.files.chunks import LONGEST_LINE, lines_from
from folkmoot.files.files import File
from folkmoot.store.engine import Transaction


@dataclass(frozen=True, slots=True)
class View:
    """A part of a file's text, each line behind its number.

    `is_part` says that lines were asked for, `is_cut` that there was no room for all that was wanted.
    """

    text: str
    first_line: int
    last_line: int
    lines: int
    is_part: bool
    is_cut: bool

    def render(self) -> str:
        """Return the text below a line that says what it is; nothing of an empty file."""
        if self.lines == 0:
            return ""
        which = f"lines {self.first_line} to {self.last_line}" if self.is_part else "file start"
        rest = f"\n[There is no room for more than this, up to line {self.last_line}]" if self.is_cut else ""
        return f"[Viewing {which} (out of {self.lines} lines)]\n{self.text}{rest}"


async def view_lines(
    transaction: Transaction, file: File, first_line: int | None, last_line: int | None, characters: int
) -> View:
    """Return the lines from `first_line` up to `last_line`, the whole text where they are None.

    Args:
        transaction: where to read.
        file: whose text.
        first_line: from 1.
        last_line: the last one, itself included.
        characters: how many a view may have; its last line may be cut for that.
    """
    first = max(first_line or 1, 1)
    last = file.lines if last_line is None else min(last_line, file.lines)
    shown: list[str] = []
    left, is_cut = characters, False
    async with aclosing(lines_from(transaction, file, first)) as lines:
        async for number, line in lines:
            if number > last:
                break
            text = line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"
            entry = f"{number}: {text}"
            is_cut = len(entry) > left
            if not is_cut or not shown:
                shown.append(entry[: max(left, 0)])
            if is_cut:
                break
            left -= len(entry) + 1
    is_part = first_line is not None or last_line is not None
    return View("\n".join(shown), first, first + len(shown) - 1, file.lines, is_part, is_cut)
