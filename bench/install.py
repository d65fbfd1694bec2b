"""How much `pip install folkmoot` puts on the disk, measured in a fresh environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import bars
from bench.bars import Figure
from bench.processes import ROOT

OWN_TO_VENV = {"pip", "setuptools", "wheel"}


def measure() -> list[Figure]:
    """Return the installed size and the number of packages, pip itself not counted."""
    with tempfile.TemporaryDirectory(prefix="folkmoot-bench-") as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = folder / "bin" / "python"
        before = _size(folder)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ROOT], check=True)
        listed = subprocess.run(
            [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
            check=True,
            capture_output=True,
            text=True,
        )
        packages = {package["name"] for package in json.loads(listed.stdout)} - OWN_TO_VENV
        size = (_size(folder) - before) / 1e6
    return [
        Figure(bars.INSTALLED, value=size, unit="MB"),
        Figure(bars.PACKAGES, value=len(packages), unit="packages"),
    ]


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
