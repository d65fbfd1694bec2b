"""Files in Python that are run as processes of their own; forked where that can be, so that none imports all anew."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.forks import preloaded
from support.polling import PATIENCE
from support.server import FORKS, Process

FORKED = Path(__file__).with_name("forked.py")


def folkmoot_program(*arguments: str) -> list[str]:
    """Return how to start `folkmoot ARGUMENTS` where only a command will do: for what talks over standard streams."""
    if FORKS:
        return [sys.executable, "-I", "-S", str(FORKED), str(preloaded().address), *arguments]
    return [sys.executable, "-m", "folkmoot", *arguments]


def start(script: Path, arguments: Sequence[str], *, environ: Mapping[str, str], output: Path, errors: Path) -> Process:
    """Start a script in the folder of its output.

    Args:
        script: the file.
        arguments: what it is given on its command line.
        environ: its variables, all of them.
        output: the file to which what it prints is appended.
        errors: the same for what it prints on its standard error.

    Returns:
        The process, which is the caller's to end.
    """
    folder = output.parent
    if FORKS:
        return preloaded().fork(arguments, script=script, folder=folder, environ=environ, output=output, errors=errors)
    with output.open("ab") as out, errors.open("ab") as err:
        command = [sys.executable, str(script), *arguments]
        return subprocess.Popen(command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err)


def run(
    script: Path, arguments: Sequence[str], *, environ: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a script to its end.

    Args:
        script: the file.
        arguments: what it is given on its command line.
        environ: its variables, all of them.
        folder: where it runs, and what it prints is kept until it is returned.

    Returns:
        How it ended, and what it has printed.

    Raises:
        subprocess.TimeoutExpired: it did not end.
    """
    output, errors = folder / "printed", folder / "printed-errors"
    for file in (output, errors):
        file.write_bytes(b"")
    process = start(script, arguments, environ=environ, output=output, errors=errors)
    try:
        status = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess([str(script), *arguments], status, output.read_text(), errors.read_text())
