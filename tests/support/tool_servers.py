"""Servers of tools as processes: how they are started, and how a server of ours is told of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.polling import until
from support.scripts import start

HERE = Path(__file__).parent

TOOL_SERVER = HERE / "tool_server.py"
PLAIN_SERVER = HERE / "plain_tool_server.py"
FASTMCP_SERVER = HERE / "fastmcp_server.py"
FORKED_TOOL_SERVER = HERE / "forked_tool_server.py"
SIGN_IN_SERVER = HERE / "sign_in_server.py"

PATHS = {"http": "/mcp", "older-http": "/mcp", "sse": "/sse", "forks": ""}


@contextmanager
def running(script: Path, kind: str, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server over HTTP, or one that forks, and give its address."""
    environ = {**os.environ, **(env or {})}
    with TemporaryDirectory() as folder:
        said, errors = Path(folder) / "said", Path(folder) / "errors"
        process = start(script, [kind], environ=environ, output=said, errors=errors)
        try:
            until(lambda: process.poll() is not None or _printed(said))
            port = _printed(said)
            assert port.isdigit(), f"the server did not start: {errors.read_text()}"
            yield f"http://127.0.0.1:{port}{PATHS[kind]}"
        finally:
            process.kill()
            process.wait()


def _printed(said: Path) -> str:
    """Return the line that the server has printed; nothing as long as there is none."""
    line, end, _ = said.read_text().partition("\n") if said.exists() else ("", "", "")
    return line if end else ""


def program(script: Path = PLAIN_SERVER, **env: str) -> dict[str, Any]:
    """Return the configuration of a server that is a program."""
    return {"mcp_server_type": "stdio", "command": sys.executable, "args": [str(script), "stdio"], "env": env}
