"""Choose a few sentences of search results by the words that they share with a topic."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MOST_SENTENCES = 2
MOST_CHARACTERS = 420
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"“(])|\n+")
_WORD = re.compile(r"[^\W_]+(?:'[a-z]+)?")
_COMMON_WORDS = """
    a about an and are as at be been but by can could did do does for from had has have how i if in into
    is it its me my no not of on or our so that the their them then there these they this to was we were
    what when where which who why will with would you your tell know say says information connection
    between please
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_MARKUP = re.compile(r"^[#>*\-\s]+|[*_`#]{1,3}|\[(?P<words>[^\[\]]{0,500})\]\([^()]{0,2000}\)")


def words_of(text: str) -> set[str]:
    """Return the telling words of a text, in lower case and without plural endings."""
    words = {word for word in _WORD.findall(text.lower()) if word not in _COMMON and len(word) > 1}
    return {word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word for word in words}


def best_sentences(results: str, topic: str) -> str:
    """Return one or two sentences of search results that share most words with a topic, or nothing."""
    wanted = words_of(topic)
    scored: list[tuple[int, int, str]] = []
    for number, sentence in enumerate(_sentences(results)):
        shared = len(wanted & words_of(sentence))
        if shared:
            scored.append((-shared, number, sentence))
    chosen: list[tuple[int, str]] = []
    for _, number, sentence in sorted(scored):
        length = sum(len(text) for _, text in chosen) + len(sentence)
        if len(chosen) < MOST_SENTENCES and (not chosen or length <= MOST_CHARACTERS):
            chosen.append((number, sentence))
    return " ".join(text for _, text in sorted(chosen))[:MOST_CHARACTERS]


def _sentences(results: str) -> Iterator[str]:
    seen: set[str] = set()
    for text in _texts(results):
        for raw in _SENTENCE_END.split(text):
            sentence = " ".join(_MARKUP.sub(lambda match: match["words"] or "", raw).split())
            if len(sentence) >= 20 and sentence.endswith((".", "!", "”", '"')) and sentence not in seen:
                seen.add(sentence)
                yield sentence


def _texts(results: str) -> Iterator[str]:
    try:
        data: Any = json.loads(results)
    except (ValueError, RecursionError):
        yield results
        return
    found = data.get("results", data) if isinstance(data, dict) else data
    if isinstance(found, str):
        yield found
    for item in found if isinstance(found, list) else [found]:
        if not isinstance(item, dict):
            continue
        for key in ("summary", "highlights", "text", "content", "snippet"):
            value = item.get(key)
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                yield from (text for text in value if isinstance(text, str))
