"""A server that answers one request and dies: `python dying.py DATABASE FOLDER PLACE NUMBER METHOD PATH BODY`.

PLACE is a function, `module:name` or `module:Class.name`; the process kills itself when it is called for the so-manieth
time. The variable `MODELS` has the providers' variables.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx

from folkmoot.application import create_app
from folkmoot.settings import Settings


async def main(database: str, folder: str, place: str, number: str, method: str, path: str, body: str) -> None:
    """Answer the request until the place is reached."""
    module, _, inside = place.partition(":")
    of_class, _, name = inside.rpartition(".")
    holder: Any = importlib.import_module(module)
    if of_class:
        holder = getattr(holder, of_class)
    original, count = getattr(holder, name), 0

    def dying(*given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*given, **named)

    setattr(holder, name, dying)
    settings = Settings(database=database, data=Path(folder), tool_sandbox="off")
    application = create_app(settings, json.loads(os.environ["MODELS"]))
    transport = httpx.ASGITransport(application)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client,
    ):
        (await client.request(method, path, json=json.loads(body))).raise_for_status()
        await asyncio.sleep(60)  # for the work behind


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
