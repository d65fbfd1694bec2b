"""Finding tools by words: those of their names, tags, descriptions and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.store.words import looked_for, words_of
from folkmoot.tools.tool import Tool

_WEIGHTS = {"name": 8.0, "tags": 4.0, "description": 2.0, "parameters": 1.0}
"""What a word counts by where it stands; at the beginning of a longer word it counts half."""


@dataclass(frozen=True, slots=True)
class FoundTool:
    """A tool with the text that it was found by and how well it fits, from 0 to 1."""

    tool: Tool
    text: str
    score: float


def find_tools(tools: Sequence[Tool], query: str | None, most: int) -> list[FoundTool]:
    """Return the tools that a query fits, the best first; all of them, in their order, without a query."""
    words = looked_for(query or "")
    places = [_places(tool) for tool in tools]
    found = [
        FoundTool(tool, " ".join(texts.values()), _score(texts, words) if words else 1.0)
        for tool, texts in zip(tools, places, strict=True)
    ]
    if query is None or not query.strip():
        return found[:most]
    return sorted((each for each in found if each.score > 0), key=lambda each: -each.score)[:most]


def _places(tool: Tool) -> Mapping[str, str]:
    """Return what is searched of a tool, by where it stands."""
    schema = tool.schema
    properties: Mapping[str, Any] = schema.parameters.get("properties", {})
    told = [f"{name} {each.get('description', '')}" for name, each in properties.items() if isinstance(each, Mapping)]
    return {
        "name": schema.name,
        "tags": " ".join(tool.tags),
        "description": schema.description,
        "parameters": " ".join(told),
    }


def _score(texts: Mapping[str, str], words: Sequence[str]) -> float:
    there = {place: words_of(text.replace("_", " ")) for place, text in texts.items()}
    total = sum(max(_WEIGHTS[place] * _fit(word, there[place]) for place in there) for word in words)
    return total / (len(words) * _WEIGHTS["name"])


def _fit(word: str, there: Sequence[str]) -> float:
    if word in there:
        return 1.0
    return 0.5 if len(word) > 2 and any(each.startswith(word) for each in there) else 0.0
