"""Vectors as they are kept and compared: of unit length, as 32-bit numbers, and their signs as bits.

The bits are looked through first: how many signs of two vectors differ tells about how far apart they lie, and a
number of Python's compares 512 of them in a tenth of a microsecond. What comes out best is compared exactly.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Sequence
from operator import mul

if sys.version_info >= (3, 12):
    from math import sumprod
else:

    def sumprod(p: Sequence[float], q: Sequence[float], /) -> float:
        """Return the sum of products, as `math` does from Python 3.12 on."""
        return float(sum(map(mul, p, q)))


SAMPLED = 4000
"""Bits that are looked at to tell how much the closest differ."""


def unit(values: Sequence[float]) -> list[float]:
    """Return a vector of the same direction and length 1.

    Raises:
        ValueError: a value is no finite number, or all are 0.
    """
    length = math.sqrt(sum(map(mul, values, values)))
    if not math.isfinite(length) or length == 0:
        raise ValueError("a vector must have finite values that are not all 0")
    return [value / length for value in values]


def packed(values: Sequence[float]) -> bytes:
    """Return a vector as 32-bit numbers, the same on every machine."""
    numbers = array("f", values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpacked(data: bytes) -> Sequence[float]:
    """Return the vector that `packed` wrote."""
    numbers = array("f")
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def signs(values: Sequence[float]) -> bytes:
    """Return one bit for each value: whether it is above 0.

    >>> signs([0.5, -0.5, 0.1]).hex()
    '05'
    """
    text = "".join(["1" if value > 0 else "0" for value in values])
    return int(text, 2).to_bytes((len(values) + 7) // 8, "big")


def closest_by_signs(wanted: int, known: Sequence[int], most: int) -> list[int]:
    """Return the places of `most` of the known bits that differ least from those wanted, and of some more, in order.

    How much those may differ is told from some thousand of them, so that all are looked at once and none is sorted.
    """
    if len(known) <= most:
        return list(range(len(known)))
    sample = sorted([(wanted ^ bits).bit_count() for bits in known[:: 1 + len(known) // SAMPLED]])
    limit = sample[min(len(sample) - 1, 3 * most * len(sample) // (2 * len(known)))]
    while True:
        found = [place for place, bits in enumerate(known) if (wanted ^ bits).bit_count() <= limit]
        if len(found) >= most:
            return found
        limit += 1 + limit // 16


def nearest_by_signs(wanted: bytes, known: Sequence[bytes], places: Sequence[int], most: int) -> list[int]:
    """Return those `most` of some places in the known bits that differ least from those wanted, the closest first."""
    number = int.from_bytes(wanted, "big")
    differing = [((number ^ int.from_bytes(known[place], "big")).bit_count(), place) for place in places]
    return [place for _, place in sorted(differing)[:most]]


def similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of the angle between two vectors of unit length and as many dimensions."""
    return float(sumprod(one, other))
