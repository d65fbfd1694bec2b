"""An application that does nothing, on the same HTTP server: what the load generator is calibrated against."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

BODY = b'{"status":"ok"}'


async def application(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """Answer every request with the same few bytes."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    print(f"address http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(application, lifespan="off", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
