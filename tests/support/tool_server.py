"""A server of tools made with the official SDK: `python tool_server.py stdio|http|older-http|sse|forks`.

Over HTTP it takes any free port and prints it. `older-http` speaks the protocol of 2025 only, with sessions. While the
file that the variable `TOOL_SERVER_MORE` names is there, the server starts with one tool more, `extra`. As `forks` it
has the SDK loaded once for many: a fork of it speaks as `stdio` does with each program `forked_tool_server.py`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("mock")

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


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
    """Env var value"""
    return os.environ.get(key, "unset")


@server.tool()
def record_of(name: str) -> dict[str, Any]:
    """Returns a dict"""
    return {"name": name, "n": 2}


@server.tool()
def opt_list(items: list[str] | None = None) -> str:
    """Optional list"""
    return ",".join(items) if items else "none"


@server.tool()
def picture() -> Image:
    """Returns a picture"""
    return Image(data=PIXEL, format="png")


@server.tool()
def header_value(key: str, context: Context[Any, Any]) -> str:
    """Value of a header of the request"""
    request = context.request_context.request
    return request.headers.get(key, "unset") if request is not None else "no request"


@server.tool()
async def grow(name: str, context: Context[Any, Any]) -> str:
    """Adds a tool of this name"""
    server.add_tool(lambda: "grown", name=name, description="Grown")
    await _tell(context)
    return "grown"


@server.tool()
async def shrink(name: str, context: Context[Any, Any]) -> str:
    """Removes the tool of this name"""
    server.remove_tool(name)
    await _tell(context)
    return "shrunk"


@server.tool()
async def wait(seconds: float) -> str:
    """Answers late"""
    await asyncio.sleep(seconds)
    return "waited"


@server.tool()
def process() -> str:
    """The process that answers"""
    return str(os.getpid())


async def _tell(context: Context[Any, Any]) -> None:
    """Tell clients of both generations of the protocol."""
    await context.notify_tools_changed()
    await context.session.send_tool_list_changed()


def without_discovery(application: Any) -> Any:
    """Refuse the newer protocol, as a server does that has never heard of it."""

    async def older(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers", ()))
        if headers.get(b"mcp-protocol-version", b"") < b"2026":
            await application(scope, receive, send)
            return
        body = b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "Missing session ID"}}'
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 400, "headers": head})
        await send({"type": "http.response.body", "body": body})

    return older


def serve(application: Any) -> None:
    """Serve over HTTP, on a port that is printed."""
    uvicorn.Server(uvicorn.Config(application, log_level="critical")).run(sockets=[listening()])


def fork_for_each() -> None:
    """Speak with each who connects in a process of its own, in the environment that the first line tells."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    listener = listening()
    while True:
        connection, _ = listener.accept()
        if not os.fork():
            listener.close()
            for descriptor in (0, 1):
                os.dup2(connection.fileno(), descriptor)
            connection.close()
            environ = b"".join(iter(lambda: os.read(0, 1), b"\n"))  # and no byte more
            os.environ.clear()
            os.environ.update(json.loads(environ))
            server.run("stdio")
            os._exit(0)
        connection.close()


def listening() -> socket.socket:
    """Return a socket that listens on a port that is printed."""
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("TOOL_SERVER_PORT", "0"))))
    print(listener.getsockname()[1], flush=True)
    return listener


if __name__ == "__main__":
    if Path(os.environ.get("TOOL_SERVER_MORE", "/nonexistent")).exists():

        @server.tool()
        def extra(z: str) -> str:
            """A tool more"""
            return z

    kind = sys.argv[1]
    if kind == "stdio":
        server.run("stdio")
    elif kind == "forks":
        fork_for_each()
    elif kind == "sse":
        serve(server.sse_app())
    else:
        application = server.streamable_http_app()
        serve(application if kind == "http" else without_discovery(application))
