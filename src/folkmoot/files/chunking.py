"""A text in chunks: along its headings, paragraphs, lines and sentences, none longer than a bound.

The chunks of a text, one behind the other, are the text: nothing is left out and nothing stands twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

CHARACTERS_OF_A_TOKEN = 4
"""Letters, about; of the scripts of China, Japan and Korea each character is one."""

SHORTEST, LONGEST = 64, 16_000
"""Characters that a chunk's bound may have."""

LONGEST_HEADING = 200

_HEADING = re.compile(r"^(?:(#{1,6})[ \t]+(\S.*)|(```|~~~).*)$", re.MULTILINE)
_TOKEN_OF_ITS_OWN = re.compile(
    "[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U0001f000-\U0003ffff]"
)
_ENDS = (
    re.compile(r"\n[ \t]*\n+"),
    re.compile(r"\n"),
    re.compile(r"[.!?…][\"'”’)\]]*\s+|[。！？]"),
    re.compile(r"\s+"),
)
"""Where a text may be cut, the best places first."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text. Lines count from 1; `start` is how many characters stand before it."""

    text: str
    start: int
    first_line: int
    last_line: int
    heading: str | None


class Chunker:
    """Cuts a text that comes piece by piece; the same text gives the same chunks, however it comes."""

    def __init__(self, tokens: int, *, headings: bool) -> None:
        """Cut chunks of `tokens` tokens, about, at the most.

        Args:
            tokens: four characters count as one, and each of the scripts that have thousands.
            headings: whether lines that begin with # are headings, as in Markdown.
        """
        self._most = min(max(tokens * CHARACTERS_OF_A_TOKEN, SHORTEST), LONGEST)
        self._headings = headings
        self._buffer = ""
        self._under: list[tuple[int, str]] = []
        self._in_code = False
        self.characters = 0
        """Characters of the text that are cut."""

        self.lines = 0
        """Lines of it that are over."""

        self._in_line = False

    def feed(self, text: str) -> Iterator[Chunk]:
        """Take more of the text and yield the chunks that are complete."""
        self._buffer += text
        at = 0
        while len(self._buffer) - at > 2 * self._most:  # so that a cut does not depend on where a piece ends
            end = self._cut(at)
            yield self._chunk(at, end)
            at = end
        self._buffer = self._buffer[at:]

    def finish(self) -> Iterator[Chunk]:
        """Yield the chunks that are left."""
        at = 0
        while at < len(self._buffer):
            end = self._cut(at)
            yield self._chunk(at, end)
            at = end
        self._buffer = ""
        if self._in_line:
            self.lines += 1
            self._in_line = False

    def _cut(self, at: int) -> int:
        """Return where the chunk that begins at `at` ends."""
        limit = self._limit(at)
        if self._headings:
            in_code = self._in_code
            for found in _HEADING.finditer(self._buffer, at, min(limit, len(self._buffer))):
                if found[3]:
                    in_code = not in_code
                elif not in_code and found.start() > at + (limit - at) // 8:
                    return found.start()
        if limit >= len(self._buffer):
            return len(self._buffer)
        for ends in _ENDS:
            last = None
            for found in ends.finditer(self._buffer, at + (limit - at) // 2, limit):
                last = found
            if last is not None:
                return last.end()
        return limit

    def _limit(self, at: int) -> int:
        """Return where the chunk that begins at `at` ends at the latest."""
        text = self._buffer[at : at + self._most]
        if not text.isascii() and _TOKEN_OF_ITS_OWN.search(text):
            left = self._most
            for place, character in enumerate(text):
                left -= CHARACTERS_OF_A_TOKEN if _TOKEN_OF_ITS_OWN.match(character) else 1
                if left < 0:
                    return at + place
        return at + self._most

    def _chunk(self, at: int, end: int) -> Chunk:
        text = self._buffer[at:end]
        if self._headings:
            self._follow(text)
        first = self.lines + 1
        breaks = text.count("\n")
        ended = text.endswith("\n")
        chunk = Chunk(text, self.characters, first, first + breaks - ended, self._heading())
        self.characters += len(text)
        self.lines += breaks
        self._in_line = not ended
        return chunk

    def _follow(self, text: str) -> None:
        """Take note of the headings in a chunk; it stands under those that it begins with, the next ones under all."""
        for found in _HEADING.finditer(text):
            if found[3]:
                self._in_code = not self._in_code
            elif not self._in_code:
                level = len(found[1])
                self._under = [
                    *(each for each in self._under if each[0] < level),
                    (level, found[2].rstrip(" \t#")[:LONGEST_HEADING]),
                ]

    def _heading(self) -> str | None:
        return " › ".join(title for _, title in self._under) or None
