"""The server of tools that ran beside the recorded one: `python counter_server.py stdio|http`; http prints its port."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("counter")


@server.tool()
def mcp_add(a: int, b: int) -> int:
    """Add two numbers"""
    return a + b


@server.tool()
def shout(word: str, times: int = 1) -> str:
    """Shout a word"""
    return f"{word.upper()}!" * times


@server.tool()
def fails(x: str = "y") -> str:
    """Always fails"""
    raise ToolError(f"mock failure {x}")


@server.tool()
def env_value(key: str) -> str:
    """Environment value"""
    return os.environ.get(key, "unset")


@server.tool()
def record_of(name: str) -> dict[str, Any]:
    """Returns a record"""
    return {"name": name, "n": 2}


@server.tool()
def opt_list(items: list[str] | None = None) -> str:
    """Optional list"""
    return ",".join(items) if items else "none"


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server.run("stdio")
    else:
        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="critical")).run(sockets=[listener])
