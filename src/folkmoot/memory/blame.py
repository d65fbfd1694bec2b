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
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

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
