"""What a process does again and again goes on, whatever went wrong in a round."""

from __future__ import annotations

import asyncio

import pytest

from folkmoot.errors import StoreUnavailable
from folkmoot.store import leases
from support.polling import PATIENCE


async def test_a_round_that_fails_is_logged_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PAUSE_SECONDS", 0)
    faults, reached = [StoreUnavailable("The database is away."), ValueError("odd")], asyncio.Event()

    async def work() -> None:
        if faults:
            raise faults.pop(0)
        reached.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(leases.again_and_again("Leases could not be extended", work))
    waiting = asyncio.create_task(reached.wait())
    await asyncio.wait((task, waiting), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    assert not task.done(), "it goes on"
    task.cancel()
    told = [(record.getMessage(), record.exc_info is not None) for record in caplog.records]
    assert told == [
        ("Leases could not be extended: The database is away.", False),
        ("Leases could not be extended", True),
    ]


async def test_what_keeps_failing_is_told_once_in_a_while(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is away for an hour would fill the log, a line a second of each thing that a process does."""
    monkeypatch.setattr(leases, "PAUSE_SECONDS", 0)
    outcomes: list[str | None] = ["It is away."] * 50 + ["It starts."] * 50 + [None] + ["It starts."] * 50
    reached = asyncio.Event()

    async def work() -> None:
        if not outcomes:
            reached.set()
            await asyncio.Event().wait()
        if (why := outcomes.pop(0)) is not None:
            raise StoreUnavailable(why)

    task = asyncio.create_task(leases.again_and_again("In vain", work))
    async with asyncio.timeout(PATIENCE):
        await reached.wait()
    task.cancel()
    told = [record.getMessage() for record in caplog.records]
    assert told == ["In vain: It is away.", "In vain: It starts.", "In vain: It starts."]
