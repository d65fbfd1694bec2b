"""Finding tools by the words of their names, tags, descriptions and parameters, and by what these mean."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from folkmoot.errors import BadRequest, FolkmootError
from folkmoot.models.embeddings import Embeddings
from folkmoot.store.ranking import SMOOTHING, fused
from folkmoot.store.words import looked_for, words_of
from folkmoot.tools.custom.meaning import by_meaning
from folkmoot.tools.tool import Tool

logger = logging.getLogger(__name__)

Mode: TypeAlias = Literal["fts", "vector", "hybrid"]

FEWEST_RANKED = 50
"""Tools of the ranking by meaning that is put together with the one by words, at least."""

_WEIGHTS = {"name": 8.0, "tags": 4.0, "description": 2.0, "parameters": 1.0}
"""What a word counts by where it stands; at the beginning of a longer word it counts half."""


@dataclass(frozen=True, slots=True)
class FoundTool:
    """A tool with the text that it was found by, how well it fits, from 0 to 1, and its places, from 1."""

    tool: Tool
    text: str
    score: float
    text_rank: int | None = None
    vector_rank: int | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    tool: Tool
    text: str
    score: float


async def search_tools(
    tools: Sequence[Tool], query: str | None, mode: Mode, most: int, embeddings: Embeddings, handle: str | None
) -> list[FoundTool]:
    """Return the tools that a query fits, the best first; all of them, in their order, without a query.

    In the mode `hybrid`, a provider that is away, or none, leaves the search by words.

    Args:
        tools: what is looked through.
        query: words, or what is meant.
        mode: by what.
        most: how many.
        embeddings: embeds the query and the tools.
        handle: the embedding model; None when none is configured.

    Raises:
        BadRequest: the mode is `vector`, and no embedding is configured.
        ProviderError: the mode is `vector`, and the provider failed.
    """
    if mode == "vector" and handle is None:
        raise BadRequest("search_mode: no embedding is configured; set FOLKMOOT_DEFAULT_EMBEDDING, or use fts.")
    words = looked_for(query or "")
    scored = await asyncio.to_thread(_scored, tools, words)
    if query is None or not query.strip():
        return [FoundTool(each.tool, each.text, 1.0) for each in scored[:most]]
    by_words = sorted((place for place, each in enumerate(scored) if each.score > 0), key=lambda at: -scored[at].score)
    meant = None
    if mode != "fts" and handle is not None:
        meant = await _meant(scored, query, mode, max(most, FEWEST_RANKED), embeddings, handle)
    if meant is None:
        return [
            FoundTool(scored[place].tool, scored[place].text, scored[place].score, rank)
            for rank, place in enumerate(by_words[:most], 1)
        ]
    rankings = [meant] if mode == "vector" else [by_words, meant]
    best = sum(1 / (SMOOTHING + 1) for _ in rankings)
    ranks = [{place: rank for rank, place in enumerate(ranking, 1)} for ranking in (by_words, meant)]
    return [
        FoundTool(
            scored[place].tool,
            scored[place].text,
            score / best,
            ranks[0].get(place) if mode == "hybrid" else None,
            ranks[1].get(place),
        )
        for place, score in list(fused(rankings).items())[:most]
    ]


async def _meant(
    scored: Sequence[_Candidate], query: str, mode: Mode, most: int, embeddings: Embeddings, handle: str
) -> list[int] | None:
    """Return the places of the tools that are meant, the best first; None where words have to do."""
    try:
        return await by_meaning(embeddings, handle, query, [each.text for each in scored], most)
    except FolkmootError as error:
        if mode == "vector":
            raise
        logger.warning("Tools are searched by words only: %s", error.message)
        return None


def _scored(tools: Sequence[Tool], words: Sequence[str]) -> list[_Candidate]:
    places = [_places(tool) for tool in tools]
    return [
        _Candidate(tool, " ".join(texts.values()), _score(texts, words) if words else 0.0)
        for tool, texts in zip(tools, places, strict=True)
    ]


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
