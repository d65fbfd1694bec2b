"""`folkmoot chat`, `blocks`, `runs` and `watch`, as somebody in a terminal uses them."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from letta_client import Letta

from support.clients import plain_client
from support.fixtures import NewAgent, NewBlock, StartServer, one_store
from support.polling import PATIENCE, until
from support.scripted_model import ScriptedModel
from support.scripts import folkmoot_program
from support.server import ServerProcess

pytestmark = one_store

Terminal = Callable[..., str]


@pytest.fixture
def terminal(environ: Mapping[str, str], server: ServerProcess, home: Path) -> Terminal:
    """Run `folkmoot …` with what is typed, and return what it shows."""

    def run(*arguments: str, typed: str = "", status: int = 0) -> str:
        done = subprocess.run(
            folkmoot_program(*arguments),
            cwd=home,
            env={**environ, "FOLKMOOT_URL": server.url},
            input=typed,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    return run


def on_screen(width: int, server: ServerProcess, environ: Mapping[str, str], *arguments: str) -> list[str]:
    """Return the lines that `folkmoot …` shows in a terminal of so many columns, without their colours."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, width))
    shown = b""
    with subprocess.Popen(
        folkmoot_program(*arguments),
        env={**environ, "FOLKMOOT_URL": server.url, "TERM": "xterm"},
        stdin=its,
        stdout=its,
    ) as program:
        os.close(its)
        with suppress(OSError):  # how Linux says that nobody has the terminal any more
            while piece := os.read(ours, 65536):
                shown += piece
        assert program.wait(PATIENCE) == 0
    os.close(ours)
    return re.sub(r"\x1b\[[\d;]*m", "", shown.decode()).splitlines()


def heed_interrupts() -> None:
    """Take Ctrl-C as a terminal's program does; who runs the tests in the background has had it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def insertion(label: str, text: str) -> str:
    return f"CALL memory_insert {json.dumps({'label': label, 'new_string': text})}"


def test_a_chat_shows_replies_and_calls_and_asks_for_what_waits(
    terminal: Terminal, client: Letta, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="one")
    agent = new_agent(block_ids=[block.id])
    client.agents.tools.update_approval("memory_insert", agent_id=agent.id, body_requires_approval=True)
    typed = (
        f"ECHO good morning\n{insertion(block.label, 'two')}\ny\n{insertion(block.label, 'three')}\nnot on a Sunday\n"
    )
    shown = terminal("chat", str(agent.name), typed=typed)
    assert f"{agent.name}> good morning" in shown
    assert "waits for you  memory_insert" in shown
    assert 'new_string="two"' in shown
    assert "✓ " in shown
    assert "✗ " in shown
    assert "not on a Sunday" in shown
    assert client.blocks.retrieve(block.id).value == "one\ntwo"


def test_a_call_that_waits_from_before_is_decided_first(
    terminal: Terminal, client: Letta, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="one")
    agent = new_agent(block_ids=[block.id])
    client.agents.tools.update_approval("memory_insert", agent_id=agent.id, body_requires_approval=True)
    client.agents.messages.create(agent.id, input=insertion(block.label, "two"))
    assert "waiting for approval" in terminal("chat", agent.id, "-m", "ECHO hello", status=1)
    terminal("chat", agent.id, typed="yes\n")
    assert client.blocks.retrieve(block.id).value == "one\ntwo"


def test_a_turn_can_be_stopped(
    environ: Mapping[str, str],
    server: ServerProcess,
    new_agent: NewAgent,
    http: httpx.Client,
    scripted_model: ScriptedModel,
    home: Path,
) -> None:
    agent = new_agent()
    with scripted_model.hold("ECHO never") as held:
        chatting = subprocess.Popen(
            [sys.executable, "-m", "folkmoot", "chat", agent.id, "-m", "ECHO never"],
            cwd=home,
            env={**environ, "FOLKMOOT_URL": server.url},
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,
        )
        held.wait_for(1)
        os.kill(chatting.pid, signal.SIGINT)
        told, _ = chatting.communicate(timeout=PATIENCE)
    assert (chatting.returncode, "stopped" in told) == (0, True)
    (run,) = http.get("/v1/runs", params={"agent_id": agent.id}).json()
    assert run["stop_reason"] == "cancelled"


def test_blocks_are_listed_and_shown_with_their_writers(
    terminal: Terminal, client: Letta, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block(value="by a person")
    agent = new_agent(block_ids=[block.id])
    client.agents.messages.create(agent.id, input=insertion(block.label, "by an agent"))
    listed = next(line for line in terminal("blocks").splitlines() if block.id in line)
    assert f"  v2       {agent.name}  " in listed
    shown = terminal("blocks", block.label).splitlines()
    assert [line.split()[0] for line in shown[1:]] == ["local", agent.name]
    assert shown[2].endswith("by an agent")
    assert "there is no block 'nowhere'" in terminal("blocks", "nowhere", status=1)


def test_runs_are_listed_and_failed_ones_alone(
    terminal: Terminal, client: Letta, http: httpx.Client, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    client.agents.messages.create(agent.id, input="ECHO fine")
    scripted_model.fail_next(401)
    assert http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO lost"}).status_code >= 400
    both = terminal("runs", "--agent", agent.id).splitlines()
    assert ["end turn" in line for line in both[1:]] == [False, True]
    assert len(terminal("runs", "--agent", str(agent.name), "--failed").splitlines()) == 2
    assert terminal("runs", "--agent", agent.id, "--since", "1h").splitlines() == both
    assert "--since: 'soon' is no time" in terminal("runs", "--since", "soon", status=1)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_lists_are_read_on_a_screen_of_any_width(
    width: int,
    server: ServerProcess,
    environ: Mapping[str, str],
    http: httpx.Client,
    new_agent: NewAgent,
    new_block: NewBlock,
    scripted_model: ScriptedModel,
) -> None:
    block = new_block(label=f"a_label_of_many_words_{uuid4().hex[:8]}", value="one")
    agent = new_agent(name=f"An agent of some words {uuid4().hex[:8]}", block_ids=[block.id])
    http.post(f"/v1/agents/{agent.id}/messages", json={"input": insertion(block.label, "two")}).raise_for_status()
    scripted_model.fail_next(401)
    assert http.post(f"/v1/agents/{agent.id}/messages", json={"input": "ECHO lost"}).status_code >= 400
    listed = "\n".join(on_screen(width, server, environ, "blocks"))
    row = rf"{block.label} +7 / 100,000 +v2 +{agent.name} +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\s+{block.id}"
    assert re.search(row, listed), listed
    runs = "\n".join(on_screen(width, server, environ, "runs", "--agent", agent.id))
    assert re.search(rf"{agent.name} +end turn +\d+(\.\d)? m?s\s+run-[\w-]{{36}}(\s|$)", runs), runs
    assert re.search(rf"{agent.name} +llm api error  OpenAI", runs), runs
    assert len(runs.splitlines()) < 12, "not a letter a line"


def test_a_watch_shows_each_change_and_goes_on_when_the_stream_drops(
    environ: Mapping[str, str], start_server: StartServer, home: Path
) -> None:
    server = start_server()
    http = plain_client(server.url)
    block = http.post("/v1/blocks", json={"label": "notes", "value": "one\ntwo"}).json()
    log = home / "watched"
    with log.open("w") as file:
        watching = subprocess.Popen(
            [sys.executable, "-m", "folkmoot", "watch", "notes"],
            cwd=home,
            env={**environ, "FOLKMOOT_URL": server.url, "PYTHONUNBUFFERED": "1"},
            stdout=file,
            preexec_fn=heed_interrupts,
        )
    edits = f"/v1/blocks/{block['id']}/edits"
    until(lambda: "Watching" in log.read_text())
    http.post(edits, json={"kind": "replace", "old_string": "two", "new_string": "three"}).raise_for_status()
    until(lambda: "+ three" in log.read_text())
    assert "- two" in log.read_text()
    server.restart()
    with plain_client(server.url) as again:
        again.post(edits, json={"kind": "insert", "new_string": "four"}).raise_for_status()
    until(lambda: "+ four" in log.read_text())
    assert log.read_text().count("+ three") == 1
    os.kill(watching.pid, signal.SIGINT)
    assert watching.wait(300) == 130
    http.close()
