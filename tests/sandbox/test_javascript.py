"""JavaScript and TypeScript run behind the walls that Python runs behind, where Node.js is there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from folkmoot.errors import InvalidInput, SandboxUnavailable
from folkmoot.sandbox import node
from folkmoot.sandbox.calls import Call, Environment, Limits, Network, Result
from folkmoot.sandbox.environments import Environments
from folkmoot.sandbox.installer import Installer
from folkmoot.sandbox.requirements import read_requirements
from folkmoot.sandbox.sandbox import Sandbox
from sandbox.conftest import Running
from sandbox.probes import SECRET, targets

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's"),
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
]
LIMITS = Limits(seconds=20.0)
SMALL = Limits(seconds=20.0, memory=200_000_000)


def javascript(source: str, entry: str | None = None, limits: Limits = LIMITS, **arguments: Any) -> Call:
    return Call(source, entry, arguments, language="javascript", limits=limits)


@pytest.mark.parametrize(
    ("source", "arguments", "value"),
    [
        ("export function add(a, b = 2) { return a + b }", {"a": 1}, 3),
        ("function add(a, b) { return [b, a] }", {"b": 1, "a": 2}, [1, 2]),
        ("export const add = async ({ a, b }) => ({ sum: a + b })", {"a": 1, "b": 2}, {"sum": 3}),
        ("export default async function add(given) { return given.a + given.b }", {"a": 1, "b": 2}, 3),
        ("const add = a => a", {"a": "x"}, "x"),
        ("const add = (a = 'default') => a", {}, "default"),
        (
            "function add(a /* , c */, b = f(1, [2, 3]), ...rest) { return [a, b] }\nconst f = (x) => x",
            {"a": 0},
            [0, 1],
        ),
        ("function add() {}", {}, None),
        ("function add() { return [1n, new Map([['k', 1]]), new Set([2]), new Date(0), NaN, undefined] }", {}, None),
    ],
)
def test_a_function_is_called_by_names(source: str, arguments: dict[str, Any], value: Any, run: Running) -> None:
    result = run(javascript(source, "add", **arguments))
    if "1n" in source:
        value = ["1", {"k": 1}, [2], "1970-01-01T00:00:00.000Z", None, None]
    assert (result.status, result.value) == ("ok", value), result


def test_a_program_prints_and_fails_as_itself(run: Running) -> None:
    printed = run(javascript("console.log('out'); console.error('err'); await 1; process.env.HOME"))
    assert (printed.status, printed.stdout, printed.stderr) == ("ok", "out\n", "err\n")
    thrown = run(javascript("\nfunction add() { throw new TypeError('boom') }", "add"))
    assert thrown.error == "TypeError: boom\n    at Module.add (<code>:2:24)"
    assert "SyntaxError" in str(run(javascript("x y")).error)
    assert run(javascript("process.exit(3)")).error == "it exited with 3"
    assert run(javascript("process.exit(0)")).status == "ok"
    assert run(javascript("await new Promise(() => {})")).error == "it ended before its value was there"
    assert "boom" in str(
        run(javascript("setTimeout(() => { throw new Error('boom') }); await new Promise(() => {})")).error
    )


@pytest.mark.parametrize(
    ("source", "limits", "exceeded"),
    [
        ("while (true);", Limits(seconds=1.0), "time"),
        ("while (true) console.log('x'.repeat(1000))", LIMITS, "output"),
        ("const held = []; while (true) held.push(new Array(10000).fill(Math.random()))", SMALL, "memory"),
        ("const held = []; while (true) held.push(Buffer.alloc(10_000_000, 1))", SMALL, "memory"),
    ],
)
def test_what_has_no_end_is_ended(source: str, limits: Limits, exceeded: str, run: Running) -> None:
    result = run(javascript(source, limits=limits))
    assert (result.status, result.exceeded) == ("ended", exceeded), result


ATTEMPTS = {
    "read a file": "console.log(fs.readFileSync('SECRET_FILE', 'utf8'))",
    "list a folder": "fs.readdirSync('FOLDER'); console.log('SECRET')",
    "look into the server": "console.log(fs.readFileSync('/proc/SERVER_PID/environ', 'utf8'))",
    "write outside": "fs.writeFileSync('FOLDER/planted', ''); console.log('SECRET')",
    "signal the server": "process.kill(SERVER_PID, 0); console.log('SECRET')",
    "run a program": "console.log(require('child_process').execFileSync('cat', ['SECRET_FILE']).toString())",
    "connect": "require('net').connect(PORT, '127.0.0.1', done); await reached; console.log('SECRET')",
    "connect to a UNIX socket": "require('net').connect('UNIX_SOCKET', done); await reached; console.log('SECRET')",
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_succeeds_without_walls_and_fails_behind_them(name: str, run: Running, tmp_path: Path) -> None:
    with targets(tmp_path) as there:
        source = "let done; const fs = require('fs'), reached = new Promise((resolve) => { done = resolve });\n"
        source += there.fill_in(ATTEMPTS[name])
        source += "\nprocess.exit()" if "connect" in name else ""
        if os.geteuid() == 0 or "look" not in name:
            assert SECRET in run(javascript(source), "trusted").stdout
        assert SECRET not in run(javascript(source)).stdout


async def with_packages(tmp_path: Path, call: Call) -> Result:
    environments = Environments(tmp_path / "environments", Installer(True), keep=1e9, most_bytes=10**9)
    sandbox = Sandbox("strict", environments=environments)
    try:
        return await sandbox.run(call)
    except SandboxUnavailable as error:
        if "cannot be reached" in error.message:
            pytest.skip("npm's registry cannot be reached")
        raise
    finally:
        await sandbox.close()


async def test_typescript_is_run_and_packages_are_imported(tmp_path: Path) -> None:
    source = """
import ms from "ms";
enum Unit { Day = "day" }
interface Given { count: number }
export function long(given: Given, unit: Unit = Unit.Day): number {
  return ms(`${given.count} ${unit}`) as number;
}
"""
    environment = Environment(requirements=("ms@2",))
    call = Call(
        source, "long", {"given": {"count": 2}}, language="typescript", environment=environment, limits=Limits()
    )
    assert (await with_packages(tmp_path, call)).value == 172_800_000


async def test_hosts_are_reached_by_name(run: Running) -> None:
    source = "const { address } = await require('dns').promises.lookup('a.test'); console.log(address)"
    sandbox = Sandbox("strict")
    try:
        call = Call(source, language="javascript", limits=LIMITS, network=Network(("a.test",)))
        assert (await sandbox.run(call)).stdout == "11.0.0.1\n"
    finally:
        await sandbox.close()


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (None, "Node.js is not installed on the server's machine"),
        ("echo v16.3.0", "is v16.3.0, and version 18 or later"),
    ],
)
def test_a_machine_without_node_says_so(
    program: str | None, told: str, run: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program is not None:
        (tmp_path / "node").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    node.find_node.cache_clear()
    try:
        with pytest.raises(SandboxUnavailable, match=told):
            run(javascript("1"))
    finally:
        node.find_node.cache_clear()


@pytest.mark.parametrize(
    "text",
    (
        *("--save", "./here", "../x", "/etc", "file:x", "git+https://example.org/x", "user/repo", "-g", "", "Ms"),
        *("https://example.org/x.tgz", "ms@npm:other", "ms@file:x", "ms@git://x", "ms@user/repo", "@x", "ms@"),
        "ms --force",
    ),
)
def test_what_is_no_package_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="npm_requirements: "):
        read_requirements("npm", ["ms", text])
