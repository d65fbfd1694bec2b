"""The official clients of all generations make, change, run and use a tool of their own, on both stores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from installs import HERE, node_modules, python_0_1, python_1_0

from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")


def tsx(program: str, tsconfig: str) -> list[str]:
    """Return how to run a program whose import `tsconfig` leads to one of the clients."""
    return ["node", str(node_modules() / "tsx" / "dist" / "cli.mjs"), "--tsconfig", str(HERE / tsconfig), program]


PROGRAMS: dict[str, Callable[[], list[str]]] = {
    "python": lambda: [sys.executable, "own_tool_python.py"],
    "python-1.0": lambda: [str(python_1_0()), "own_tool_python.py"],
    "python-0.1": lambda: [str(python_0_1()), "own_tool_python_0_1.py"],
    "typescript": lambda: tsx("own_tool.ts", "tsconfig.1.json"),
    "typescript-0.1": lambda: tsx("own_tool_0_1.ts", "tsconfig.0_1.json"),
}


@pytest.mark.parametrize("client", PROGRAMS)
def test_a_tool_of_ones_own_through_every_client(
    client: str, server: ServerProcess, scripted_model: ScriptedModel, tmp_path: Path
) -> None:
    name = f"greet_{uuid4().hex[:12]}"
    done = subprocess.run(
        PROGRAMS[client](),
        cwd=HERE,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "FOLKMOOT_BASE_URL": server.url, "TOOL_NAME": name},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr + server.log()[-5000:]
    assert json.loads(done.stdout) == {
        "made": [name, ["who"]],
        "changed": [True, ["greeting"]],
        "listed": [True],
        "run": "Good day Ada",
        "turn": ["Good day Bo"],
        "streamed": [
            "tool_call_message",
            "tool_return_message",
            "assistant_message",
            "stop_reason",
            "usage_statistics",
        ],
        "waiting": "requires_approval",
        "approved": ["Good day Bo"],
        "deleted": 0,
    }
    assert scripted_model.violations == []
