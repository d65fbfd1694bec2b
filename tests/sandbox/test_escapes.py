"""Nothing gets out of the sandbox; each attempt is seen to succeed without walls."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import folkmoot
from folkmoot.sandbox.calls import Call, Limits, Network, Result
from sandbox.conftest import Running
from sandbox.probes import PROBES, SAME_USER, TARGETS_ONLY_ROOT_HAS, Targets, targets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")
LIMITS = Limits(seconds=20.0, processes=32, folder_size=32_000_000, file_size=100_000_000)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Targets]:
    with targets(tmp_path_factory.mktemp("targets")) as made:
        yield made


def told(result: Result) -> str:
    return f"{result.stdout}\n{result.stderr}\n{result.error}"


@pytest.mark.parametrize("name", PROBES)
def test_an_attempt_succeeds_without_walls_and_fails_behind_them(name: str, there: Targets, run: Running) -> None:
    call = Call(there.fill_in(PROBES[name]), limits=LIMITS)
    if os.geteuid() == 0 or name not in TARGETS_ONLY_ROOT_HAS:
        open_ = run(call, "trusted")
        assert "REACHED" in open_.stdout, told(open_)
    closed = run(call)
    assert "REACHED" not in closed.stdout, told(closed)
    if name != "send a datagram":  # there are datagrams, to ask for names with
        reaching = run(replace(call, network=Network(("*",))))
        assert "REACHED" not in reaching.stdout, told(reaching)


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests already run as somebody without rights")
def test_the_walls_hold_for_a_server_without_rights(request: pytest.FixtureRequest) -> None:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None or subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).returncode:
        pytest.skip("no Python 3.11 that every user may run")
    tmp_path = Path(tempfile.mkdtemp(prefix="folkmoot-nobody-"))  # pytest's own folders are closed to others
    request.addfinalizer(lambda: shutil.rmtree(tmp_path))
    shutil.copytree(Path(folkmoot.__file__).parent, tmp_path / "folkmoot")
    shutil.copytree(Path(__file__).parent, tmp_path / "sandbox")
    subprocess.run(["chmod", "-R", "a+rX", tmp_path], check=True)
    aims = tmp_path / "aims"
    aims.mkdir()
    shutil.chown(aims, 65534, 65534)
    answer = subprocess.run(
        [python, "-I", "-c", _AS_NOBODY, str(tmp_path), str(aims)],
        user=65534, group=65534, extra_groups=[], capture_output=True, text=True, timeout=300, cwd="/",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    outcomes = json.loads(answer.stdout)
    assert outcomes["walls"] is None
    assert {name for name, out in outcomes["strict"].items() if out} == set()
    assert outcomes["names"] == "11.0.0.1"
    assert {name for name, out in outcomes["reaching"].items() if out} <= {"send a datagram"}
    assert "one process" in outcomes["line"]
    assert {name for name, out in outcomes["alone"].items() if out} == set()
    assert outcomes["threads"] == [20, "processes"], "beside 40 of the server's own"
    reached = {name for name, out in outcomes["trusted"].items() if out}
    assert reached >= (PROBES.keys() | SAME_USER.keys()) - TARGETS_ONLY_ROOT_HAS


_AS_NOBODY = """
import asyncio, json, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from folkmoot.sandbox.calls import Call, Limits, Network
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.sandbox import processes
from sandbox.probes import PROBES, SAME_USER, targets
from sandbox.refusing import refusing_boot
limits = Limits(seconds=20.0, processes=32, folder_size=32_000_000, file_size=100_000_000)
BEGIN_THREADS = '''
import threading
def begin(most):
    threading.stack_size(1 << 15)
    end, begun = threading.Event(), 0
    try:
        while begun < most:
            threading.Thread(target=end.wait).start()
            begun += 1
        if begun > 32:
            end.wait()  # for the guard, who counts at times
    except RuntimeError:
        pass
    end.set()
    return begun
'''
async def begin_threads(sandbox):
    end = threading.Event()
    for _ in range(40):
        threading.Thread(target=end.wait).start()
    calls = [Call(BEGIN_THREADS, "begin", {"most": most}, limits=limits) for most in (20, 200)]
    few, many = [await sandbox.run(call) for call in calls]
    end.set()
    return few.value, many.exceeded
async def main():
    outcomes = {}
    with targets(Path(sys.argv[2])) as there:
        boot = processes._BOOT
        for mode in ("strict", "reaching", "alone", "trusted"):
            processes._BOOT = refusing_boot() if mode == "alone" else boot
            network = Network(("*",) if mode == "reaching" else ())
            sandbox = Sandbox("trusted" if mode == "trusted" else "strict")
            outcomes.setdefault("walls", (await sandbox.walls()).missing)
            outcomes[mode] = {}
            if mode == "alone":
                outcomes["line"] = (await sandbox.walls()).line
                outcomes["threads"] = await begin_threads(sandbox)
            for name, probe in {**PROBES, **(SAME_USER if mode in ("alone", "trusted") else {})}.items():
                result = await sandbox.run(Call(there.fill_in(probe), limits=limits, network=network))
                outcomes[mode][name] = "REACHED" in result.stdout
            if mode == "reaching":
                asked = Call("import socket; socket.gethostbyname('a.test')", limits=limits, network=network)
                outcomes["names"] = (await sandbox.run(asked)).value
            await sandbox.close()
    print(json.dumps(outcomes))
asyncio.run(main())
"""
