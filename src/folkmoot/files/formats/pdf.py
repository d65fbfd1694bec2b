"""Text of PDF files: that of their pages, and what was filled in."""

from __future__ import annotations

from collections.abc import Iterator

from folkmoot.files.formats.parts import Unreadable


def read(path: str) -> Iterator[str]:
    """Yield a file's text, page by page."""
    import pypdf

    reader = pypdf.PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("it is encrypted; upload it without a password")
    found = False
    for page in reader.pages:
        text = page.extract_text()
        found = found or bool(text.strip())
        yield text
    if not found:
        raise Unreadable("it has no text: its pages are pictures; upload it with its text recognised (OCR)")
