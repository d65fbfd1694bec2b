"""Search results as the text that a model reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from folkmoot.tools.search.query import SearchQuery, SearchResult, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

EXCERPT_LENGTH = 1500
"""Characters of a result's text."""

FULL_TEXT_LENGTH = 8000
"""Characters of a result's text when the full text was asked for."""

TOTAL_LENGTH = 30_000
"""Characters of all texts together; the results share it evenly."""


def render(query: SearchQuery, results: Sequence[SearchResult], source: str) -> str:
    """Return the results as JSON.

    Args:
        query: what was searched for.
        results: what was found.
        source: what was searched: the `source` of the `Search`.
    """
    longest = FULL_TEXT_LENGTH if query.include_text else EXCERPT_LENGTH
    length = min(longest, TOTAL_LENGTH // max(1, len(results)))
    answer = {
        "query": _clip(query.query, 500),
        "results": [_entry(result, length) for result in results],
        "source": source,
    }
    return json.dumps(answer, ensure_ascii=False)


def _entry(result: SearchResult, length: int) -> dict[str, str]:
    entry = {"title": _clip(result.title, 300), "url": _clip(result.url, 1000)}
    entry["text"] = _clip(result.text, length)
    if result.published:
        entry["published_date"] = _clip(result.published, 100)
    return entry


def _clip(text: str, length: int) -> str:
    """Cut a text at the last space before `length`, unless that is far back."""
    text = clean(text).strip()
    if len(text) <= length:
        return text
    cut = text[: length - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > length * 3 // 4 else cut).rstrip() + "…"
