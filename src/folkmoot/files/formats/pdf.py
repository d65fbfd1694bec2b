"""Text of PDF files: that of their pages, with what was noted on them and filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from folkmoot.files.formats.parts import Unreadable

WIDEST_SPACE = 280
"""Thousandths of a font's size that a space is taken to be wide, at most.

Fonts of TeX have no space, and often say the width of some other character in its place. Gaps between words were then
taken for narrow ones between letters, and whole paragraphs became one word.
"""

LIGATURES = dict(zip(range(0xFB00, 0xFB07), ("ff", "fi", "fl", "ffi", "ffl", "st", "st"), strict=True))

NO_NOTES = ("/Popup", "/Link", "/Widget")
"""Annotations whose words stand elsewhere."""

_HYPHENATED = re.compile(r"([^\W\d_]{2,100})[-\u00ad\u2010]\n([^\W\d_A-Z]{2,}[^\s\w]*) *\n?")
"""Of a word that goes on for longer only the end is looked at, or the time would grow with its square."""


def read(path: str) -> Iterator[str]:
    """Yield a file's text, page by page."""
    import pypdf

    _bound_spaces()
    reader = pypdf.PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("it is encrypted; upload it without a password")
    found, failed = False, None
    for number, page in enumerate(reader.pages, 1):
        try:
            text = _text(page)
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # parsers fail in many ways at damaged pages, and the others can be read
            failed = failed or error
            text = ""
            yield f"[Page {number} is damaged and was not read]"
        if not text.strip() and _has_pictures(page):
            yield f"[Page {number} is a picture and was not read]"
        found = found or bool(text.strip())
        yield text
    filled = _filled_in(reader)
    yield filled
    if failed is not None and not found:
        raise failed
    if not found and not filled:
        raise Unreadable("it has no text: its pages are pictures; upload it with its text recognised (OCR)")


def _bound_spaces() -> None:
    """Have pypdf take no space for wider than any is; nothing of its own does."""
    from pypdf.generic import _font

    font: Any = _font.Font
    width = getattr(font, "_add_space_width", None)
    if width is not None:
        font._add_space_width = staticmethod(lambda *given: min(width(*given), WIDEST_SPACE))


def _text(page: Any) -> str:
    text = page.extract_text().translate(LIGATURES).strip("\n")
    notes = [f"Note: {note}" for note in _notes(page)]
    return "\n\n".join([_HYPHENATED.sub(lambda found: _whole(found, text), text), *notes])


def _whole(found: re.Match[str], text: str) -> str:
    """Return a word that was cut at the end of a line, whole; with its hyphen where the page has it so elsewhere."""
    with_hyphen = f"{found[1]}-{found[2]}"
    return f"{with_hyphen if with_hyphen in text else found[1] + found[2]}\n"


def _notes(page: Any) -> Iterator[str]:
    for each in page.get("/Annots") or ():
        note = each.get_object()
        if note.get("/Subtype") not in NO_NOTES and (said := str(note.get("/Contents") or "").strip()):
            yield said


def _has_pictures(page: Any) -> bool:
    resources = page.get("/Resources")
    return resources is not None and "/XObject" in resources.get_object()


def _filled_in(reader: Any) -> str:
    """Return the fields of a form that have a value."""
    values = {name: field.get("/V") for name, field in (reader.get_fields() or {}).items()}
    shown = {name: str(value).removeprefix("/").strip() for name, value in values.items() if value is not None}
    return "\n".join(f"{name}: {value}" for name, value in shown.items() if value not in ("", "Off"))
