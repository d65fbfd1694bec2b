"""Bytes of a text as text: which encoding they have, and one form of the ends of lines."""

from __future__ import annotations

import codecs
import io
from collections.abc import AsyncGenerator

from folkmoot.errors import JobFailed

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


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
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        beyond = sum(byte > 0x7F for byte in head)
        if beyond < FEW and beyond * 3 <= len(head):  # single letters with accents: a guess would find Arabic in them
            return "cp1252"
        from charset_normalizer import from_bytes  # not loaded before somebody has such a text

        best = from_bytes(head).best()
        return "cp1252" if best is None else best.encoding
    return "utf-8"


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
