"""Small drawings, as the numbers that a template puts into an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from folkmoot.agents.steps import StoredStep
from folkmoot.runs.runs import Run

MINUTE = 60_000_000


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar in a drawing that is 100 high."""

    x: int
    y: float
    height: float
    count: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar that is 100 wide."""

    name: str
    tokens: int
    x: float
    width: float


def bars_per_minute(times: Sequence[int], now: int, minutes: int) -> list[Bar]:
    """Return a bar for each of the last minutes, the oldest first, as high as there were edits in it.

    >>> [bar.count for bar in bars_per_minute([MINUTE * 9], MINUTE * 10, 3)]
    [0, 1, 0]
    """
    counts = [0] * minutes
    for time in times:
        age = (now - time) // MINUTE
        if 0 <= age < minutes:
            counts[minutes - 1 - age] += 1
    largest = max(1, *counts)
    heights = [max(4.0, 100 * count / largest) if count else 2.0 for count in counts]
    return [
        Bar(place, round(100 - height, 1), round(height, 1), count)
        for place, (height, count) in enumerate(zip(heights, counts, strict=True))
    ]


@dataclass(frozen=True, slots=True)
class Span:
    """When a step's model and its tools worked, in a drawing that is 100 wide."""

    x: float
    model: float
    tools: float


def spans_of(run: Run, steps: Sequence[StoredStep]) -> list[Span]:
    """Return when the steps of a run took place, between its beginning and its last step."""
    if not steps:
        return []
    begun = min(run.started_at or run.created_at, steps[0].created_at - steps[0].duration - steps[0].tool_duration)
    whole = max(steps[-1].created_at - begun, 1)
    return [
        Span(
            round(100 * max(step.created_at - step.duration - step.tool_duration - begun, 0) / whole, 2),
            round(max(100 * step.duration / whole, 0.8), 2),
            round(100 * step.tool_duration / whole, 2),
        )
        for step in steps
    ]


def parts_of(window: int, tokens: Sequence[tuple[str, int]]) -> list[Part]:
    """Return the parts of a context window side by side; each that is not empty can be seen."""
    parts: list[Part] = []
    x = 0.0
    for name, count in tokens:
        width = max(0.6, 100 * count / max(window, 1)) if count else 0.0
        width = min(width, 100 - x)
        parts.append(Part(name, count, round(x, 2), round(width, 2)))
        x += width
    return parts
