"""Bytes of a text as text: which encoding they have, and one form of the ends of lines."""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import AsyncGenerator

from folkmoot.errors import JobFailed

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the next one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""How texts begin that say which encoding they have."""


def _as_western(error: UnicodeError) -> tuple[str, int]:
    """Read bytes that are no UTF-8 as Windows' western encoding: text of old and new programs is often mixed."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("folkmoot.western", _as_western)


FEW = 32
"""Letters beyond ASCII below which a text says too little of its encoding."""


def tell_encoding(head: bytes) -> str:
    """Return the encoding of a text by its first bytes; telling rare ones apart takes some tenths of a second.

    >>> [tell_encoding("größer".encode(encoding)) for encoding in ("utf-8", "utf-16", "latin-1")]
    ['utf-8', 'utf-16', 'cp1252']
    """
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding
    if b"\0" in head and (wide := wide_encoding(head)) is not None:
        return wide
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        beyond = sum(byte > 0x7F for byte in head)
        if beyond < FEW and beyond * 3 <= len(head):  # single letters with accents: a guess would find Arabic in them
            return "cp1252"
        return _guessed(head)
    return "utf-8"


def wide_encoding(head: bytes) -> str | None:
    r"""Return the encoding of a text in UTF-16 without a mark by its first bytes; None when it is no such text.

    >>> [wide_encoding(data) for data in ("größer\n".encode("utf-16-le"), "会议 一\n".encode("utf-16-be"), b"\0\1")]
    ['utf-16-le', 'utf-16-be', None]
    """
    texts = {}
    for encoding in ("utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(head)
        except UnicodeDecodeError:
            continue
        if not any(unicodedata.category(each) in _OF_NO_TEXT and each not in "\t\n\r\f" for each in set(text)):
            texts[encoding] = sum(map(str.isascii, text))
    best = max(texts, key=lambda encoding: texts[encoding], default=None)
    return None if best is None or not texts[best] else best


_OF_NO_TEXT = frozenset({"Cc", "Cn", "Co", "Cs"})
"""Categories of characters that texts do not have: controls, and those that mean nothing."""


NEAR = 0.02
"""How much less well than the best one a usual encoding may fit a text, and be taken for it."""


def _guessed(head: bytes) -> str:
    """Return the encoding that fits a text best, of those that say nothing of themselves."""
    from charset_normalizer import from_bytes  # not loaded before somebody has such a text

    found = from_bytes(head[: _last_break(head)])
    best = found.best()
    if best is None:
        return "cp1252"
    as_good = (each for each in found if each.chaos <= best.chaos + NEAR and each.coherence >= best.coherence - NEAR)
    if not _CZECH.search(head) and any("cp1252" in each.could_be_from_charset for each in as_good):
        return "cp1252"  # the most usual of those that look alike
    if best.encoding == "cp1250" and not _OF_WINDOWS.search(head):
        return "iso8859-2"
    return best.encoding


_CZECH = re.compile(rb"[\x8a\x8e\x9a\x9e]")
"""Š and Ž in Windows' encodings, the western one too, whose languages hardly have them."""

_OF_WINDOWS = re.compile(rb"[\x80-\x9f]")


def _last_break(head: bytes) -> int:
    """Return where bytes that were cut anywhere can be cut between two characters, in any encoding.

    Second bytes of characters are none of these in the encodings of China, Japan and Korea.
    """
    return max(head.rfind(each) for each in (b"\n", b"\r", b" ", b",", b'"')) + 1 or len(head)


async def decoded(pieces: AsyncGenerator[bytes, None], encoding: str) -> AsyncGenerator[tuple[str, int], None]:
    r"""Yield a text piece by piece, lines ended by \n alone, and how many of its bytes were read so far.

    Raises:
        JobFailed: it is no text after all.
    """
    errors = "folkmoot.western" if encoding.startswith("utf-8") else "replace"
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(errors), translate=True)
    read, characters = 0, 0
    async for data in pieces:
        read += len(data)
        text = decoder.decode(data)
        _check(text, characters)
        characters += len(text)
        yield text, read
    text = decoder.decode(b"", final=True)
    _check(text, characters)
    yield text, read


def _check(text: str, before: int) -> None:
    place = text.find("\0")
    if place >= 0:
        raise JobFailed(f"The file is no text: it has a NUL character behind {before + place:,} others.")
