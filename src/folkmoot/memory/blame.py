r"""Blame: which version last wrote each line of a block.

The approach is the one of `cvs annotate`, forwards: replay the versions from the oldest on; a line that the
diff finds again keeps its version, every other line of the new text gets the new version. (`git blame` walks
the same diffs backwards.) A line is found again when its characters are, whatever its ending: adding a line
after `"b"` turns that last line into `"b\n"`, and its writer stays its writer. A line that moves, or that a
revert brings back, counts as written anew.

The diff is `difflib`'s, on what is left between the lines common to both ends, so that a small edit costs
little. `difflib` takes cubic time on long repetitive texts: where much is left, each line is sought where it
last stands in the new text, the longest rising run of such pairs gives anchors (as in patience diff), and the
gaps between them are diffed; a gap that is still large counts as rewritten.

`blame` takes whole texts. `LineHistory` takes the changes between them and gives the same: it looks at the lines that
a change touches and leaves the others where they are, so that ten thousand edits of a megabyte take a second or two.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from folkmoot.memory.deltas import splices_of
from folkmoot.memory.edits import bare_lines, split_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_DIFFED_PAIRS = 100_000
"""`difflib` gets old and new lines when their numbers multiplied are at most this: below half a second."""


@dataclass(frozen=True, slots=True)
class BlameLine:
    """A line with its ending, and the version that last wrote it."""

    version: int
    text: str


@dataclass(frozen=True, slots=True)
class Blame:
    r"""What has been replayed so far: the text, and the version of each of its lines.

    Keep one to go on from later: `Blame().advance(1, "a").advance(2, "a\nb").lines()` gives
    `[BlameLine(1, "a\n"), BlameLine(2, "b")]`.
    """

    text: str = ""
    versions: tuple[int, ...] = ()

    def advance(self, version: int, new_text: str) -> Blame:
        """Return the blame after the next version."""
        old, new = bare_lines(self.text), bare_lines(new_text)
        versions = [version] * len(new)
        for start, new_start, size in _matches(old, new):
            versions[new_start : new_start + size] = self.versions[start : start + size]
        return Blame(new_text, tuple(versions))

    def lines(self) -> list[BlameLine]:
        """Return the lines; their texts joined are the text."""
        return [BlameLine(*pair) for pair in zip(self.versions, split_lines(self.text), strict=True)]


def blame(versions: Iterable[tuple[int, str]]) -> list[BlameLine]:
    """Return the lines of the last text. `versions` are (version, text) pairs, the oldest first."""
    state = Blame()
    for version, text in versions:
        state = state.advance(version, text)
    return state.lines()


_CHUNK = 512
"""Lines that are kept together, about: a change looks for its place chunk by chunk, then line by line."""


@dataclass(slots=True)
class _Chunk:
    """Some lines that follow each other, with their endings, the version of each, and their characters."""

    lines: list[str]
    versions: list[int]
    length: int


class LineHistory:
    """The lines of a text and the version that last wrote each, as one change follows the other."""

    def __init__(self) -> None:
        """Start with an empty text."""
        self._chunks: list[_Chunk] = []
        self.length = 0

    def set_text(self, version: int, text: str) -> None:
        """Go on to a version whose whole text is `text`."""
        blamed = Blame(self.text(), tuple(self._versions())).advance(version, text)
        self._chunks = _chunked(split_lines(text), list(blamed.versions))
        self.length = len(text)

    def change(self, version: int, delta: str) -> None:
        """Go on to a version that differs from the one before by `delta`.

        Raises:
            ValueError: it is no delta against this text.
        """
        splices = splices_of(delta, self.length)
        if not splices:
            return
        start, end, replacement = splices[0]
        if len(splices) > 1 or not self._splice(version, start, end, replacement):
            text = self.text()
            for start, end, replacement in reversed(splices):
                text = text[:start] + replacement + text[end:]
            self.set_text(version, text)

    def text(self) -> str:
        """Return the whole text."""
        return "".join(line for chunk in self._chunks for line in chunk.lines)

    def count(self) -> int:
        """Return how many lines there are."""
        return sum(len(chunk.lines) for chunk in self._chunks)

    def lines(self, after: int, limit: int) -> list[BlameLine]:
        """Return `limit` lines behind the first `after`."""
        found: list[BlameLine] = []
        for chunk in self._chunks:
            if after < len(chunk.lines):
                upto = after + limit - len(found)
                found += map(BlameLine, chunk.versions[after:upto], chunk.lines[after:upto])
            after = max(after - len(chunk.lines), 0)
            if len(found) >= limit:
                break
        return found

    def _versions(self) -> Iterator[int]:
        for chunk in self._chunks:
            yield from chunk.versions

    def _splice(self, version: int, start: int, end: int, replacement: str) -> bool:
        """Replace characters and blame the lines that they touch; False when more than these must be looked at."""
        first, base = self._chunk_at(start, 0, 0)
        last, _ = self._chunk_at(end, first, base)
        touched = self._chunks[first : last + 1]
        lines = [line for chunk in touched for line in chunk.lines]
        versions = [number for chunk in touched for number in chunk.versions]
        top, place = _line_at(lines, start - base)
        bottom, _ = _line_at(lines, end - base)
        bottom = min(bottom + 1, len(lines))
        before = "".join(lines[top:bottom])
        after = before[: start - base - place] + replacement + before[end - base - place :]
        at = start - base - place
        if "\r" in (before[at : at + 1], after[at : at + 1]) and (bottom < len(lines) or last + 1 < len(self._chunks)):
            return False  # only an ending may differ there, so that equal lines may go on below
        old, new = bare_lines(before), bare_lines(after)
        written = [version] * len(new)
        for old_at, new_at, size in _matches(old, new):
            written[new_at : new_at + size] = versions[top + old_at : top + old_at + size]
        lines[top:bottom], versions[top:bottom] = split_lines(after), written
        self._chunks[first : last + 1] = _chunked(lines, versions)
        self.length += len(after) - len(before)
        return True

    def _chunk_at(self, place: int, number: int, base: int) -> tuple[int, int]:
        """Return the chunk, from `number` on, in which a character stands, and where that chunk begins."""
        while number + 1 < len(self._chunks) and place >= base + self._chunks[number].length:
            base += self._chunks[number].length
            number += 1
        return number, base


def _line_at(lines: Sequence[str], place: int) -> tuple[int, int]:
    """Return the line in which a character stands, and where that line begins; an unended last line takes the end."""
    base = 0
    for number, line in enumerate(lines):
        if place < base + len(line) or (number + 1 == len(lines) and not line.endswith("\n")):
            return number, base
        base += len(line)
    return len(lines), base


def _chunked(lines: Sequence[str], versions: Sequence[int]) -> list[_Chunk]:
    """Return lines in chunks; a few too many stay in one."""
    size = _CHUNK if len(lines) > 2 * _CHUNK else len(lines) or 1
    return [
        _Chunk(list(some), list(versions[at : at + size]), sum(map(len, some)))
        for at in range(0, len(lines), size)
        if (some := lines[at : at + size])
    ]


def _matches(old: Sequence[str], new: Sequence[str], *, gap: bool = False) -> Iterator[tuple[int, int, int]]:
    """Yield (start in old, start in new, size) of equal runs, in order; a `gap` lies between anchors."""
    head = _common_prefix(old, new)
    tail = _common_suffix(old[head:], new[head:])
    yield 0, 0, head
    old_rest, new_rest = old[head : len(old) - tail], new[head : len(new) - tail]
    found: Iterable[tuple[int, int, int]] = ()
    if len(old_rest) * len(new_rest) <= _DIFFED_PAIRS:
        found = SequenceMatcher(None, old_rest, new_rest, autojunk=False).get_matching_blocks()
    elif not gap:
        found = _matches_in_gaps(old_rest, new_rest)
    for start, new_start, size in found:
        yield start + head, new_start + head, size
    yield len(old) - tail, len(new) - tail, tail


def _matches_in_gaps(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    start = new_start = 0
    for end, new_end in [*_anchors(old, new), (len(old), len(new))]:
        for at, new_at, size in _matches(old[start:end], new[new_start:new_end], gap=True):
            yield start + at, new_start + new_at, size
        start, new_start = end, new_end


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Return the longest run, rising on both sides, of (place in old, last place in new) of a line."""
    places = {line: at for at, line in enumerate(new)}
    pairs = [(at, places[line]) for at, line in enumerate(old) if line in places]
    ends: list[int] = []  # the smallest new place that an ordered run of each length ends in
    runs: list[int] = []  # the pair that has it
    before: list[int] = []
    for index, (_, new_at) in enumerate(pairs):
        length = bisect_left(ends, new_at)
        before.append(runs[length - 1] if length else -1)
        ends[length : length + 1] = [new_at]
        runs[length : length + 1] = [index]
    chain: list[tuple[int, int]] = []
    index = runs[-1] if runs else -1
    while index >= 0:
        chain.append(pairs[index])
        index = before[index]
    return chain[::-1]


def _common_prefix(one: Sequence[str], two: Sequence[str]) -> int:
    """Return how many lines both start with: a binary search, each step on half of what is left."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_suffix(one: Sequence[str], two: Sequence[str]) -> int:
    return _common_prefix(one[::-1], two[::-1])
