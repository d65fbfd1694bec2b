"""Text of Rich Text Format, as WordPad, TextEdit, Word and LibreOffice write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def read(path: str) -> Iterator[str]:
    """Yield a file's text."""
    from striprtf.striprtf import rtf_to_text

    text = str(rtf_to_text(Path(path).read_bytes().decode("latin-1"), errors="replace"))  # type: ignore[no-untyped-call]
    # A character beyond the first 65,536 is written as two halves.
    yield text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
