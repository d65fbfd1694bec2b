"""Running the command itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "COVERAGE_PROCESS_CONFIG")
LONGEST = 300.0
"""Seconds after which a command is given up; it may have to share the machine with many."""

Folkmoot = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def by_command() -> bool:
    """Servers are started by the command, in a fresh interpreter."""
    return True


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder that is HOME and working folder."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    """The variables of the command; a test may add some."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"HOME": str(home)}


@pytest.fixture
def folkmoot(home: Path, environ: Mapping[str, str]) -> Folkmoot:
    """Run `folkmoot …` to its end."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "folkmoot", *arguments],
            cwd=home,
            env={**environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )

    return run
