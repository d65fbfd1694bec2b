"""Thoughts in tags: `<think>…</think>` amid an answer, however the pieces of a stream cut them."""

from __future__ import annotations

import re

OPENING, CLOSING = "<think>", "</think>"
_TAG = re.compile(r"(?<![`\"'])</?think(?:ing)?>")
_BEGUN = re.compile(r"<(?:/?(?:t(?:h(?:i(?:n(?:k(?:i(?:n(?:g)?)?)?)?)?)?)?)?)?\Z")
_QUOTES = ("`", '"', "'")


class TagCutter:
    r"""Cuts the pieces of an answer anew, so that each tag is a piece of its own.

    A tag in quotes is something that the answer talks about. A closing tag that nothing opened is dropped: what came
    before it has been read as the answer already.

    >>> cutter = TagCutter()
    >>> [*cutter.feed("<thi"), *cutter.feed("nk>Two.</th"), *cutter.feed("ink>\n\nFour"), *cutter.end()]
    ['<think>', 'Two.', '</think>', 'Four']
    """

    def __init__(self) -> None:
        self.thinks = False
        self.stray = False
        """Whether a closing tag has come that nothing opened."""

        self._held = ""
        self._last = ""
        self._after_tag = False

    def feed(self, piece: str) -> list[str]:
        """Return what can be passed on; what may be the beginning of a tag is held back."""
        if not self._held and not self._after_tag and "<" not in piece:
            self._last = piece[-1:] or self._last
            return [piece] if piece else []
        text, start, pieces = self._held + piece, 0, []
        for match in _TAG.finditer(text):
            if match.start() == 0 and self._last in _QUOTES:
                continue
            pieces += self._plain(text[start : match.start()])
            pieces += self._tag(opens=not match[0].startswith("</"))
            start = match.end()
        rest = text[start:]
        begun = _BEGUN.search(rest)
        self._held = begun[0] if begun else ""
        return [*pieces, *self._plain(rest[: begun.start()] if begun else rest)]

    def end(self) -> list[str]:
        """Return what was held back, and close what is open."""
        held, self._held = self._held, ""
        return [*self._plain(held), *(self._tag(opens=False) if self.thinks else [])]

    def _tag(self, *, opens: bool) -> list[str]:
        self._after_tag, self._last = True, ""
        if opens == self.thinks:
            self.stray = self.stray or not opens
            return []
        self.thinks = opens
        return [OPENING if opens else CLOSING]

    def _plain(self, text: str) -> list[str]:
        if self._after_tag:
            text = text.lstrip()
        if not text:
            return []
        self._after_tag, self._last = False, text[-1]
        return [text]


def with_sound_tags(text: str) -> str:
    r"""Return a whole answer with its thoughts between tags that match; a lone closing tag ends a thought.

    >>> with_sound_tags("Two and two.</think>\n\nFour.")
    '<think>Two and two.</think>Four.'
    """
    if "<" not in text:
        return text
    cutter = TagCutter()
    pieces = [*cutter.feed(text), *cutter.end()]
    if cutter.stray and OPENING not in pieces:
        return with_sound_tags(OPENING + text)
    return "".join(pieces)
