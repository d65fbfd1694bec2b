"""Running the command itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest

from support.forks import preloaded
from support.polling import PATIENCE

PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "COVERAGE_PROCESS_CONFIG")

Folkmoot = Callable[..., subprocess.CompletedProcess[str]]


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
def folkmoot(home: Path, environ: Mapping[str, str], by_command: bool, tmp_path: Path) -> Folkmoot:
    """Run `folkmoot …` to its end."""
    run = _run if by_command else partial(_fork, tmp_path)

    def run_to_its_end(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return run(arguments, home, {**environ, **variables})

    return run_to_its_end


def _run(arguments: Sequence[str], folder: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "folkmoot", *arguments],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def _fork(
    place: Path, arguments: Sequence[str], folder: Path, environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    output, errors = place / "output", place / "errors"
    for file in (output, errors):
        file.write_bytes(b"")
    fork = preloaded().fork(arguments, folder=folder, environ=environ, output=output, errors=errors)
    try:
        status = fork.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        fork.kill()
        raise
    return subprocess.CompletedProcess(arguments, status, output.read_text(), errors.read_text())
