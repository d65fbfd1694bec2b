"""A block's versions as a drawing: a bar for each, in its author's colour, as high as its text is long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from folkmoot.memory.history import Version
from folkmoot.web.colours import Palette

BARS = 120
"""Bars that are drawn at most; of more versions several share one, in the colour of the last of them."""

CLOSEST = 12
"""Versions that are zoomed in to at the closest."""


@dataclass(frozen=True, slots=True)
class TimelineBar:
    """One or more versions, in a drawing whose bars are 1 wide and at most 100 high."""

    x: int
    y: float
    height: float
    first: int
    last: int
    version: Version
    """The last of them."""

    colour: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The bars, and where zooming leads: the first and last version, None where it cannot go further."""

    bars: Sequence[TimelineBar]
    first: int
    last: int
    closer: tuple[int, int] | None


def timeline_of(versions: Sequence[Version], palette: Palette) -> Timeline:
    """Draw versions, the oldest first."""
    if not versions:
        return Timeline((), 0, 0, None)
    each = -(-len(versions) // BARS)
    longest = max(1, *(version.length for version in versions))
    bars = []
    for place, start in enumerate(range(0, len(versions), each)):
        some = versions[start : start + each]
        height = round(max(100 * some[-1].length / longest, 6), 1)
        colour = palette.author(some[-1].author)
        bar = TimelineBar(place, round(100 - height, 1), height, some[0].number, some[-1].number, some[-1], colour)
        bars.append(bar)
    first, last = versions[0].number, versions[-1].number
    span = last - first + 1
    closer = (last - max(span // 2, CLOSEST) + 1, last) if span > CLOSEST else None
    return Timeline(bars, first, last, closer)
