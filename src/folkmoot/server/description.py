"""The description of the API, in OpenAPI's form, as `make openapi` wrote it into the file beside this one.

To make it takes over a second and 60 MB, which a server would spend, and keep, for the first who asks.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

FILE = Path(__file__).with_name("openapi.json")


def describe(application: FastAPI) -> str:
    """Return the text that the file has to have."""
    return json.dumps(application.openapi(), indent=1, ensure_ascii=False) + "\n"


async def description(_: Request) -> Response:
    """Answer with the file."""
    return Response(await asyncio.to_thread(FILE.read_bytes), media_type="application/json")
