"""The official TypeScript client of the 1.x line streams, resumes, cancels, approves and runs a tool of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from installs import HERE, node_modules

from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

END = ["stop_reason", "usage_statistics"]


def _told(server: ServerProcess, home: Path) -> dict[str, Any]:
    """Run the program and return what it told; it must end well."""
    tsx = node_modules() / "tsx" / "dist" / "cli.mjs"
    done = subprocess.run(
        ["node", str(tsx), "--tsconfig", str(HERE / "tsconfig.1.json"), str(HERE / "streaming.ts")],
        cwd=HERE,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "FOLKMOOT_BASE_URL": server.url},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr + server.log()[-5000:]
    lines = (line.partition(": ") for line in done.stdout.splitlines())
    return {what: json.loads(value) for what, _, value in lines}


def test_streams_through_the_typescript_client(
    server: ServerProcess, scripted_model: ScriptedModel, tmp_path: Path
) -> None:
    with scripted_model.hold(matching="HOLD"):
        told = _told(server, tmp_path)
    turn = ["ping", "tool_call_message", "tool_return_message", "assistant_message", *END]
    assert told == {
        "whole": turn,
        "whole text": "one two three",
        "tokens": turn,
        "tokens text": "one two three",
        "pieces": True,
        "followed": turn,
        "resumed": True,
        "run": "completed",
        "left and resumed": turn,
        "waiting": "requires_approval",
        "approved": ["ping", "tool_return_message", "assistant_message", *END],
        "client tool": ["tool_return_message", "assistant_message"],
        "cancelled": ["cancelled"],
        "cancelled stream": ["ping", "stop_reason"],
        "and on": "and on",
    }
