"""A process that works on jobs and kills itself at a given stage: `python killed.py DATABASE STAGE`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from steps import STEP_KIND, steps_kind

from folkmoot.jobs.worker import JobWorker
from folkmoot.store.opening import open_store


async def main(database: str, stage: str) -> None:
    """Work until the stage is reached."""

    async def die_at(reached: str) -> None:
        if reached == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    store = await open_store(database, 10)
    await JobWorker(store, {STEP_KIND: steps_kind(die_at)}, 3600).open(alone=False)
    await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
