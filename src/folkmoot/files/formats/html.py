"""Text of pages: what a reader sees of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from folkmoot.files.readable import readable_text


def read(path: str) -> Iterator[str]:
    """Yield a page's text."""
    yield readable_text(Path(path).read_bytes(), "", "", whole=True)
