"""Servers of tools as processes: how they are started, and how a server of ours is told of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

TOOL_SERVER = HERE / "tool_server.py"
PLAIN_SERVER = HERE / "plain_tool_server.py"
FASTMCP_SERVER = HERE / "fastmcp_server.py"
SIGN_IN_SERVER = HERE / "sign_in_server.py"

PATHS = {"http": "/mcp", "older-http": "/mcp", "sse": "/sse"}


@contextmanager
def running(script: Path, kind: str, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server over HTTP and give its address."""
    process = subprocess.Popen(
        [sys.executable, str(script), kind], stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port.isdigit(), "the server did not start"
        yield f"http://127.0.0.1:{port}{PATHS[kind]}"
    finally:
        process.kill()
        process.communicate()


def program(script: Path = PLAIN_SERVER, **env: str) -> dict[str, Any]:
    """Return the configuration of a server that is a program."""
    return {"mcp_server_type": "stdio", "command": sys.executable, "args": [str(script), "stdio"], "env": env}
