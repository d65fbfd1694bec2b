"""The order of two columns in which few of the lines between them cross."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence

SWEEPS = 8
"""How often each column is put in order by the other; more hardly ever helps."""


def untangle(
    left: Sequence[str], right: Sequence[str], lines: Sequence[tuple[str, str]]
) -> tuple[Sequence[str], Sequence[str]]:
    """Return both columns in an order in which no more lines cross than now, and mostly far fewer.

    This is the barycentre heuristic of layered drawings (Sugiyama, Tagawa and Toda, 1981): each thing goes to the mean
    place of those that it has lines to, column by column, and the best order seen is kept. Things without lines go to
    the end; equal places keep their order, so that the same columns always come out the same.

    Args:
        left: identifiers of the left column, from the top.
        right: identifiers of the right column, from the top.
        lines: pairs of a left and a right identifier.

    >>> untangle(["a", "b"], ["x", "y"], [("a", "y"), ("b", "x")])
    (['a', 'b'], ['y', 'x'])
    """
    to_right: dict[str, list[str]] = {each: [] for each in left}
    to_left: dict[str, list[str]] = {each: [] for each in right}
    for one, other in lines:
        to_right[one].append(other)
        to_left[other].append(one)
    best, fewest = (left, right), crossings(left, right, lines)
    for _ in range(SWEEPS):
        if not fewest:
            break
        right = _by_middle(right, to_left, left)
        left = _by_middle(left, to_right, right)
        count = crossings(left, right, lines)
        if count >= fewest:
            break
        best, fewest = (left, right), count
    return best


def crossings(left: Sequence[str], right: Sequence[str], lines: Sequence[tuple[str, str]]) -> int:
    """Return how many pairs of lines cross.

    >>> crossings(["a", "b"], ["x", "y"], [("a", "y"), ("b", "x")])
    1
    """
    from_left = {each: place for place, each in enumerate(left)}
    from_right = {each: place for place, each in enumerate(right)}
    ends = [end for _, end in sorted((from_left[one], from_right[other]) for one, other in lines)]
    seen: list[int] = []
    count = 0
    for end in ends:
        count += len(seen) - bisect_right(seen, end)
        insort(seen, end)
    return count


def _by_middle(column: Sequence[str], lines: Mapping[str, Sequence[str]], other: Sequence[str]) -> list[str]:
    places = {each: place for place, each in enumerate(other)}

    def middle(each: str) -> float:
        ends = [places[end] for end in lines[each]]
        return sum(ends) / len(ends) if ends else float("inf")

    return sorted(column, key=middle)
