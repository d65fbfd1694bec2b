"""The pace of reading files: rests are short while nobody else is at work, and long while somebody is."""

from __future__ import annotations

import asyncio

import pytest

from folkmoot.files import pace
from folkmoot.files.pace import ALONE, BESIDE_OTHERS, BUSY, REMEMBERED, Pace

PIECE = 0.1


class Clock:
    """A time that goes on only when told to, and what others use of a processor meanwhile."""

    def __init__(self) -> None:
        self.now = 100.0
        self.used = 0.0
        self.others = 0.0
        """The part of each rest for which somebody else uses a processor."""

        self.rests: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.used

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds
        self.used += seconds * self.others


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace, "time", clock)
    monkeypatch.setattr("folkmoot.files.pace.asyncio.sleep", clock.sleep)
    return clock


async def work(by: Pace, clock: Clock) -> float:
    """Do a piece of work and return the rest behind it, as a part of the piece."""
    async with by.piece():
        clock.now += PIECE
    return clock.rests[-1] / PIECE


async def test_rests_are_short_alone_and_long_beside_others_until_those_are_done(clock: Clock) -> None:
    by = Pace()
    assert await work(by, clock) == pytest.approx(ALONE)
    clock.others = 2 * BUSY
    assert await work(by, clock) == pytest.approx(ALONE), "they are seen in this rest"
    assert await work(by, clock) == pytest.approx(BESIDE_OTHERS)
    clock.others = 0.0
    assert await work(by, clock) == pytest.approx(BESIDE_OTHERS), "who waits for a model is not done"
    clock.now += REMEMBERED
    assert await work(by, clock) == pytest.approx(ALONE)


async def test_two_jobs_share_one_pace() -> None:
    by, inside = Pace(), 0

    async def one() -> None:
        nonlocal inside
        async with by.piece():
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(one() for _ in range(4)))
