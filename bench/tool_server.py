"""A server of tools with one tool, which answers at once: what calls through Folkmoot are held against."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

ADD = {"type": "object", "properties": {"one": {"type": "integer"}, "other": {"type": "integer"}}}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    """Return what a message of the protocol of 2025 is answered."""
    method = message["method"]
    if method == "initialize":
        info = {"name": "bench", "version": "1"}
        version = message["params"]["protocolVersion"]
        return {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}}
    if method == "tools/list":
        return {"result": {"tools": [{"name": "add", "description": "Adds.", "inputSchema": ADD}]}}
    if method == "tools/call":
        given = message["params"]["arguments"]
        return {"result": {"content": [{"type": "text", "text": str(given["one"] + given["other"])}]}}
    return {"error": {"code": -32601, "message": "no such method"}}


async def application(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[dict[str, Any]], Awaitable[None]]
) -> None:
    """Answer messages that are posted; there is nothing to get."""
    body = b""
    while (piece := await receive())["type"] == "http.request":
        body += piece["body"]
        if not piece["more_body"]:
            break
    message = json.loads(body) if scope["method"] == "POST" else {}
    status, content = (200, b"") if "id" in message else (202 if message else 405, b"")
    if "id" in message:
        content = json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer(message)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    print(f"address http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(application, lifespan="off", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
