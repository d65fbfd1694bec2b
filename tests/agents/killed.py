"""A process that deletes and kills itself before the third piece: `python killed.py DATABASE KIND IDENTIFIER`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from folkmoot.agents import deletion
from folkmoot.identifiers import ORGANIZATION
from folkmoot.memory.authors import Author
from folkmoot.store.opening import open_store


async def main(database: str, kind: str, what: str) -> None:
    """Delete until the third piece."""
    delete_piece, count = deletion._delete_piece, 0

    async def counted(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return await delete_piece(*given)

    store = (await open_store(database, 10)).of(ORGANIZATION)
    deletion._delete_piece = counted
    by = [Author("api", name="test")] if kind == "remove_agent" else []
    await getattr(deletion, kind)(store, what, *by)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
