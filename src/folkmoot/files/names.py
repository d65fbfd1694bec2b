"""Names of uploaded files: what of a name is kept, and the next free one where it is taken."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container

from folkmoot.errors import InvalidInput

LONGEST_NAME = 255

_DISGUISES = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the direction in which a name is shown, so that it seems to end otherwise than it does."""


def clean_name(name: str) -> str:
    r"""Return a file's name without the folders in front of it, in one form for the same letters.

    >>> clean_name("../../etc/passwd.txt"), clean_name("C:\\notes\\tea.md")
    ('passwd.txt', 'tea.md')

    Raises:
        InvalidInput: nothing is left of it, it is too long, or it has characters that no name may have.
    """
    last = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1]).strip()
    if last in ("", ".", ".."):
        raise InvalidInput(f"file: {name[:80]!r} is no name of a file. Give one with ?name=.")
    if len(last) > LONGEST_NAME:
        raise InvalidInput(
            f"file: the name has {len(last)} characters and may have {LONGEST_NAME}. Give a shorter one with ?name=."
        )
    for character in last:
        if unicodedata.category(character) in ("Cc", "Cs") or _DISGUISES.match(character):
            raise InvalidInput(
                f"file: the name {last[:80]!r} has the character U+{ord(character):04X}, which no name may have. "
                "Give another one with ?name=."
            )
    return last


def free_name(name: str, taken: Container[str]) -> str:
    """Return the name, or where it is taken the first free one with a number.

    >>> free_name("tea.md", {"tea.md", "tea_(1).md"}), free_name(".env", {".env"})
    ('tea_(2).md', '.env_(1)')
    """
    if name not in taken:
        return name
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    number = 1
    while True:
        suffix = f"_({number}){dot}{ending}"
        found = stem[: LONGEST_NAME - len(suffix)] + suffix
        if found not in taken:
            return found
        number += 1
