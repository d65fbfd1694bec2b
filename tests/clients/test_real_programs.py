"""Programs that others wrote run against a real server as they come from their registries.

`docs/programs.md` lists them, with those whose recorded calls `tests/contract/test_programs.py` makes again.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from installs import COMPILED, HERE, agentic_learning, letta_code, node_modules
from letta_client import Letta

from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, StartServer
from support.polling import PATIENCE
from support.scripted_model import ScriptedModel
from support.server import ServerProcess

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


Run = Callable[..., str]


@pytest.fixture
def run(server: ServerProcess, tmp_path: Path) -> Run:
    """Run a program and return what it printed; it must end well, and say nothing on its error output."""

    def run(command: Sequence[str | Path], *, cwd: Path = tmp_path, **env: str) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "FOLKMOOT_BASE_URL": server.url, **COMPILED, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        said = done.stdout + done.stderr + server.log()[-5000:]
        assert done.returncode == 0, said
        assert not done.stderr, said
        return done.stdout

    return run


def facts(output: str) -> dict[str, Any]:
    """Return what a program told, a fact a line."""
    lines = (line.partition(": ") for line in output.splitlines())
    return {what: json.loads(value) for what, _, value in lines}


def test_letta_code_makes_an_agent_talks_to_it_and_finds_what_was_said(
    run: Run, server: ServerProcess, client: Letta, scripted_model: ScriptedModel
) -> None:
    letta = letta_code()
    env = {"LETTA_BASE_URL": server.url, "LETTA_API_KEY": "unused", "DISABLE_AUTOUPDATER": "1"}
    headless = ["--output-format", "json", "--new-agent", "--model", MODEL, "--base-tools", "memory,web_search"]
    turn = json.loads(run([letta, "-p", "ECHO the plover sings", *headless], **env))
    assert (turn["subtype"], turn["is_error"], turn["result"]) == ("success", False, "the plover sings")

    agent = client.agents.retrieve(turn["agent_id"])
    assert {"memory", "web_search"} <= {tool.name for tool in agent.tools}
    offered = scripted_model.requests[0]["tools"]
    assert "exec_command" in {tool["function"]["name"] for tool in offered}, "the program's own tools are offered too"
    assert "\n- `creating-skills` (" in scripted_model.requests[0]["messages"][0]["content"], "and so are its skills"

    again = json.loads(
        run([letta, "-p", "CALL conversation_search {}\nTHEN ECHO on", "--agent", agent.id, *headless[:2]], **env)
    )
    assert (again["result"], again["agent_id"]) == ("on", agent.id)

    found = json.loads(run([letta, "messages", "search", "--query", "plover", "--agent", agent.id], **env))
    assert "the plover sings" in [message["content"] for message in found]
    listed = json.loads(run([letta, "agents", "list", "--query", agent.name], **env))
    assert agent.id in [each["id"] for each in listed["items"]]


def test_letta_codes_commands_that_need_no_channel(
    run: Run, start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    letta, server = letta_code(), start_server(env={"FOLKMOOT_PRIVATE_PROVIDERS": "true"})
    env = {"LETTA_BASE_URL": server.url, "LETTA_API_KEY": "unused", "DISABLE_AUTOUPDATER": "1"}
    with plain_client(server.url) as http:
        agent = http.post("/v1/agents", json={"model": MODEL}).json()["id"]
        daily = {"type": "recurring", "cron_expression": "0 9 * * *"}
        said = {"messages": [{"role": "user", "content": "Tidy up."}], "schedule": daily, "name": "morning"}
        made = http.post(f"/v1/agents/{agent}/schedule", json=said).json()["id"]
        (listed,) = json.loads(run([letta, "cron", "list", "--agent", agent], **env))
        assert (listed["id"], listed["prompt"], listed["name"]) == (made, "Tidy up.", "morning")
        assert listed["schedule"]["cron_expression"] == "0 9 * * *"
        shown = json.loads(run([letta, "cron", "get", made, "--agent", agent], **env))
        assert shown["id"] == made
        run([letta, "cron", "delete", made, "--agent", agent], **env)
        assert http.get(f"/v1/agents/{agent}/schedule").json()["scheduled_messages"] == []
        connect = ["connect", "openai-compatible", "--base-url", scripted_model.base_url, "--api-key", "sk-of-ones-own"]
        run([letta, *connect], **env)
        assert [each["base_url"] for each in http.get("/v1/providers").json()] == [scripted_model.base_url]
        assert "Balance: 0 credits" in run([letta, "usage"], **env)
        assert json.loads(run([letta, "computers", "list"], **env))["connections"] == []
        handles = [each["handle"] for each in json.loads(run([letta, "model", "list"], **env))]
        assert MODEL in handles
        assert json.loads(run([letta, "mcp", "list", "--agent", agent], **env)) == []
        said = json.loads(run([letta, "messages", "list", "--agent", agent], **env))
        assert [each["message_type"] for each in said] == ["system_message"]
        assert json.loads(run([letta, "agents", "list", "--shared"], **env))["agents"] == []
        wanted = ["--personality", "blank", "--model", MODEL, "--tags", "shop"]
        made = json.loads(run([letta, "agents", "create", "--name", "keeper", *wanted], **env))
        (tagged,) = json.loads(run([letta, "agents", "list", "--tags", "shop", "--include-blocks"], **env))["items"]
        assert (tagged["id"], bool(tagged["blocks"])) == (made["id"], True)
        run([letta, "model", "set", MODEL, "--agent", agent], **env)
        assert json.loads(run([letta, "model", "get", "--agent", agent], **env))["model"] == MODEL
        assert json.loads(run([letta, "memory", "backups", "--agent", agent], **env)) == {"backups": []}
        # What it makes is set to keep its memory in a repository that its maker's cloud alone has.
        http.patch(f"/v1/agents/{made['id']}", json={"tags": ["shop"]}).raise_for_status()
        turn = json.loads(run([letta, "-p", "ECHO on", "--output-format", "json", "--agent", made["id"]], **env))
        assert turn["result"] == "on"


def test_letta_code_talks_without_an_agent_and_without_its_memory_and_shows_what_was_sent(
    run: Run, server: ServerProcess, client: Letta, new_agent: NewAgent
) -> None:
    letta, agent = letta_code(), new_agent()
    env = {"LETTA_BASE_URL": server.url, "LETTA_API_KEY": "unused", "DISABLE_AUTOUPDATER": "1"}
    headless = ["--output-format", "json"]
    turn = json.loads(run([letta, "-p", "ECHO in passing", *headless, "--ephemeral", "--model", MODEL], **env))
    assert (turn["is_error"], turn["result"], turn["agent_id"]) == (False, "in passing", None)
    for flags in (["--stateless"], ["--new"]):
        again = json.loads(run([letta, "-p", "ECHO on", *headless, "--agent", agent.id, *flags], **env))
        assert (again["is_error"], again["result"]) == (False, "on")
    told = json.loads(
        run([letta, "messages", "transcript", "--conversation", again["conversation_id"], "--agent", agent.id], **env)
    )
    assert "ECHO on" in json.dumps(told)
    step = client.steps.list(agent_id=agent.id, limit=1).items[0]
    assert "ECHO on" in run([letta, "steps", "trace", "--agent", agent.id, "--step", step.id], **env)


def test_letta_code_gets_its_default_tools(run: Run, server: ServerProcess, scripted_model: ScriptedModel) -> None:
    env = {"LETTA_BASE_URL": server.url, "LETTA_API_KEY": "unused", "DISABLE_AUTOUPDATER": "1"}
    run([letta_code(), "-p", "ECHO hello", "--output-format", "json", "--new-agent", "--model", MODEL], **env)


def test_the_vercel_ai_sdk_generates_and_streams(run: Run, new_agent: NewAgent) -> None:
    tsx = node_modules() / "tsx" / "dist" / "cli.mjs"
    agent = new_agent()
    command = ["node", tsx, "--tsconfig", HERE / "tsconfig.1.json", HERE / "vercel.ts"]
    told = facts(run(command, cwd=HERE, AGENT_ID=agent.id))
    assert told == {
        "generated": "all at once",
        "streamed": "one two three",
        "thought": "a while",
        "parts": told["parts"],
        "in the background": "four five six",
        "in pieces": True,
    }
    assert {"reasoning-delta", "tool-call", "conversation_search", "text-delta", "finish"} <= set(told["parts"])
    assert not [part for part in told["parts"] if "error" in part]


def test_agentic_learning_keeps_memory_and_puts_it_into_prompts(
    run: Run, client: Letta, scripted_model: ScriptedModel
) -> None:
    name = f"learner {uuid4().hex[:8]}"
    command = [agentic_learning(), HERE / "learning.py", name]
    told = facts(run(command, MODEL_URL=scripted_model.base_url, MODEL=MODEL))
    assert told == {
        "made": [name, 5],
        "found": [name, ["agentic-learning-sdk"], ["human"]],
        "listed": True,
        "memory": {"nuts": "Likes walnuts."},
        "one block": "Likes walnuts.",
        "messages": ["assistant_message", "user_message", "system_message"],
        "said": "with memory",
        "captured": ["with memory", "ECHO with memory"],
        "left": ["human"],
        "deleted": True,
        "gone": None,
    }
    by_the_program = [each for each in scripted_model.requests if "ECHO with memory" in json.dumps(each["messages"])]
    assert "Likes walnuts." in json.dumps(by_the_program)
    assert name not in [each.name for each in client.agents.list()]
