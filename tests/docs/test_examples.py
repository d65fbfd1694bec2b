"""Every example of the documentation runs, in its page's order, and says what the page says that it says.

Python pieces share one namespace; what they print must be the `# → …` comments. Shell pieces run in bash. A JSON piece
behind a shell piece is its output, in which `…` stands for anything.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, Example, examples

from support.polling import PATIENCE
from support.server import ServerProcess

WITH_EXAMPLES = [
    "README.md",
    "docs/shared-memory.md",
    "docs/turns.md",
    "docs/models.md",
    "docs/api-stability.md",
    "docs/files.md",
    "docs/tools.md",
    "docs/archives.md",
    "docs/groups.md",
    "docs/moving-in.md",
    "docs/templates.md",
]
ADDRESS = "http://localhost:8283"
CURL_TIMED_OUT = 28
"""The exit code of `curl --max-time`, which ends a watch."""


@pytest.fixture
def server_without_key(database_url: str, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server as a newcomer starts it: no provider's key, the offline model."""
    with ServerProcess(database=database_url, home=tmp_path) as server:
        yield server


@pytest.mark.parametrize("page", WITH_EXAMPLES)
def test_examples_run(page: str, server_without_key: ServerProcess, tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "example"}
    found = examples(ROOT / page)
    assert any(example.language in ("python", "bash") for example in found)
    for example, following in pairwise([*found, Example("", "", 0)]):
        if example.language == "python":
            run_python(example, f"{page}:{example.line}", server_without_key.url, namespace)
        elif example.language == "bash" and "curl" in example.text:
            output = run_shell(example, server_without_key.url, identifiers(namespace), tmp_path)
            if following.language == "json":
                check_like(json.loads(following.text), json.loads(output), f"{page}:{following.line}")
    if "client" in namespace:
        namespace["client"].close()


def run_python(example: Example, place: str, url: str, namespace: dict[str, Any]) -> None:
    """Run a Python piece; what it prints must be what its comments say."""
    code = "\n" * (example.line - 1) + example.text.replace(ADDRESS, url)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, place, "exec"), namespace)
    expected = re.findall(r"# → (.*)$", example.text, re.MULTILINE)
    if expected:
        assert printed.getvalue().splitlines() == expected, place


def run_shell(example: Example, url: str, variables: Mapping[str, str], folder: Path) -> str:
    """Run a shell piece and return what it printed; what it asks the server must not fail inside it."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.text.replace(ADDRESS, url)],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode in (0, CURL_TIMED_OUT), f"{example.text}\n{done.stdout}{done.stderr}"
    assert done.stdout, example.text
    for answer in re.findall(r'^\{"detail".*', done.stdout, re.MULTILINE):
        assert "not found" not in answer.lower(), answer
        assert "There is nothing at" not in answer, answer
    return done.stdout


def identifiers(namespace: Mapping[str, Any]) -> dict[str, str]:
    """Return the identifiers that the Python pieces made, as shell variables: `block.id` is `$BLOCK`."""
    return {name.upper(): value.id for name, value in namespace.items() if isinstance(getattr(value, "id", None), str)}


def check_like(expected: Any, found: Any, place: str) -> None:
    """Compare JSON as the page shows it with JSON as it came."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), place
        assert list(expected) == list(found), place
        for key, value in expected.items():
            check_like(value, found[key], f"{place} {key}")
    elif isinstance(expected, list):
        assert len(expected) == len(found), place
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            check_like(one, other, f"{place} {number}")
    elif isinstance(expected, str) and "…" in expected:
        pattern = ".*".join(re.escape(part) for part in expected.split("…"))
        assert re.fullmatch(pattern, str(found), re.DOTALL), (place, expected, found)
    else:
        assert expected == found, place
