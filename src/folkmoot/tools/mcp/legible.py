"""JSON that could not be read for a character that is none: half of a pair, or bytes that are no UTF-8.

Programs cut texts amid a character, and their libraries write what is left.
"""

from __future__ import annotations

import asyncio
import codecs
import re

_LARGE = 65_536
"""Bytes from which on the event loop does not wait."""

_HALF = rb"[dD][89abAB][0-9a-fA-F]{2}"
_OTHER_HALF = rb"[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rb"\\(?:u%b\\u%b|u(?P<alone>%b|%b)|.)" % (_HALF, _OTHER_HALF, _HALF, _OTHER_HALF), re.DOTALL)


def legible(text: bytes) -> bytes:
    r"""Return JSON with a replacement character for each that is none.

    >>> legible(b'"a \\ud83d b \\ud83c\\udf33"')
    b'"a \\ufffd b \\ud83c\\udf33"'
    """
    text = text.removeprefix(codecs.BOM_UTF8)
    try:
        text.decode()
    except UnicodeDecodeError:
        text = text.decode(errors="replace").encode()
    if b"\\ud" in text or b"\\uD" in text:
        return _ESCAPE.sub(lambda found: rb"\ufffd" if found["alone"] else found[0], text)
    return text


async def made_legible(text: bytes) -> bytes:
    """Return what `legible` does, on a thread where that takes long."""
    return legible(text) if len(text) < _LARGE else await asyncio.to_thread(legible, text)
