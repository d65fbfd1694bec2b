"""The documentation's pages, and the examples in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A fenced piece of a page: its language, its text, and the line it starts at."""

    language: str
    text: str
    line: int


def examples(page: Path) -> list[Example]:
    """Return the fenced pieces of a page, in order."""
    text = page.read_text()
    return [Example(match[1], match[2], text.count("\n", 0, match.start()) + 2) for match in _FENCE.finditer(text)]


def without_examples(page: Path) -> str:
    """Return a page's prose."""
    return _FENCE.sub("", page.read_text())
