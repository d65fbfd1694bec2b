"""Putting ranked lists together: reciprocal rank fusion, which needs no scores that can be compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)

SMOOTHING = 60
"""How little the first places count more than the next ones; the usual figure."""


def fused(rankings: Iterable[Sequence[T]]) -> dict[T, float]:
    """Return each item's score, the best first: the sum of 1 / (60 + rank) over the lists that have it.

    >>> list(fused([["a", "b"], ["b", "c"]]))
    ['b', 'a', 'c']
    """
    scores: dict[T, float] = defaultdict(float)
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] += 1 / (SMOOTHING + rank)
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
