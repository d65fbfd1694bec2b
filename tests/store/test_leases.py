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
