"""The words by which full-text search finds a text, the same on both engines.

Both indexes know whole words only. Chinese, Japanese, Korean, Thai and their neighbours write without spaces, or join
particles to their words, and a long identifier holds words too. So a text is indexed by its words and by the pieces of
such runs: each character and each pair of neighbours in those scripts, each three letters of a long word. A query's
word is looked for as a word, and as all of its pieces at once; what has the pieces but not the word is sorted out by
looking at the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice

LONGEST_TEXT = 100_000
"""Characters of a text that search sees; PostgreSQL's index takes no more than a megabyte for one row."""

MOST_PIECES = 30_000
"""Different pieces that one text is indexed by, for the same reason."""

LONG_WORD = 10
"""Letters from which on a word is found by its inside too."""

MOST_WORDS = 64
"""Words of a query that are looked for; each further one would only make the search slower."""

_PIECE = 3
_MARK = "qx"
"""With this a piece begins, so that it is none of the words that people write."""

_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e81-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17d3\u3005-\u3007"
    "\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+")
_ASCII_WORD = re.compile("[a-z0-9]+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
_IN_PAIRS = re.compile("[\u1100-\u11ff\u3005-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]")
_LONGEST_IN_PAIRS = 4
_ACCENTS = re.compile("[\u0300-\u036f]")


def words_of(text: str) -> list[str]:
    """Return the words in a text as search compares them: without case, accents and the forms of one character.

    >>> words_of("Ada@x.org's Café: 会议2024")
    ['ada', 'x', 'org', 's', 'cafe', '会议', '2024']
    """
    if text.isascii():
        return _ASCII_WORD.findall(text[:LONGEST_TEXT].lower())
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text[:LONGEST_TEXT].casefold()))
    return _WORD.findall(unicodedata.normalize("NFC", plain)[:LONGEST_TEXT])


def indexed_text(text: str) -> str:
    """Return what the full-text indexes keep of a text: its words, and behind them their pieces, each once.

    >>> indexed_text("go 会议")
    'go 会议 qx4f1a qx4f1a8bae qx8bae'
    """
    words = words_of(text)
    pieces: dict[str, None] = {}
    for word in dict.fromkeys(words):
        if len(word) >= LONG_WORD or not word.isascii():
            pieces.update(dict.fromkeys(_indexed_pieces(word)))
            if len(pieces) >= MOST_PIECES:
                break
    return " ".join([*words, *islice(pieces, MOST_PIECES)])


def looked_for(query: str) -> list[str]:
    """Return the words that a query looks for, each once.

    A run of Chinese, Japanese or Korean that is longer than most words is a phrase: its pairs are looked for too.

    >>> looked_for("Notes notes 下周的会议")
    ['notes', '下周的会议', '下周', '周的', '的会', '会议']
    """
    wanted: dict[str, None] = {}
    for word in words_of(query):
        wanted[word] = None
        if len(word) > _LONGEST_IN_PAIRS and _IN_PAIRS.match(word):
            wanted.update(dict.fromkeys(word[start : start + 2] for start in range(len(word) - 1)))
    return list(wanted)


def pieces_of(word: str) -> list[str]:
    """Return the pieces that a text with this word in its inside has; none for a word that is too short.

    >>> pieces_of("会议室"), pieces_of("note"), pieces_of("no")
    (['qx4f1a8bae', 'qx8bae5ba4'], ['qxnot', 'qxote'], [])
    """
    if _IS_UNSPACED.match(word):
        size = min(2, len(word))
        return list(dict.fromkeys(_encoded(word[start : start + size]) for start in range(len(word) - size + 1)))
    return list(dict.fromkeys(_letters(word)))


def is_found_whole(word: str) -> bool:
    """Tell whether the indexes know a word as it is, beside its pieces."""
    return _IS_UNSPACED.match(word) is None


def _indexed_pieces(word: str) -> Sequence[str]:
    """Return what a text with this word is indexed by beside it."""
    if not _IS_UNSPACED.match(word):
        return _letters(word) if len(word) >= LONG_WORD else ()
    places = range(len(word))
    return [_encoded(word[start:end]) for start in places for end in (start + 1, start + 2) if end <= len(word)]


def _letters(word: str) -> list[str]:
    return [_MARK + word[start : start + _PIECE] for start in range(len(word) - _PIECE + 1)]


def _encoded(characters: str) -> str:
    """Return characters written in letters that every tokenizer leaves together."""
    return _MARK + "".join(f"{ord(character):04x}" for character in characters)
