"""A read of a block as the bare framework does it: a handler that answers with a model, and nothing behind it."""

from __future__ import annotations

import socket

from fastapi import FastAPI
from pydantic import BaseModel


class Block(BaseModel):
    """As many fields as a block has at the least."""

    id: str
    label: str
    value: str
    limit: int
    version: int
    read_only: bool = False
    description: str | None = None
    tags: list[str] = []


application = FastAPI()


@application.get("/v1/blocks/{block_id}")
async def read(block_id: str) -> Block:
    """Answer with a block that is made up."""
    return Block(id=block_id, label="shared", value="x" * 200, limit=100_000, version=1)


if __name__ == "__main__":
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    print(f"address http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(application, lifespan="off", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
