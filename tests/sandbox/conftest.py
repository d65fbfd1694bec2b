"""Sandboxes that the tests of this folder share, with a loop that they live in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from folkmoot.sandbox.calls import Call, Mode, Result
from folkmoot.sandbox.sandbox import Sandbox


class Running:
    """Runs calls in sandboxes that are made when first needed."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.sandboxes: dict[Mode, Sandbox] = {}

    def __call__(self, call: Call, mode: Mode = "strict") -> Result:
        """Run one call."""
        if mode not in self.sandboxes:
            self.sandboxes[mode] = Sandbox(mode)
        return self.runner.run(self.sandboxes[mode].run(call))

    def all(self, sandbox: Sandbox, calls: Sequence[Call]) -> list[Result]:
        """Run calls at once in a sandbox that is closed behind them."""

        async def together() -> list[Result]:
            try:
                results = await asyncio.gather(*(sandbox.run(call) for call in calls), return_exceptions=True)
                for result in results:
                    if isinstance(result, BaseException):
                        raise result
                return [result for result in results if isinstance(result, Result)]
            finally:
                await sandbox.close()

        return self.runner.run(together())


@pytest.fixture(scope="module")
def run() -> Iterator[Running]:
    """Run a call in a sandbox that this module's tests share."""
    with asyncio.Runner() as runner:
        running = Running(runner)
        yield running
        for sandbox in running.sandboxes.values():
            runner.run(sandbox.close())
