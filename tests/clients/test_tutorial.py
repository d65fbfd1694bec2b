"""The tutorial does its job through each of the four official clients, on both stores."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installs import COMPILED, HERE, node_modules, python_0_1
from letta_client import Letta

from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.scripts import run as run_script
from support.server import ServerProcess

EXAMPLES = HERE.parent.parent / "examples"


def tsx(program: str, tsconfig: str) -> list[str]:
    """Return how to run an example as it stands: `tsconfig` says which client its import means."""
    program_runner = node_modules() / "tsx" / "dist" / "cli.mjs"
    return ["node", str(program_runner), "--tsconfig", str(HERE / tsconfig), str(EXAMPLES / program)]


PROGRAMS: dict[str, Callable[[], list[str]]] = {
    "python": lambda: [sys.executable, str(EXAMPLES / "tutorial_python.py")],
    "python-0.1": lambda: [str(python_0_1()), str(EXAMPLES / "tutorial_python_0_1.py")],
    "typescript": lambda: tsx("tutorial_typescript.ts", "tsconfig.1.json"),
    "typescript-0.1": lambda: tsx("tutorial_typescript_0_1.ts", "tsconfig.0_1.json"),
}


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> list[str]:
    """The command that runs one of the four programs."""
    return PROGRAMS[request.param]()


def run(program: list[str], server: ServerProcess, home: Path, **env: str) -> str:
    """Return what the program printed; it must end well and say nothing on its error output."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "FOLKMOOT_BASE_URL": server.url, **COMPILED, **env}
    if program[0] == sys.executable:
        done = run_script(Path(program[1]), program[2:], environ=environ, folder=home)
    else:
        done = subprocess.run(
            program, cwd=home, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr + server.log()
    return done.stdout


def named(output: str, what: str) -> str:
    """Return the identifier that the program printed for a thing."""
    found = re.search(rf"{re.escape(what)}: (\S+)", output)
    assert found, f"{what} is not in:\n{output}"
    return found[1]


def shown_block(output: str) -> str:
    """Return the shared block's value as the program printed it."""
    return output.partition("==== Updated block ====\n")[2].partition("\n=======================")[0]


def assert_job_done(output: str, client: Letta) -> None:
    """The shared block has both agents' findings, and the third agent its read-only block."""
    block = client.blocks.retrieve(named(output, "Created shared block"))
    assert shown_block(output) == block.value
    assert block.value.startswith("Organization: Letta")
    assert "Agent1: " in block.value
    assert "Agent2: " in block.value
    sharers = {agent.id for agent in client.blocks.agents.list(block.id).items}
    assert sharers == {named(output, "Created agent1"), named(output, "Created agent2")}
    policies = client.agents.blocks.retrieve("policies", agent_id=named(output, "Created read-only agent"))
    assert (policies.value, policies.read_only) == ("Company Policy: Always be helpful and respectful.", True)


def test_tutorial_with_the_offline_model(
    program: list[str], server: ServerProcess, client: Letta, scripted_model: ScriptedModel, tmp_path: Path
) -> None:
    output = run(program, server, tmp_path, FOLKMOOT_MODEL="offline/notetaker")
    assert_job_done(output, client)
    assert "Tool call: web_search(" in output
    assert scripted_model.requests == []


def test_tutorial_with_a_model_behind_an_api(
    program: list[str], server: ServerProcess, client: Letta, scripted_model: ScriptedModel, tmp_path: Path
) -> None:
    for name in ("Agent1", "Agent2"):
        scripted_model.reply_next(insertion(f"{name}: learned a thing"))
        scripted_model.reply_next({"content": f"{name} is done."})
    output = run(program, server, tmp_path)
    assert_job_done(output, client)
    assert "Tool call: memory_insert(" in output
    assert "Agent1 response: Agent1 is done." in output
    assert "Agent2 response: Agent2 is done." in output
    assert {request["model"] for request in scripted_model.requests} == {"gpt-4o-mini"}
    assert "Agent1: learned a thing" in json.dumps(scripted_model.requests[2]["messages"])


def insertion(text: str) -> dict[str, Any]:
    """Return the model's message that inserts `text` into the tutorial's block."""
    arguments = json.dumps({"label": "organization", "new_string": text})
    function = {"name": "memory_insert", "arguments": arguments}
    return {
        "content": None,
        "tool_calls": [{"id": f"call_{text[:6]}", "type": "function", "function": function}],
    }
