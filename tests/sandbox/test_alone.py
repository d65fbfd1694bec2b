"""Where the kernel refuses namespaces, a call is one process that writes no files and speaks to nobody."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from folkmoot.errors import SandboxUnavailable
from folkmoot.sandbox import processes
from folkmoot.sandbox.calls import Call, Environment, Limits, Network
from folkmoot.sandbox.sandbox import Sandbox
from sandbox.conftest import Running
from sandbox.probes import PROBES, SAME_USER, Targets, targets
from sandbox.refusing import refuse_namespaces

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")
LIMITS = Limits(seconds=20.0, processes=32, folder_size=32_000_000, file_size=100_000_000)


@pytest.fixture(scope="module")
def alone(run: Running) -> Iterator[Running]:
    """Run calls in a sandbox that finds no namespaces."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        refuse_namespaces(monkeypatch)
        run.sandboxes["strict"] = Sandbox("strict")
        line = run.runner.run(run.sandboxes["strict"].walls()).line
        assert line == (
            "strict: without namespaces, which the kernel refuses here, no files to write, one process, no network, "
            "Landlock, seccomp, limits"
        )
        yield run


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    with targets(tmp_path_factory.mktemp("targets")) as made:
        yield made


@pytest.mark.parametrize("name", [*PROBES, *SAME_USER])
def test_an_attempt_fails_also_without_namespaces(name: str, there: Targets, alone: Running) -> None:
    call = Call(there.fill_in({**PROBES, **SAME_USER}[name]), limits=LIMITS)
    if name in SAME_USER:  # the others are seen to succeed elsewhere
        result = alone(call, "trusted")
        assert "REACHED" in result.stdout, result
    if name == "become root" and os.geteuid() == 0:  # which it is, without any of root's rights
        call = replace(call, source="import os; os.setuid(0); os.setuid(1234); print('REACHED')")
    result = alone(call)
    assert "REACHED" not in result.stdout, result


def test_code_asks_also_without_namespaces(alone: Running) -> None:
    async def answer(question: object) -> object:
        return [question]

    result = alone(Call("ask('anybody there?')", adapter="SCOPE = {'ask': ask}", answer=answer, limits=LIMITS))
    assert result.value == ["anybody there?"], result


def test_code_that_needs_none_of_it_runs(alone: Running, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "greeting.py").write_text("WORD = 'hello'")
    source = """
import asyncio, greeting, json, os, sqlite3, ssl, threading, zoneinfo
def work(times):
    got = []
    thread = threading.Thread(target=lambda: got.append(sum(range(times))))
    thread.start()
    thread.join()
    return [greeting.WORD, got, asyncio.run(asyncio.sleep(0, 'slept')), os.listdir('.'), os.environ["WORD"]]
"""
    environment = Environment(packages=packages)
    call = Call(source, "work", {"times": 4}, {"WORD": "given"}, environment=environment, limits=LIMITS)
    assert alone(call).value == ["hello", [6], "slept", [], "given"]
    assert alone(Call("1 / 0")).status == "error"
    assert alone(Call("while True: pass", limits=Limits(seconds=0.5))).exceeded == "time"
    assert alone(Call("taken = bytearray(1 << 30)")).exceeded == "memory"


def test_what_needs_them_says_so(alone: Running) -> None:
    with pytest.raises(SandboxUnavailable, match="reach hosts cannot be run here, since the kernel refuses namespaces"):
        alone(Call("1", network=Network(("example.org",))))
    with pytest.raises(SandboxUnavailable, match="JavaScript and TypeScript cannot be run here, since the kernel"):
        alone(Call("1", language="javascript"))
    assert alone(Call("1", network=Network(server="127.0.0.1:1"))).value == 1


@pytest.mark.parametrize("broken", ["linux.unshare", "linux.enter_root"])
def test_it_is_chosen_where_namespaces_are_missing(broken: str, run: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function = broken.split(".")
    refusing = f"""
import folkmoot.sandbox.{module} as module
def refuse(*arguments, **named): raise OSError(1, "Operation not permitted", "{function}")
module.{function} = refuse
main("""
    monkeypatch.setattr(processes, "_BOOT", processes._BOOT.replace("main(", refusing))
    sandbox = Sandbox("strict")
    assert run.all(sandbox, [Call("6 * 7")])[0].value == 42
    assert "one process" in run.runner.run(sandbox.walls()).line


@pytest.mark.parametrize("broken", ["landlock.restrict", "seccomp.install", "landlock.version"])
def test_nothing_runs_when_one_of_these_walls_is_missing(
    broken: str, run: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, function = broken.split(".")
    refuse_namespaces(monkeypatch)
    old = "lambda: 2" if function == "version" else "refuse"
    refusing = f"""
import folkmoot.sandbox.{module} as module
def refuse(*arguments, **named): raise OSError(1, "Operation not permitted", "{function}")
module.{function} = {old}
main("""
    monkeypatch.setattr(processes, "_BOOT", processes._BOOT.replace("main(", refusing))
    sandbox = Sandbox("strict")
    with pytest.raises(SandboxUnavailable, match=r"a wall is missing: .*Run the server on Linux"):
        run.all(sandbox, [Call("1")])


def test_nothing_of_a_call_is_left(alone: Running) -> None:
    seen = alone(Call("import os; os.environ['TMPDIR']")).value
    for _ in range(500):  # the guard tells what came of a call before it tidies up
        if not Path(seen).exists():
            return
        time.sleep(0.01)
    raise AssertionError(seen)
