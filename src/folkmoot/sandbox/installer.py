"""Installing packages into a folder: by which program, and within which bounds.

No code of a package runs: wheels are unpacked, and npm runs no scripts. The program that does it may read everything
but what is the server's own, and write to its folder alone. Where code runs without walls (`trusted`), packages without
wheels are built too, which runs their code just so.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import folkmoot
from folkmoot.sandbox.requirements import Kind

SECONDS = 900.0
MOST_BYTES = 2_000_000_000
"""Of one environment."""

_SMALLEST = 4096
"""Bytes that a file or a folder counts for at least: those of a block, which an empty one has its place for as well."""

_FROM_REGISTRY = ("--allow-git=none", "--allow-remote=none", "--allow-file=none", "--allow-directory=none")
"""What keeps npm from packages of other places, whoever depends on them; an older one passes over what is new to it."""

_FILE_BYTES = 1_000_000_000
_LOOK = 1.0
"""Seconds between two looks at how much it has become."""

_MOST_SAID = 20_000
_PASSED_ON = re.compile(
    r"(?i:PIP_.*|UV_.*|NPM_CONFIG_.*|(HTTPS?|ALL|NO)_PROXY)|PATH|HOME|LANG|XDG_CONFIG_.*|NETRC|SSL_CERT_.*"
    r"|REQUESTS_CA_BUNDLE|NODE_EXTRA_CA_CERTS"
)
"""How the machine's owner says where packages come from; the server's other variables are none of its business."""

_BOOT = """
import sys
sys.path.insert(0, sys.argv[1])
from folkmoot.sandbox.confined import main
del sys.path[0]
main(sys.argv[2])
"""
_UNREACHABLE = re.compile(
    r"name resolution|Name or service not known|nodename nor servname|establish a new connection|dns error|ENOTFOUND"
    r"|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|Connection refused|error sending request|Network is unreachable|timed out"
)
_ELSEWHERE = re.compile(r"code EALLOW(GIT|REMOTE|FILE|DIRECTORY)|spawn git|code ENOENT.*git", re.DOTALL)
_OF_REGISTRY = re.compile(r"(npm:(@[^/:]+/)?)?[^/:]*")
"""What npm takes from its registry: a version or tag, or behind `npm:` another package of it."""

_NOT_FROM_REGISTRY = "only packages of npm's registry are installed, by name and version; choose another package"
_NO_WHEEL = re.compile(r"No matching distribution|no usable wheels|has no wheels|no wheels with a matching|no-binary")


class InstallFailed(Exception):
    """The packages could not be installed; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Installer:
    """Installs packages."""

    walls: bool
    """Whether it is to be closed off, and nothing of a package may run."""

    hidden: tuple[str, ...] = ()
    """Files and folders of the server."""

    most_bytes: int = MOST_BYTES
    """Of one environment."""

    async def install(self, kind: Kind, requirements: Sequence[str], folder: Path) -> None:
        """Install packages into the empty folder.

        Raises:
            InstallFailed: they are not all there, or one comes from elsewhere than the index.
        """
        packages, temporary = folder / "packages", folder / "temporary"
        packages.mkdir()
        packages.chmod(0o755)  # the server's own umask closes what it makes
        temporary.mkdir()
        command = await self._command(kind, packages, temporary, folder)
        said, code = await self._run([*command, "--", *requirements], folder)
        if code != 0:
            raise InstallFailed(_why(said, code))
        if kind == "npm":
            await asyncio.to_thread(_check_origins, packages)
        await asyncio.to_thread(shutil.rmtree, temporary)

    async def _command(self, kind: Kind, packages: Path, temporary: Path, folder: Path) -> list[str]:
        if kind == "npm":
            npm = shutil.which("npm")
            if npm is None:
                raise InstallFailed(
                    "npm is not there to make it with; install Node.js with npm on the server's machine"
                )
            return [
                npm, "install", "--prefix", str(packages), "--cache", str(temporary / "npm"), "--ignore-scripts",
                "--no-audit", "--no-fund", "--no-package-lock", "--no-save", "--no-update-notifier", "--loglevel=error",
                *_FROM_REGISTRY, f"--git={temporary / 'no-git'}",
                "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000",
            ]  # fmt: skip
        only_wheels = ["--only-binary", ":all:"] if self.walls else []
        uv = shutil.which("uv")
        if uv is not None and (await self._run([uv, "--version"], folder))[1] == 0:
            return [
                uv, "pip", "install", "--target", str(packages), "--python", sys.executable, "--no-cache",
                "--link-mode", "copy", "--compile-bytecode", "--quiet", "--color", "never", *only_wheels,
            ]  # fmt: skip
        if importlib.util.find_spec("pip") is None:
            raise InstallFailed("neither uv nor pip is there to make it with; install uv on the server's machine")
        return [
            sys.executable, "-m", "pip", "install", "--target", str(packages), "--no-cache-dir", "--no-input",
            "--disable-pip-version-check", "--progress-bar", "off", "--no-color", *only_wheels,
        ]  # fmt: skip

    async def _run(self, command: Sequence[str], folder: Path) -> tuple[str, int]:
        """Run a program of this machine; return the end of what it said and its exit code.

        Raises:
            InstallFailed: it took too long, or wrote too much.
        """
        asked = {
            "command": command,
            "folder": str(folder),
            "hidden": self.hidden,
            "file_size": _FILE_BYTES,
            "walls": self.walls,
        }
        root = str(Path(folkmoot.__file__).parent.parent)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", _BOOT, root, json.dumps(asked),
            cwd=folder,
            env=_variables(os.environ, folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        watching = asyncio.create_task(_grown_larger(folder, self.most_bytes))
        reading = asyncio.create_task(_read_end(process))
        try:
            done, _ = await asyncio.wait({watching, reading}, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if watching in done:
                raise InstallFailed(f"it is larger than {self.most_bytes:,} bytes; name fewer packages")
            if not done:
                raise InstallFailed(f"it took more than {SECONDS:g} seconds; name fewer packages")
            return reading.result(), await process.wait()
        finally:
            watching.cancel()
            reading.cancel()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _read_end(process: asyncio.subprocess.Process) -> str:
    said = b""
    assert process.stdout is not None
    while piece := await process.stdout.read(65536):
        said = (said + piece)[-_MOST_SAID:]
    return said.decode(errors="replace")


async def _grown_larger(folder: Path, most_bytes: int) -> None:
    while await asyncio.to_thread(size_of, folder) <= most_bytes:
        await asyncio.sleep(_LOOK)


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder that may be changing; small ones and folders count for a block."""
    total = 0
    for where, folders, names in os.walk(folder):
        total += len(folders) * _SMALLEST
        for name in names:
            with suppress(FileNotFoundError):
                size = os.lstat(os.path.join(where, name)).st_size  # noqa: PTH118 - a hundred thousand of them
                total += max(size, _SMALLEST)
    return total


def _check_origins(packages: Path) -> None:
    """See that npm has taken every package from its registry, by name and version.

    Raises:
        InstallFailed: one depends on an address, a repository, a file or a folder.
    """
    lock = packages / "node_modules" / ".package-lock.json"
    found = json.loads(lock.read_text())["packages"] if lock.is_file() else {}
    for place, package in found.items():
        for kind in ("dependencies", "optionalDependencies", "peerDependencies"):
            for name, wanted in package.get(kind, {}).items():
                if _OF_REGISTRY.fullmatch(wanted) is None:
                    depending = place.rpartition("node_modules/")[2]
                    raise InstallFailed(f"{depending} depends on {name} at {wanted[:200]!r}: {_NOT_FROM_REGISTRY}")


def _variables(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)}
    return {**kept, "TMPDIR": str(folder / "temporary")}


def _why(said: str, code: int) -> str:
    """Return why installing failed: what to do where that is known, and the last lines of what was said."""
    lines = [line.rstrip() for line in said.splitlines() if line.strip()]
    last = "\n".join(lines[-12:])[-2000:] or f"it ended with exit code {code}"
    if _UNREACHABLE.search(said):
        return (
            f"the package index cannot be reached; connect the server to it, or name another one to uv and pip\n{last}"
        )
    if _ELSEWHERE.search(said):
        return f"a package depends on one of another place: {_NOT_FROM_REGISTRY}\n{last}"
    if _NO_WHEEL.search(said):
        here = f"Python {sys.version_info.major}.{sys.version_info.minor} on {sys.platform}"
        return f"a package is not there as a wheel for {here}, and nothing else is installed\n{last}"
    return last
