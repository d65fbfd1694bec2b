"""Programs that stand are behind the walls that calls have; each attempt is seen to succeed without them."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from folkmoot.errors import SandboxUnavailable
from folkmoot.sandbox import standing as room
from folkmoot.sandbox.calls import Mode
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.sandbox.standing import StandingProgram, standing
from sandbox.refusing import refuse_namespaces

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's"),
    pytest.mark.asyncio(loop_scope="module"),
]

ATTEMPTS = """
import json, os, socket, sys, urllib.request

def attempt(action):
    try:
        return action()
    except OSError as error:
        return None

names = json.loads(sys.stdin.readline())

def write(path):
    with open(path, "w") as file:
        return file.write("x")

def fetch(port):
    with urllib.request.urlopen(f"http://localhost:{port}/", timeout=5) as answer:
        return answer.read().decode()

print(json.dumps({
    "own": attempt(lambda: open(names["own"]).read()),
    "named": attempt(lambda: open(names["named"]).read()),
    "hidden": attempt(lambda: open(names["hidden"]).read()) or None,
    "other": attempt(lambda: open(names["other"]).read()),
    "environment": attempt(lambda: open(f"/proc/{names['server']}/environ", "rb").read() and "read"),
    "signal": attempt(lambda: os.kill(names["server"], 0) or "sent"),
    "write_own": attempt(lambda: write(names["own"] + ".new")),
    "write_other": attempt(lambda: write(names["other"] + ".new")),
    "write_home": attempt(lambda: write(os.path.expanduser("~/x"))),
    "allowed": attempt(lambda: fetch(names["allowed"])),
    "not_allowed": attempt(lambda: fetch(names["not_allowed"])),
    "variables": sorted(os.environ),
}), flush=True)
sys.stdin.read()
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ports() -> AsyncIterator[list[int]]:
    """Two servers of this machine that answer `reached`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nreached")
        await writer.drain()
        writer.close()

    servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(2)]
    yield [server.sockets[0].getsockname()[1] for server in servers]
    for server in servers:
        server.close()


async def said(sandbox: Sandbox, program: StandingProgram, sent: Any = None) -> str:
    """Start a program, send it a line and return the first that it says, or all of what it complains of."""
    async with standing(sandbox, program) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(sent).encode() + b"\n")
        line = await process.stdout.readline()
        process.stdin.close()
        complaint = await process.stderr.read()
        await process.wait()
        return (line or complaint).decode()


def laid_out(folder: Path, ports: list[int]) -> dict[str, Any]:
    """Lay out a package with its program, something named to it, something of the server's, and something else."""
    package = folder / "package"
    (package / "src").mkdir(parents=True)
    (package / "pyproject.toml").touch()
    (package / "src" / "program.py").write_text(ATTEMPTS)
    paths = {
        "own": package / "data",
        "hidden": package / "secret",
        "named": folder / "named",
        "other": folder / "other",
    }
    for name, path in paths.items():
        path.write_text(name)
    return {name: str(path) for name, path in paths.items()} | {"allowed": ports[0], "not_allowed": ports[1]}


@pytest.mark.parametrize("mode", ["strict", "trusted"])
async def test_a_program_sees_its_own_and_what_is_named_to_it(mode: Mode, tmp_path: Path, ports: list[int]) -> None:
    names = laid_out(tmp_path, ports) | {"server": os.getpid()}
    allowed = f"localhost:{ports[0]}"
    sandbox = Sandbox(mode, [Path(names["hidden"])], private_hosts=[allowed])
    program = StandingProgram(
        sys.executable,
        [str(tmp_path / "package" / "src" / "program.py"), f"--from={names['named']}"],
        variables={"OWN": "1"},
        hosts=[allowed],
    )
    found = json.loads(await said(sandbox, program, names))
    assert (found["own"], found["named"], found["write_home"], found["allowed"]) == ("own", "named", 1, "reached")
    assert found["variables"] == ["HOME", "LANG", "OWN", "PATH", "TMPDIR"] or "LC_CTYPE" in found["variables"]
    beyond = ("hidden", "other", "environment", "signal", "write_own", "write_other", "not_allowed")
    without = ("hidden", "other", "read", "sent", 1, 1, "reached")
    assert tuple(found[name] for name in beyond) == ((None,) * 7 if mode == "strict" else without)
    await sandbox.close()


@pytest.mark.parametrize(("private", "said_of_it"), [(True, "reached"), (False, "Connection reset by peer")])
async def test_among_all_hosts_are_private_ones_only_by_setting(
    private: bool, said_of_it: str, ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", ports[0]))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **options: [found])
    address = f"http://tools.example:{ports[0]}/"
    code = f"import urllib.request; print(urllib.request.urlopen('{address}', timeout=5).read())"
    sandbox = Sandbox("strict", private_hosts=[f"tools.example:{ports[0]}"] if private else [])
    program = StandingProgram(sys.executable, ["-c", code], hosts=[f"*:{ports[0]}"])
    assert said_of_it in await said(sandbox, program)
    assert StandingProgram("x").hosts == ("*",)
    await sandbox.close()


GROWING = """
import os, sys
for _ in range(2):
    os.fork()
grown = b"x" * 60_000_000
sys.stdin.read()
"""


async def test_a_program_that_takes_too_much_memory_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LIMITS", replace(room.LIMITS, memory=150_000_000))
    sandbox = Sandbox("strict")
    async with standing(sandbox, StandingProgram(sys.executable, ["-c", GROWING])) as process:
        await asyncio.wait_for(process.wait(), 60)
    await sandbox.close()


async def test_nothing_is_started_where_the_walls_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    program = StandingProgram(sys.executable, ["-c", "print('started')"])
    with pytest.raises(SandboxUnavailable, match="FOLKMOOT_TOOL_SANDBOX=off"):
        await said(Sandbox("off"), program)
    refuse_namespaces(monkeypatch)
    sandbox = Sandbox("strict")
    with pytest.raises(SandboxUnavailable, match=r"refuses namespaces.*FOLKMOOT_TOOL_SANDBOX=trusted"):
        await said(sandbox, program)
    await sandbox.close()


@pytest.mark.parametrize(
    "readable",
    ["/", "/etc", "/proc", "/usr/..", "/usr/../etc", "/proc/self/environ", "/dev/fd", "/sys/kernel"],
)
async def test_what_would_show_everything_is_not_shown(readable: str) -> None:
    sandbox = Sandbox("strict")
    with pytest.raises(SandboxUnavailable, match="cannot be shown"):
        await said(sandbox, StandingProgram(sys.executable, ["-c", "print(1)"], readable=[readable]))
    await sandbox.close()


@pytest.mark.parametrize("name", ["here", "here/notes/..", "link"])
@pytest.mark.parametrize("named_by", ["argument", "setting"])
async def test_the_servers_own_files_are_not_seen_by_another_name(name: str, named_by: str, tmp_path: Path) -> None:
    for folder in ("notes", "data"):
        (tmp_path / "here" / folder).mkdir(parents=True)
        (tmp_path / "here" / folder / "text").write_text(folder)
    (tmp_path / "link").symlink_to(tmp_path / "here")
    path = f"{tmp_path}/{name}"
    texts = [f"{folder}/{each}/text" for folder in (path, tmp_path / "here") for each in ("notes", "data")]
    read = f"import os; print({{open(each).read() for each in {texts} if os.path.exists(each)}})"
    arguments = ["-c", read, *([f"--root={path}"] if named_by == "argument" else [])]
    program = StandingProgram(sys.executable, arguments, readable=[path] if named_by == "setting" else [])
    for hidden, seen in (([], {"notes", "data"}), ([tmp_path / "here" / "data"], {"notes"})):
        sandbox = Sandbox("strict", hidden)
        assert ast.literal_eval(await said(sandbox, program)) == seen
        await sandbox.close()


async def test_a_programs_variables_are_not_those_of_who_stays_beside_it(tmp_path: Path) -> None:
    """The loader would write for the guard, or load into it, which has no walls."""
    variables = {"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(tmp_path / "planted")}
    own = asyncio.create_subprocess_exec("/bin/true", env=variables)
    await (await own).wait()
    assert [file.unlink() for file in tmp_path.glob("planted*")], "it writes where there are no walls"
    sandbox = Sandbox("strict")
    said_of_it = await said(sandbox, StandingProgram(sys.executable, ["-c", ""], variables=variables))
    assert "find library" in said_of_it, "the program has them"
    assert list(tmp_path.glob("planted*")) == []
    await sandbox.close()


async def test_an_argument_may_name_a_device() -> None:
    sandbox = Sandbox("strict")
    program = StandingProgram(
        sys.executable, ["-c", "import sys; print(open(sys.argv[1]).read() or 'empty')", "/dev/null"]
    )
    assert (await said(sandbox, program)).strip() == "empty"
    await sandbox.close()


async def test_the_servers_own_files_cannot_be_named(tmp_path: Path) -> None:
    sandbox = Sandbox("strict", [tmp_path])
    (tmp_path / "key").touch()
    with pytest.raises(SandboxUnavailable, match="cannot be shown"):
        await said(sandbox, StandingProgram(sys.executable, ["-c", "print(1)", str(tmp_path / "key")]))
    await sandbox.close()
