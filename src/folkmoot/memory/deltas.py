r"""Deltas: how a history row stores a version as its difference from the version before.

A delta is JSON text: a list of splices `[start, end, replacement]`. Characters `start` to `end` (code points
of the OLD text, end excluded) make way for `replacement`. Splices are in order and do not overlap.

    old         new         delta
    "a\nb"      "a\nb\nc"   [[3,3,"\nc"]]
    "one two"   "one 2"     [[4,7,"2"]]
    "same"      "same"      []

A delta goes forward only: `apply_delta(old, encode(old, new)) == new`. `encode` writes one splice, what is
left between the longest common prefix and suffix: one edit nearly always touches one place, and it takes
linear time. `apply_delta` takes any number of splices.
"""

from __future__ import annotations

import json
from typing import TypeGuard


def encode(old: str, new: str) -> str:
    """Return the delta that turns `old` into `new`."""
    if old == new:
        return "[]"
    start = common_prefix(old, new)
    kept = _common_suffix(old, new, min(len(old), len(new)) - start)
    splice = [start, len(old) - kept, new[start : len(new) - kept]]
    return json.dumps([splice], ensure_ascii=False, separators=(",", ":"))


def apply_delta(old: str, delta: str) -> str:
    """Return the new text, or raise a ValueError when `delta` is none against a text of this length."""
    pieces: list[str] = []
    at = 0
    for start, at_next, replacement in splices_of(delta, len(old)):
        pieces += (old[at:start], replacement)
        at = at_next
    pieces.append(old[at:])
    return "".join(pieces)


def splices_of(delta: str, length: int) -> list[tuple[int, int, str]]:
    """Return the delta's splices, or raise a ValueError when it is none against a text of this length."""
    splices = json.loads(delta)
    if type(splices) is not list:
        raise ValueError(f"a delta is a list of splices, not {delta[:80]}")
    at = 0
    for splice in splices:
        if not _is_splice(splice) or not at <= splice[0] <= splice[1] <= length:
            raise ValueError(f"{str(splice)[:80]} is no splice after character {at} of {length}")
        at = splice[1]
    return [(start, end, replacement) for start, end, replacement in splices]


def _is_splice(value: object) -> TypeGuard[tuple[int, int, str]]:
    return isinstance(value, list) and [type(part) for part in value] == [int, int, str]


def common_prefix(one: str, two: str) -> int:
    """Return how many characters both start with: a binary search, each step on half of what is left."""
    low, high = 0, min(len(one), len(two))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_suffix(one: str, two: str, most: int) -> int:
    """Return how many characters both end with, up to `most`."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if one[len(one) - middle : len(one) - low] == two[len(two) - middle : len(two) - low]:
            low = middle
        else:
            high = middle - 1
    return low
