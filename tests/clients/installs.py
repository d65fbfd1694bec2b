"""Installs the clients that cannot live in the tests' own environment, once, and reuses them from then on."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".venv-clients"
COMPILED = {"NODE_COMPILE_CACHE": str(CACHE / "compiled")}
"""A variable by which Node keeps what it has compiled, a third of what a start of Letta Code costs."""

PYTHON_0_1 = "letta-client==0.1.324"
PYTHON_1_0 = "letta-client==1.0.0"
LETTA_CODE = "letta==0.34.12"
AGENTIC_LEARNING = ("agentic-learning==0.4.3", "openai==3.54.0")


def python_0_1() -> Path:
    """Return the interpreter of an environment that holds letta-client 0.1.324 alone."""
    return _environment(PYTHON_0_1) / "python"


def python_1_0() -> Path:
    """Return the interpreter of an environment that holds letta-client 1.0.0 alone."""
    return _environment(PYTHON_1_0) / "python"


def letta_code() -> Path:
    """Return the Letta Code command; it brings the Node that it runs on."""
    return _environment(LETTA_CODE) / "letta"


def agentic_learning() -> Path:
    """Return the interpreter of an environment that holds agentic-learning and an OpenAI client to use it with."""
    return _environment(*AGENTIC_LEARNING) / "python"


def _environment(*packages: str) -> Path:
    """Return the folder of commands of an environment that holds these packages and what they need."""
    name = f"{packages[0].replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    folder = CACHE / name
    python = folder / "bin" / "python"
    with _one_at_a_time(name), _once(folder / "installed", " ".join(packages)) as missing:
        if missing:
            shutil.rmtree(folder, ignore_errors=True)
            # A pip of its own takes longer to install than the packages.
            _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
            pip = (sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check")
            _run(*pip, "install", "--no-compile", *packages)
    return folder / "bin"


def node_modules() -> Path:
    """Return the folder with the TypeScript clients, the Vercel AI SDK and tsx, as the lock file names them.

    Without Node the test is skipped, on a developer's machine; CI must have it.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        if os.environ.get("CI"):
            pytest.fail("The TypeScript clients' tests need Node 20 or later, and CI must run them.")
        pytest.skip("Node is not installed: the TypeScript clients are not tested.")
    folder = HERE / "node_modules"
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    with _one_at_a_time("node_modules"), _once(folder / ".installed", lock) as missing:
        if missing:
            _run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return folder


@contextmanager
def _one_at_a_time(what: str) -> Iterator[None]:
    """Keep the other test workers from installing the same."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _once(marker: Path, content: str) -> Iterator[bool]:
    """Tell whether `marker` does not say `content` yet; it does when the block ended well."""
    missing = not marker.exists() or marker.read_text() != content
    yield missing
    if missing:
        marker.write_text(content)


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
