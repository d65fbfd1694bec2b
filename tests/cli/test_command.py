"""The command without a server: help, version, and what they import."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from folkmoot import __version__
from folkmoot.demo import EXAMPLES, examples_folder
from support.polling import PATIENCE

Folkmoot = Callable[..., subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
HEAVY = ("fastapi", "sqlalchemy", "pydantic_ai", "openai", "uvicorn", "alembic", "asyncpg")


@pytest.mark.by_command
def test_version_is_told(folkmoot: Folkmoot) -> None:
    done = folkmoot("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"folkmoot {__version__}\n", "")


@pytest.mark.by_command
def test_python_without_docstrings_is_told_of_in_a_line(folkmoot: Folkmoot) -> None:
    done = folkmoot("serve", PYTHONOPTIMIZE="2")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr
    assert "unset PYTHONOPTIMIZE" in done.stderr


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


def test_help_of_demo_names_the_examples(folkmoot: Folkmoot) -> None:
    done = folkmoot("demo", "--help", COLUMNS="200")
    assert re.search(rf"{', '.join(list(EXAMPLES)[:-1])} or {list(EXAMPLES)[-1]}", done.stdout)


def test_an_example_that_is_not_there_is_answered_with_those_that_are(folkmoot: Folkmoot) -> None:
    done = folkmoot("demo", "--example", "nothing")
    assert (done.returncode, done.stderr) == (2, "")
    assert "There is no example 'nothing'." in done.stdout
    for name, words in EXAMPLES.items():
        assert f"{name:<17}  {words}" in done.stdout


@pytest.mark.by_command
def test_a_demo_without_the_official_client_says_what_brings_it(folkmoot: Folkmoot, tmp_path: Path) -> None:
    (tmp_path / "letta_client.py").write_text("raise ImportError\n")
    done = folkmoot("demo", PYTHONPATH=str(tmp_path), COLUMNS="200")
    assert (done.returncode, done.stderr) == (1, "")
    assert "pip install 'folkmoot[demo]'" in done.stdout


def test_an_example_is_run_and_its_blocks_are_shown_with_their_writers(folkmoot: Folkmoot) -> None:
    elsewhere = {"ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}  # no way to this machine
    done = folkmoot("demo", "--example", "task_coordination", "--model", "offline/notetaker", **elsewhere)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "6 of 6 tasks are done" in done.stdout
    assert "tasks, version 13: who wrote what" in done.stdout
    assert re.search(r"ada, version \d+", done.stdout)
    assert "==== tasks ====" not in done.stdout


def test_a_package_holds_the_examples() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {f"examples/{name}.py": f"folkmoot/examples/{name}.py" for name in EXAMPLES}
    assert {(examples_folder() / f"{name}.py").is_file() for name in EXAMPLES} == {True}


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
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
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


def test_without_a_server_the_terminal_says_what_to_do(folkmoot: Folkmoot) -> None:
    told = folkmoot("runs", FOLKMOOT_URL="http://127.0.0.1:9")
    assert told.returncode == 1
    assert "Start one with `folkmoot serve`" in told.stderr


def test_a_misspelt_variable_is_named_with_its_nearest(folkmoot: Folkmoot) -> None:
    told = folkmoot("serve", "--port", "0", FOLKMOOT_API_KYE="secret")
    assert (told.returncode, told.stderr) == (
        1,
        "folkmoot: FOLKMOOT_API_KYE is no setting; did you mean FOLKMOOT_API_KEY?\n",
    )


def test_a_postgresql_that_is_not_there_is_named(folkmoot: Folkmoot) -> None:
    told = folkmoot(
        "serve", "--port", "0", FOLKMOOT_DATABASE="postgresql://ada:hush@127.0.0.1:1/moot", FOLKMOOT_MOON="x"
    )
    assert told.returncode == 1
    assert "PostgreSQL at 127.0.0.1:1 cannot be reached" in told.stderr
    assert "FOLKMOOT_MOON is no setting of this version" in told.stderr
    assert "hush" not in told.stderr


def test_what_was_set_for_the_retired_server_is_told_unless_its_heir_is_set(folkmoot: Folkmoot) -> None:
    told = folkmoot(
        "serve",
        "--database",
        "postgresql://127.0.0.1:1/moot",
        LETTA_SERVER_PASSWORD="hush",
        LETTA_PG_URI="postgresql://127.0.0.1:1/old",
        LETTA_UVICORN_WORKERS="4",
        FOLKMOOT_WORKERS="2",
    )
    lines = [line for line in told.stderr.splitlines() if "LETTA_" in line]
    assert len(lines) == 1, "the database is an option, the workers are a variable"
    assert "LETTA_SERVER_PASSWORD" in lines[0]
    assert "FOLKMOOT_API_KEY" in lines[0]
    assert "hush" not in told.stderr
