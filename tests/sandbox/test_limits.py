"""What a call may use is bounded, what it says is read with care, and it never outlives whoever wanted it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import folkmoot
from folkmoot.errors import InvalidInput, SandboxBusy, SandboxUnavailable
from folkmoot.sandbox import processes
from folkmoot.sandbox import sandbox as service
from folkmoot.sandbox.calls import Call, Environment, Limits, Mode, read_limits
from folkmoot.sandbox.processes import Forker
from folkmoot.sandbox.sandbox import Sandbox
from sandbox.conftest import Running
from sandbox.probes import PROBES, targets
from support.polling import PATIENCE, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")
BOTH = pytest.mark.parametrize("mode", ["strict", "trusted"])
SHORT = Limits(seconds=1.0)


@BOTH
@pytest.mark.parametrize(
    ("source", "limits", "exceeded"),
    [
        ("while True: print('x' * 1000)", replace(SHORT, seconds=30.0), "output"),
        ("import sys\nwhile True: sys.stderr.write('x' * 1000)", replace(SHORT, seconds=30.0), "output"),
        ("'x' * 2_000_000", replace(SHORT, seconds=30.0), "value"),
        ("print('before', flush=True); sum(range(10**13))", SHORT, "time"),
        ("import re; re.match('(a+)+$', 'a' * 64 + 'b')", SHORT, "time"),
        ("import time, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(100)", SHORT, "time"),
        ("import os\nos.close(1), os.close(2)\nwhile True: pass", SHORT, "time"),
    ],
)
def test_what_has_no_end_is_ended(source: str, limits: Limits, exceeded: str, mode: Mode, run: Running) -> None:
    result = run(Call(source, limits=limits), mode)
    assert (result.status, result.exceeded) == ("ended", exceeded)
    assert len(result.stdout) <= limits.output
    if "before" in source:
        assert result.stdout == "before\n"


def test_processor_time_is_bounded(run: Running) -> None:
    result = run(Call("while True: pass", limits=Limits(seconds=60.0, cpu_seconds=1)))
    assert (result.status, result.exceeded) == ("ended", "cpu")


def test_memory_of_one_process_is_bounded(run: Running) -> None:
    result = run(Call("taken = bytearray(1 << 30)"))
    assert (result.status, result.exceeded) == ("error", "memory")


def test_threads_that_take_little_memory_all_run(run: Running) -> None:
    source = """
import threading
def hold():
    ready.wait()
    kept = bytearray(100_000)
    ready.wait()
    sizes.append(len(kept))
sizes, ready = [], threading.Barrier(24)
threads = [threading.Thread(target=hold) for _ in range(24)]
for thread in threads: thread.start()
for thread in threads: thread.join()
more = [threading.Thread(target=lambda: sizes.append(1)) for _ in range(24)]
for thread in more: thread.start()
for thread in more: thread.join()
sum(sizes)
"""
    result = run(Call(source))
    assert (result.value, result.error) == (24 * 100_000 + 24, None)


def test_memory_of_many_processes_is_bounded(run: Running) -> None:
    source = """
import os, time
for number in range(4):
    if os.fork() == 0:
        taken = b"x" * 40_000_000
        time.sleep(100)
time.sleep(100)
"""
    result = run(Call(source, limits=Limits(seconds=60.0, memory=120_000_000)))
    assert (result.status, result.exceeded) == ("ended", "memory")


@BOTH
@pytest.mark.parametrize(
    "said",
    [
        b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85R.",
        b"[" * 100_000,
        b'{"value": ' + b"[" * 500 + b"]" * 500 + b"}",
        b"7",
        b'{"value": 1} and more',
        b"\xff\xfe",
        b'{"value": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_is_no_answer_is_told_and_not_believed(said: bytes, mode: Mode, run: Running) -> None:
    source = f"""
import os
for descriptor in range(3, 60):
    try:
        os.write(descriptor, {said!r})
    except OSError:
        pass
os._exit(0)
"""
    result = run(Call(source), mode)
    assert result.status == "error"
    assert result.error is not None and "not JSON" in result.error


@pytest.mark.parametrize(
    ("source", "status", "value"),
    [
        ("1 + 1", "ok", 2),
        ("x = 1", "ok", None),
        ("float('nan'), float('inf')", "ok", ["NaN", "Infinity"]),
        ("{'a': (1, None, True), 'b': b'bytes', 'c': {1}}", "ok", {"a": [1, None, True], "b": "b'bytes'", "c": "{1}"}),
        ("import datetime; datetime.date(2026, 11, 28)", "ok", "2026-11-28"),
        ("'a\\x00b\\ud800'", "ok", "a\ufffdb?"),
        ("import sys; sys.exit()", "ok", None),
        ("import sys; sys.exit(3)", "error", None),
        ("def broken(", "error", None),
        ("import os; os._exit(0)", "ok", None),
        ("import os; os.abort()", "ended", None),
    ],
)
def test_values_cross_as_json(source: str, status: str, value: Any, run: Running) -> None:
    result = run(Call(source))
    assert (result.status, result.value) == (status, value)


def test_a_function_is_called_with_arguments_and_variables(run: Running) -> None:
    source = """
import asyncio, os
def helper(word): return word + os.environ["ENDING"]
async def shout(word, times=2):
    await asyncio.sleep(0)
    return helper(word) * times
"""
    call = Call(source, "shout", {"word": "hey"}, {"ENDING": "!"})
    assert run(call).value == "hey!hey!"
    failing = run(Call("def divide(by):\n    return 1 / by\n", "divide", {"by": 0}))
    assert failing.error is not None
    assert 'File "<code>", line 2, in divide\n    return 1 / by' in failing.error
    assert failing.error.endswith("ZeroDivisionError: division by zero\n")
    assert "program.py" not in failing.error


def test_nothing_of_a_call_is_left_for_the_next(run: Running) -> None:
    run(Call("import os, json; os.environ['LEFT'] = '1'; json.loads = None; open('left', 'w').write('x')"))
    source = "import os, json; [os.environ.get('LEFT'), json.loads('1'), os.listdir('.'), sorted(os.environ)]"
    assert run(Call(source)).value == [None, 1, [], ["HOME", "LANG", "PATH", "TMPDIR"]]


def test_packages_can_be_read_and_what_is_hidden_among_them_cannot(run: Running, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    (packages / "data").mkdir(parents=True)
    (packages / "data" / "key").write_text("secret")
    (packages / "key.txt").write_text("secret")
    (packages / "greeting.py").write_text("WORD = 'hello'")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    here = Environment(packages=packages)
    source = "import greeting, os; [greeting.WORD, os.listdir('/packages/0/data')]"
    file = "open('/packages/0/key.txt').read()"
    for hidden, seen, status in (([], ["key"], "ok"), ([packages / "data", packages / "key.txt"], [], "error")):
        sandbox = Sandbox("strict", hidden=hidden)
        listed, read = run.all(sandbox, [Call(source, environment=here), Call(file, environment=here)])
        assert listed.value == ["hello", seen], listed
        assert read.status == status or read.value == ""
    assert run(Call("open('/packages/0/greeting.py', 'r+')", environment=here)).status == "error"


def test_calls_wait_for_a_place_and_too_many_are_told(run: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "import time; began = time.monotonic(); time.sleep(0.05); [began, time.monotonic()]"
    times = [result.value for result in run.all(Sandbox("strict", running=2), [Call(source)] * 12)]
    for began, _ in times:
        assert sum(other <= began < ended for other, ended in times) <= 2
    monkeypatch.setattr(service, "MOST_WAITING", 3)
    with pytest.raises(SandboxBusy, match="3 calls wait"):
        run.all(Sandbox("strict", running=1), [Call(source)] * 6)


async def test_another_system_has_no_walls_yet_and_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.sys, "platform", "darwin")
    sandbox = Sandbox("strict")
    walls = await sandbox.walls()
    assert walls.line.startswith("strict, but code cannot be run: there are no walls for darwin yet. Run the server on")
    for language in ("python", "typescript"):
        with pytest.raises(SandboxUnavailable, match="there are no walls for darwin yet"):
            await sandbox.run(Call("1", language=language))
    assert sandbox._forkers == {}


async def test_what_is_expected_is_there_before_the_call_and_ends_when_none_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox = Sandbox("strict")
    try:
        sandbox.expect()
        assert sandbox._expecting is None, "nothing is known of the walls"
        await sandbox.walls()
        sandbox.expect()
        assert sandbox._expecting is not None
        await sandbox._expecting
        (forker,) = sandbox._forkers.values()
        assert (await sandbox.run(Call("6 * 7"))).value == 42
        assert list(sandbox._forkers.values()) == [forker]
        monkeypatch.setattr(processes, "IDLE_SECONDS", 0.0)
        assert (await sandbox.run(Call("6 * 7"))).value == 42
        await asyncio.to_thread(forker._process.wait, 60)
    finally:
        await sandbox.close()


async def test_an_interpreter_that_starts_while_its_call_is_given_up_is_ended_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a server is stopped while it tries the walls."""
    made: list[processes.Forker] = []
    there, go_on, start = threading.Event(), threading.Event(), processes.Forker

    def make(interpreter: Path) -> processes.Forker:
        made.append(start(interpreter))
        there.set()
        assert go_on.wait(PATIENCE)
        return made[-1]

    monkeypatch.setattr(service, "Forker", make)
    sandbox = Sandbox("strict")
    trying = asyncio.create_task(sandbox.walls())
    assert await asyncio.to_thread(there.wait, 60)
    trying.cancel()
    closing = asyncio.create_task(sandbox.close())
    await asyncio.wait([trying], timeout=0)
    go_on.set()
    await asyncio.gather(trying, closing, return_exceptions=True)
    assert [forker._process.returncode is not None for forker in made] == [True]


def sleepers(seconds: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", seconds]]


def daemon(seconds: str) -> str:
    """Return source that starts a process apart, and ends once that is `sleep`: which closes what the source reads."""
    return f"""
import os
begun, held = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "{seconds}"])
    os._exit(0)
os.close(held)
os.read(begun, 1)
"""


async def test_a_call_that_is_given_up_as_its_guard_begins_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[socket.socket] = []
    begun, pair = asyncio.Event(), socket.socketpair

    def noted() -> tuple[socket.socket, socket.socket]:
        made.extend(two := pair())
        return two

    async def never(*, sock: socket.socket) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            sock.close()

    sandbox = Sandbox("strict")
    monkeypatch.setattr(socket, "socketpair", noted)
    monkeypatch.setattr(asyncio, "open_unix_connection", never)
    call = asyncio.create_task(sandbox.run(Call("1")))
    await begun.wait()
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call
    await sandbox.close()
    assert [each.fileno() for each in made] == [-1] * 8


async def test_a_trial_that_is_given_up_at_its_end_waits_for_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, wait, was_over = asyncio.get_running_loop(), Forker.wait, []

    async def give_up() -> None:
        trying.cancel()
        for _ in range(10):  # turns of the loop, in which it could end
            await asyncio.sleep(0)
        was_over.append(trying.done())

    def waiting(forker: Forker) -> None:
        asyncio.run_coroutine_threadsafe(give_up(), loop).result()
        wait(forker)

    monkeypatch.setattr(Forker, "wait", waiting)
    sandbox = Sandbox("strict")
    trying = asyncio.create_task(sandbox.walls())
    with pytest.raises(asyncio.CancelledError):
        await trying
    assert was_over == [False]
    await sandbox.close()


@BOTH
def test_what_a_call_starts_ends_with_it(mode: Mode, run: Running) -> None:
    seconds = f"{10_000_000 + os.getpid()}{len(mode)}"
    run(Call(daemon(seconds)), mode)
    left = sleepers(seconds)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill() if mode == "trusted" else process.wait(PATIENCE)
    assert bool(left) or mode == "strict"  # the attempt works where there are no walls


@pytest.mark.parametrize("how", ["cancelled", "server killed"])
def test_a_call_ends_with_whoever_wanted_it(how: str, run: Running, tmp_path: Path) -> None:
    seconds = f"{20_000_000 + os.getpid()}{len(how)}"
    source = f"import subprocess; print(flush=True); subprocess.run(['sleep', '{seconds}'])"
    script = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(folkmoot.__file__).parent.parent)!r})
from folkmoot.sandbox.calls import Call
from folkmoot.sandbox.sandbox import Sandbox
async def main():
    call = asyncio.create_task(Sandbox("strict").run(Call({source!r})))
    await asyncio.to_thread(sys.stdin.readline)
    call.cancel()
    await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-I", "-c", script], stdin=subprocess.PIPE) as server:
        assert server.stdin is not None
        (sleeper,) = until(lambda: sleepers(seconds))
        if how == "cancelled":
            server.stdin.write(b"\n")
            server.stdin.flush()
        else:
            server.send_signal(signal.SIGKILL)
        with suppress(psutil.NoSuchProcess):
            sleeper.wait(PATIENCE)
        assert not sleepers(seconds)


@pytest.mark.parametrize("broken", ["linux.prctl", "landlock.restrict", "seccomp.install"])
def test_a_wall_that_cannot_be_raised_is_named_and_nothing_is_run(
    broken: str, run: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module, function = broken.split(".")
    refusing = f"""
import folkmoot.sandbox.{module} as module
def refuse(*arguments, **named): raise OSError(1, "Operation not permitted", "{function}")
module.{function} = refuse
main("""
    monkeypatch.setattr(processes, "_BOOT", processes._BOOT.replace("main(", refusing))
    sandbox = Sandbox("strict")
    with pytest.raises(SandboxUnavailable, match=f"a wall is missing: .*{function}.*Run the server on Linux"):
        run.all(sandbox, [Call("1")])
    assert run.runner.run(sandbox.walls()).line.startswith("strict, but code cannot be run: ")


def test_what_is_not_run_says_why(run: Running) -> None:
    with pytest.raises(SandboxUnavailable, match="FOLKMOOT_TOOL_SANDBOX=off"):
        run(Call("1"), "off")
    with pytest.raises(SandboxUnavailable, match="bytes; a call takes"):
        run(Call("#" * 11_000_000))
    with pytest.raises(SandboxUnavailable, match="no-python"):
        run(Call("1", environment=Environment(Path("/no-python"))))


def test_an_interpreter_that_dies_is_started_again(run: Running) -> None:
    sandbox = Sandbox("strict")

    async def twice() -> None:
        assert (await sandbox.run(Call("1"))).value == 1
        for forker in sandbox._forkers.values():
            forker._process.kill()
            await asyncio.to_thread(forker._process.wait)
        assert (await sandbox.run(Call("2"))).value == 2
        await sandbox.close()

    run.runner.run(twice())


@pytest.mark.parametrize(
    "name",
    ["read the users", "read a file of the server", "write outside", "connect to the server", "signal the server"],
)
def test_landlock_holds_by_itself(name: str, run: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The other walls stand before it, so that no probe would notice that it is gone."""
    folder = Path(tempfile.mkdtemp(prefix="folkmoot-landlock-"))
    folder.chmod(0o777)
    without = f"""
from folkmoot.sandbox import linux, seccomp, walls
walls.FOLDER = {str(folder)!r}
walls._make_root = lambda *_: ["/usr", "/lib", "/lib64", sys.base_prefix]
walls._drop = lambda _: linux.prctl(linux.NO_NEW_PRIVILEGES, 1)
walls.leave_namespaces = lambda: None
linux.unshare = lambda _: None
seccomp.install = lambda **_: None
main("""
    monkeypatch.setattr(processes, "_BOOT", processes._BOOT.replace("main(", without))
    try:
        with targets(tmp_path) as there:
            (result,) = run.all(Sandbox("strict"), [Call(there.fill_in(PROBES[name]))])
    finally:
        shutil.rmtree(folder)
    assert result.status == "error" or name == "connect to the server"
    assert "REACHED" not in result.stdout


def test_limits_are_set_by_name() -> None:
    assert read_limits("") == Limits()
    assert read_limits(" memory = 5,processes=7,") == Limits(memory=5, processes=7)
    for text in ("seconds=5", "memory", "memory=0", "memory=-1", "memory=1e9", "no=1", "memory=99999999999999999999"):
        with pytest.raises(InvalidInput, match=r"tool_limits: .*(is no limit; there are cpu_seconds|a whole number)"):
            read_limits(text)
