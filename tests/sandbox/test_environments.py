"""Packages are installed once, whole or not at all, by name only, and stay as long as somebody uses them."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import folkmoot
from folkmoot.errors import InvalidInput, SandboxUnavailable
from folkmoot.sandbox import environments as service
from folkmoot.sandbox import installer as installing
from folkmoot.sandbox.calls import Call, Environment, Limits
from folkmoot.sandbox.environments import Environments, State
from folkmoot.sandbox.installer import Installer, InstallFailed
from folkmoot.sandbox.requirements import Kind, read_requirements
from folkmoot.sandbox.sandbox import Sandbox

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="walls are Linux's")
LIMITS = Limits(seconds=60.0)


def write_wheel(folder: Path, name: str, source: str, version: str = "1.0") -> None:
    """Make a wheel of one module."""
    about = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": source,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{about}/RECORD": record}.items():
            wheel.writestr(path, text)


def write_source(folder: Path, name: str, marker: Path) -> None:
    """Make a source package that leaves a mark when it is built."""
    build = f"""
import pathlib
pathlib.Path({str(marker)!r}).write_text("built")
def get_requires_for_build_wheel(settings=None): return []
"""
    files = {
        "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'builder'\nbackend-path = ['.']\n",
        "builder.py": build,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
    }
    with tarfile.open(folder / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-1.0/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    write_wheel(folder, "greeting", "WORD = 'hello'")
    write_wheel(folder, "farewell", "WORD = 'goodbye'")
    write_source(folder, "unbuilt", folder / "mark")
    return folder


@pytest.fixture
def only_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let installers look into one folder and nowhere else."""
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(index))
    return index


@pytest.fixture(params=["uv", "pip"])
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "pip":
        found = shutil.which
        monkeypatch.setattr(installing.shutil, "which", lambda name: None if name == "uv" else found(name))
    elif shutil.which("uv") is None:
        pytest.skip("uv is not there")
    return str(request.param)


@dataclass(frozen=True)
class Slow(Installer):
    """Makes a package of nothing, when it is let."""

    walls: bool = True

    async def install(self, kind: Kind, requirements: Sequence[str], folder: Path) -> None:
        (folder / "packages").mkdir()
        (folder / "packages" / "whole.py").write_text("")
        with (folder.parent / "installed").open("a") as log:
            log.write("x")
        await GO.wait()
        if "broken" in requirements:
            raise InstallFailed("it is broken")


GO = asyncio.Event()
Make = Callable[..., Environments]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make the environments of one more process of the same data folder."""
    made = []
    before = os.umask(0o077)  # as the server sets it
    GO.set()

    def one(installer: Installer | None = None, keep: float = 1000.0, most_bytes: int = 10**9) -> Environments:
        folder = tmp_path / "data" / "environments"
        made.append(Environments(folder, installer or Slow(), keep=keep, most_bytes=most_bytes))
        return made[-1]

    yield one
    os.umask(before)
    for each in made:
        await each.close()


def folders(path: Path) -> list[str]:
    return sorted(
        one.name for one in (path / "data" / "environments").iterdir() if one.is_dir() and one.name != "locks"
    )


async def test_code_imports_what_it_asks_for(tool: str, only_index: Path, make: Make, tmp_path: Path) -> None:
    environments = make(Installer(True, (str(tmp_path / "data"),)))
    sandbox = Sandbox("strict", [tmp_path / "data"], environments=environments)
    source = "import greeting; greeting.WORD"
    try:
        assert environments.state("pip", ["Greeting"]) == State("unmade")
        call = Call(source, environment=Environment(requirements=("Greeting == 1.0",)), limits=LIMITS)
        assert (await sandbox.run(call)).value == "hello"
        assert environments.state("pip", ["greeting==1.0"]) == State("ready")
        assert (await sandbox.run(Call(source))).status == "error"
        other = Call(source, environment=Environment(requirements=("farewell",)), limits=LIMITS)
        assert "No module named 'greeting'" in str((await sandbox.run(other)).error)
        writing = Call("open('/packages/0/greeting.py', 'w')", environment=call.environment)
        assert (await sandbox.run(writing)).status == "error"
    finally:
        await sandbox.close()
    assert (tmp_path / "data" / "environments").stat().st_mode & 0o777 == 0o700


async def test_packages_that_are_made_again_are_seen(only_index: Path, make: Make, tmp_path: Path) -> None:
    """A guard that waits behind its walls has the folder before."""
    environments = make(Installer(True))
    sandbox = Sandbox("strict", environments=environments)
    call = Call("import greeting; greeting.WORD", environment=Environment(requirements=("greeting",)), limits=LIMITS)
    try:
        assert (await sandbox.run(call)).value == "hello"
        environments._keep = -1
        environments.prune()
        assert folders(tmp_path) == []
        assert (await sandbox.run(call)).value == "hello"
    finally:
        await sandbox.close()


async def test_only_wheels_are_installed(tool: str, only_index: Path, make: Make) -> None:
    for walls in (True, False):
        (only_index / "mark").unlink(missing_ok=True)
        with pytest.raises(SandboxUnavailable, match="could not be made") as told:
            await make(Installer(walls)).ready("pip", ["unbuilt"])
        assert ("not there as a wheel" in told.value.message) == walls
        assert (only_index / "mark").exists() != walls  # without walls its code was run


async def test_an_index_that_cannot_be_reached_is_told(
    tool: str, only_index: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_NO_INDEX", "UV_NO_INDEX"):
        monkeypatch.delenv(name)
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    environments = make(Installer(True))
    with pytest.raises(SandboxUnavailable, match="could not be made: the package index cannot be reached; connect"):
        await environments.ready("pip", ["nowhere"])
    state = environments.state("pip", ["nowhere"])
    assert state.name == "failed" and "127.0.0.1" in str(state.reason)


@pytest.mark.parametrize("walls", [True, False])
async def test_what_installs_sees_nothing_of_the_server(walls: bool, tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "data" / "environments" / "one"
    folder.mkdir(parents=True)
    (data / "key").write_text("secret")
    installer = Installer(walls, (str(data),))
    for command, reached in (
        (f"cat {data}/key", "secret"),
        (f"ls {data}", "key"),
        (f"echo secret > {tmp_path}/out; cat {tmp_path}/out", "secret"),
        (f"cat /proc/{os.getpid()}/environ", "PATH="),
    ):
        said, _ = await installer._run(["sh", "-c", command], folder)
        assert (reached in said) != walls, said
    said, code = await installer._run(["sh", "-c", "echo x > here && cat here && env"], folder)
    assert code == 0 and said.startswith("x") and "PYTEST" not in said


async def test_an_environment_is_made_once_by_all(make: Make, tmp_path: Path) -> None:
    GO.clear()
    one, other = make(), make()
    assert one.make("pip", ["a"]) == State("making")
    waiting = [asyncio.create_task(each.ready("pip", ["a"])) for each in (one, other, one)]
    while not (tmp_path / "data" / "environments" / "installed").exists():
        await asyncio.sleep(0.01)
    assert other.state("pip", ["a"]) == State("making")
    with pytest.raises(SandboxUnavailable, match="is still being made; try again"):
        await one.ready("pip", ["a"], wait=0.01)
    GO.set()
    await asyncio.gather(*waiting)
    assert (tmp_path / "data" / "environments" / "installed").read_text() == "x"
    assert one.state("pip", ["a"]) == other.state("pip", ["a"]) == State("ready")


async def test_a_failure_is_told_and_tried_again_later(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "data" / "environments" / "installed"
    environments = make()
    for _ in range(2):
        with pytest.raises(SandboxUnavailable, match="the environment could not be made: it is broken"):
            await environments.ready("pip", ["broken"])
    assert environments.make("pip", ["broken"]) == make().state("pip", ["broken"]) == State("failed", "it is broken")
    assert installed.read_text() == "x"
    monkeypatch.setattr(service, "RETRY_SECONDS", -1.0)
    assert environments.make("pip", ["broken"]).name == "making"
    with pytest.raises(SandboxUnavailable):
        await environments.ready("pip", ["broken"])
    assert installed.read_text() == "xx"
    assert folders(tmp_path) == []


async def test_a_process_that_is_killed_leaves_nothing_that_is_taken_as_ready(make: Make, tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
sys.path[:0] = [{str(Path(folkmoot.__file__).parent.parent)!r}, {str(Path(__file__).parent.parent)!r}]
sys.path += {sys.path!r}
from pathlib import Path
from sandbox import test_environments as tests
async def main():
    folder = Path({str(tmp_path)!r}) / "data" / "environments"
    await tests.Environments(folder, tests.Slow(), keep=1e9, most_bytes=10**9).ready("pip", ["a"])
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        environments = make()
        while environments.state("pip", ["a"]).name != "making":
            assert process.poll() is None
            await asyncio.sleep(0.02)
        while not (tmp_path / "data" / "environments" / "installed").exists():
            await asyncio.sleep(0.02)
        process.kill()
    assert len(folders(tmp_path)) == 1
    assert environments.state("pip", ["a"]) == State("unmade")
    await environments.ready("pip", ["a"])
    assert [name for name in folders(tmp_path) if "making" in name] == []
    assert environments.state("pip", ["a"]) == State("ready")


async def test_what_is_not_used_is_removed_and_what_is_used_is_not(make: Make, tmp_path: Path) -> None:
    environments = make(keep=100.0)
    for name in ("old", "used", "new"):
        await environments.ready("pip", [name])
    for name in ("old", "used"):
        there = tmp_path / "data" / "environments" / environments._key("pip", (name,))
        os.utime(there / "used", (time.time() - 200,) * 2)
    async with make().use("pip", ["used"]) as packages:
        os.utime(packages.parent / "used", (time.time() - 200,) * 2)
        environments.prune()
        assert (packages / "whole.py").exists()
        assert [environments.state("pip", [name]).name for name in ("old", "used", "new")] == [
            "unmade",
            "ready",
            "ready",
        ]
    environments.prune()
    assert [environments.state("pip", [name]).name for name in ("used", "new")] == ["unmade", "ready"]


async def test_beyond_the_size_the_longest_unused_go(make: Make, tmp_path: Path) -> None:
    environments = make()
    for age, name in ((1, "c"), (3, "a"), (2, "b")):
        await environments.ready("pip", [name])
        there = tmp_path / "data" / "environments" / environments._key("pip", (name,))
        os.utime(there / "used", (time.time() - age,) * 2)
        (there / "about.json").write_text('{"bytes": 6000}')
    environments = make(most_bytes=15_000)
    async with environments.use("pip", ["b"]) as packages:
        os.utime(packages.parent / "used", (1, 1))
        await environments.ready("pip", ["d"])  # a file and its folder, 8,192 bytes: two of the others have to go
        assert [environments.state("pip", [name]).name for name in "abcd"] == ["unmade", "ready", "unmade", "ready"]
        with pytest.raises(SandboxUnavailable, match="it has 8,192 bytes, for which there is no room: all packages"):
            async with environments.use("pip", ["d"]):
                await environments.ready("pip", ["e"])


@pytest.mark.parametrize(
    "text",
    [
        *("--index-url=http://x", "-e .", "-r /etc/passwd", "./here", "/etc/passwd", "../up", "", " ", "a b"),
        *("six @ file:///etc/passwd", "six @ https://example.org/six.whl", "git+https://example.org/x", "x" * 300),
        *("http://example.org/six.whl", "six==1.0 --hash=sha256:0", "six\n--pre", "six==1.0 # -r x", "~/six"),
        *("six; import os", "six.whl/../x"),
    ],
)  # fmt: skip
def test_what_is_no_package_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInput, match="pip_requirements: "):
        read_requirements("pip", ["six", text])


def test_equal_sets_are_equal_and_sets_are_bounded() -> None:
    assert read_requirements("pip", ["B_c>=1", "a"]) == read_requirements("pip", ["a ", "b-C >= 1", "A"])
    with pytest.raises(InvalidInput, match="at most 64"):
        read_requirements("pip", [f"p{number}" for number in range(65)])


async def test_an_environment_that_grows_too_large_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = Installer(True, most_bytes=50_000)
    monkeypatch.setattr(installing, "_LOOK", 0.05)
    for growing in ("while true; do echo x >> here; done", "n=0; while true; do n=$((n+1)); : > empty$n; done"):
        with pytest.raises(InstallFailed, match="larger than 50,000 bytes"):
            await installer._run(["sh", "-c", growing], tmp_path)
        for file in tmp_path.iterdir():
            file.unlink()
    monkeypatch.setattr(installing, "SECONDS", 0.2)
    with pytest.raises(InstallFailed, match=r"more than 0\.2 seconds"):
        await Installer(True)._run(["sleep", "100"], tmp_path)
