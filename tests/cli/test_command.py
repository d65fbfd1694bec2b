"""The command without a server: help, version, and what they import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from folkmoot import __version__

Folkmoot = Callable[..., subprocess.CompletedProcess[str]]

HEAVY = ("fastapi", "sqlalchemy", "pydantic_ai", "openai", "uvicorn", "alembic", "asyncpg")


def test_version_is_told(folkmoot: Folkmoot) -> None:
    done = folkmoot("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"folkmoot {__version__}\n", "")


def test_help_names_the_commands(folkmoot: Folkmoot) -> None:
    done = folkmoot("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("serve", "demo"):
        assert word in done.stdout


def test_help_of_serve_names_its_options(folkmoot: Folkmoot) -> None:
    done = folkmoot("serve", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for option in ("--host", "--port", "--database", "--insecure"):
        assert option in done.stdout


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["serve", "--help"], ["demo", "--help"]])
def test_help_and_version_load_nothing_heavy(environ: dict[str, str], arguments: list[str]) -> None:
    program = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))\n"
        f"sys.argv = ['folkmoot', *{arguments!r}]\n"
        "from folkmoot.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["nothing"], "nothing"), (["serve", "--nothing"], "--nothing"), (["serve", "--port", "many"], "--port")],
)
def test_what_the_command_does_not_know_is_told(folkmoot: Folkmoot, arguments: list[str], told: str) -> None:
    done = folkmoot(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert told in done.stderr
