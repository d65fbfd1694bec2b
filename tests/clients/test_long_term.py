"""Archives, passages, folders and files do their job through each of the official clients."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installs import HERE, node_modules, python_0_1, python_1_0
from test_tutorial import run

from support.server import ServerProcess

HERON, OWL = "The heron fishes at dawn.", "The owl hunts at night."
TEXT = "# Kettles\n\nThe red kettle is for tea.\n"
OF_PASSAGES = {"kept": [HERON, OWL], "found": [[OWL, ["bird", "night"]]], "left": [HERON]}
OF_FILES = {
    "upload": ["kettles.md", "parsing"],
    "read": ["completed", 1, 1],
    "opened again": [],
    "folders": [True],
    "agents": [True],
    "files left": [],
}
VIEW = {
    "open": [True, f"[Viewing file start (out of 3 lines)]\n1: # Kettles\n2: \n3: {TEXT.splitlines()[2]}"],
    "closed": [False],
}
NEWER = {
    "archive": ["field notes", "What was seen"],
    "archives": ["field notes"],
    "archives left": [],
    **OF_FILES,
    **VIEW,
}
OLDER = {
    "tools": ["grep_files", "open_files", "semantic_search_files"],
    "passages": [TEXT],
    "jobs": [],
    **OF_PASSAGES,
    **OF_FILES,
}


def _tsx(program: str, tsconfig: str) -> list[str]:
    return ["node", str(node_modules() / "tsx" / "dist" / "cli.mjs"), "--tsconfig", str(HERE / tsconfig), program]


CLIENTS: dict[str, tuple[Callable[[], list[str]], dict[str, Any]]] = {
    "python": (
        lambda: [sys.executable, str(HERE / "long_term.py")],
        {**NEWER, **OF_PASSAGES, "found everywhere": HERON},
    ),
    "python-1.0": (lambda: [str(python_1_0()), str(HERE / "long_term.py")], NEWER),
    "python-0.1": (
        lambda: [str(python_0_1()), str(HERE / "long_term_0_1.py")],
        {**OLDER, **VIEW, "archive": ["field notes", "What was seen"], "archives": ["reader's Archive"]},
    ),
    "typescript": (
        lambda: _tsx(str(HERE / "long_term.ts"), "tsconfig.1.json"),
        {**NEWER, **OF_PASSAGES, "found everywhere": HERON},
    ),
    "typescript-0.1": (
        lambda: _tsx(str(HERE / "long_term_0_1.ts"), "tsconfig.0_1.json"),
        {**OLDER, "closed all": ["handbook/kettles.md"]},
    ),
}
ON_BOTH = {"python", "python-0.1"}
RUNS = [*((name, "sqlite") for name in CLIENTS), *((name, "postgres") for name in sorted(ON_BOTH))]


@pytest.mark.parametrize(("client_name", "store"), RUNS, indirect=["store"])
def test_what_a_client_keeps_it_finds_again(client_name: str, server: ServerProcess, tmp_path: Path) -> None:
    command, expected = CLIENTS[client_name]
    lines = (line.partition(": ") for line in run(command(), server, tmp_path).splitlines())
    told = {what: json.loads(value) for what, _, value in lines}
    if "closed all" in told:
        told["closed all"] = [f"handbook/{name.partition('/')[2]}" for name in told["closed all"]]
    assert told == expected
