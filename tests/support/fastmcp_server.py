"""A server of tools made with FastMCP, the other implementation: `python fastmcp_server.py stdio|http`."""

from __future__ import annotations

import socket
import sys

import uvicorn
from fastmcp import FastMCP

server = FastMCP("other")


@server.tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers"""
    return a * b


@server.tool(annotations={"readOnlyHint": True})
def facts(about: str) -> dict[str, str]:
    """What is known"""
    return {"about": about, "known": "nothing"}


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio", show_banner=False)
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(server.http_app(), log_level="critical")).run(sockets=[listener])
