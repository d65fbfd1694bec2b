"""Searching archives: by words, by meaning, or by both, with why each passage was found."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from sqlalchemy import Select, select

from folkmoot import tracing
from folkmoot.archives.archives import Archive, kept_archives
from folkmoot.archives.embedding import VECTORS
from folkmoot.archives.passages import COLUMNS, Passage, PassageFilter
from folkmoot.errors import BadRequest, FolkmootError, StoreError
from folkmoot.models.embeddings import Embeddings
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Store, Transaction
from folkmoot.store.nearest import Near, nearest
from folkmoot.store.ranking import fused
from folkmoot.store.tables import archives, passages
from folkmoot.store.words import MOST_WORDS, looked_for

logger = logging.getLogger(__name__)

Mode: TypeAlias = Literal["text", "vector", "hybrid"]

MOST_SPACES = 50
"""Archives that are searched by meaning in one request."""

FEWEST_RANKED = 50
"""Passages of each ranking that two rankings are put together from, at least."""

DEEPEST_RANKED = 400
"""Passages of each ranking that two rankings are put together from, at the most, where fewer are returned."""

LONGEST_QUERY = 10_000
"""Characters of a query."""


@dataclass(frozen=True, slots=True)
class PassageSearch:
    """What is looked for, among what, how, and how many passages at most."""

    query: str
    among: PassageFilter = field(default_factory=PassageFilter)
    mode: Mode = "hybrid"
    limit: int = 10


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A passage, and why it was found: its places in the rankings, from 1, what gave them, and the words it has."""

    passage: Passage
    score: float
    text_rank: int | None = None
    text_score: float | None = None
    vector_rank: int | None = None
    similarity: float | None = None
    words: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, the best first; `without_meaning` says why it went by words only."""

    passages: Sequence[FoundPassage]
    without_meaning: str | None = None


@dataclass(frozen=True, slots=True)
class _ByWords:
    id: str
    score: float


async def search_passages(store: Store, embeddings: Embeddings, search: PassageSearch) -> Found:
    """Find passages.

    In the mode `hybrid`, a provider that is away, or archives without an embedding, leave the search by words.

    Args:
        store: the database, of one organisation.
        embeddings: embeds the query.
        search: what is looked for.

    Raises:
        BadRequest: the mode is `vector`, and there is nothing to search by meaning, or too much.
        ProviderError: the mode is `vector`, and the provider failed.
        StoreOverloaded: too many searches wait, or this one took too long.
    """
    if not search.query.strip() or search.among.archive_ids == ():
        return Found([])
    with tracing.span("search_memory", {"gen_ai.operation.name": "search_memory"}) as span:
        if span.shows_content:
            span.tell({"gen_ai.memory.query.text": search.query})
        found = await _search(store, embeddings, search)
        span.tell({"gen_ai.memory.record.count": len(found.passages)})
        return found


async def _search(store: Store, embeddings: Embeddings, search: PassageSearch) -> Found:
    pool = search.limit
    if search.mode == "hybrid":
        pool = max(FEWEST_RANKED, pool, min(4 * pool, DEEPEST_RANKED))
    by_words = await _by_words(store, search, pool) if search.mode != "vector" else []
    by_meaning: list[list[Near]] = []
    without = None
    if search.mode != "text":
        try:
            by_meaning = await _by_meaning(store, embeddings, search, pool)
        except StoreError:
            raise
        except FolkmootError as error:
            if search.mode == "vector":
                raise
            without = error.message
    return Found(await _told(store, search, by_words, by_meaning), without)


async def _by_words(store: Store, search: PassageSearch, most: int) -> list[_ByWords]:
    """Return the passages that have words of the query, the best first."""
    words = looked_for(search.query)[:MOST_WORDS]
    if not words:
        return []
    statement: Select[Any] = select(passages.c.id).where(*search.among.conditions())
    if search.among.archive_ids is None:
        statement = statement.where(passages.c.archive_id.in_(select(archives.c.id).where(is_kept(archives.c.id))))
    statement = store.text_search(statement, passages, words)
    statement = statement.order_by(passages.c.created_at.desc(), passages.c.id).limit(most)

    def ranked(rows: Sequence[Row]) -> list[_ByWords]:
        return [_ByWords(row["id"], float(row["text_score"])) for row in rows]

    return await store.scan(lambda transaction: transaction.all(statement), ranked)


async def _by_meaning(store: Store, embeddings: Embeddings, search: PassageSearch, most: int) -> list[list[Near]]:
    """Return the passages nearest to the query, one ranking for each embedding that the archives have.

    Raises:
        BadRequest: there is nothing to search by meaning, or too much.
        ProviderError: a provider failed.
    """
    spaces: dict[str, list[Archive]] = defaultdict(list)
    for archive in await store.read(lambda transaction: _with_vectors(transaction, search.among)):
        spaces[archive.searched_embedding or ""].append(archive)
    filters = replace(search.among, archive_ids=None).conditions()
    among = select(passages.c.id).where(*filters) if filters else None
    rankings = []
    for handle, members in spaces.items():
        (wanted,) = await embeddings.embed(handle, [search.query], "query")
        near: list[Near] = []
        for archive in members:
            near += await nearest(store, VECTORS, archive.id, archive.searched_version, wanted, most, among)
        rankings.append(sorted(near, key=lambda each: -each.similarity)[:most])
    return rankings


async def _with_vectors(transaction: Transaction, among: PassageFilter) -> list[Archive]:
    """Return the archives to search by meaning.

    Raises:
        BadRequest: there are none, or more than `MOST_SPACES`.
    """
    if among.archive_ids is not None:
        found = [each for each in await kept_archives(transaction, among.archive_ids) if each.searched_embedding]
    else:
        some = select(archives).where(archives.c.searched_embedding.is_not(None), is_kept(archives.c.id))
        found = [Archive.from_row(row) for row in await transaction.all(some.limit(MOST_SPACES + 1))]
    if not found:
        raise BadRequest("search_mode: no archive that is searched has an embedding; search by words: text.")
    if len(found) > MOST_SPACES:
        raise BadRequest(
            f"search_mode: more than {MOST_SPACES} archives would be searched by meaning; name an archive_id or an "
            "agent_id, or search by words: text."
        )
    return found


async def _told(
    store: Store, search: PassageSearch, by_words: Sequence[_ByWords], by_meaning: Sequence[Sequence[Near]]
) -> list[FoundPassage]:
    """Return the passages of the rankings, put together and told why they are there."""
    worded = {each.id: (rank, each) for rank, each in enumerate(by_words, 1)}
    meant: dict[str, tuple[int, Near]] = {
        near.item: (rank, near) for ranking in by_meaning for rank, near in enumerate(ranking, 1)
    }
    scores = _scores(search.mode, by_words, by_meaning)
    best = list(scores)[: search.limit]
    if not best:
        return []
    looked = looked_for(search.query)[:MOST_WORDS]

    def told(rows: Sequence[Row]) -> list[FoundPassage]:
        there = {row["id"]: (Passage.from_row(row), row["search_text"]) for row in rows}
        found = []
        for passage_id in best:
            if passage_id not in there:  # deleted meanwhile
                continue
            passage, indexed = there[passage_id]
            text_rank, text = worded.get(passage_id, (None, None))
            vector_rank, near = meant.get(passage_id, (None, None))
            found.append(
                FoundPassage(
                    passage=passage,
                    score=scores[passage_id],
                    text_rank=text_rank,
                    text_score=text.score if text else None,
                    vector_rank=vector_rank,
                    similarity=near.similarity if near else None,
                    words=[word for word in looked if word in indexed] if text else (),
                )
            )
        return found

    statement = select(*COLUMNS, passages.c.search_text).where(passages.c.id.in_(best))
    return await store.scan(lambda transaction: transaction.all(statement), told)


def _scores(mode: Mode, by_words: Sequence[_ByWords], by_meaning: Sequence[Sequence[Near]]) -> Mapping[str, float]:
    """Return what passages are ordered by, the best first: one ranking's own figure, or where several place them."""
    if mode == "text":
        return {each.id: each.score for each in by_words}
    if mode == "vector" and len(by_meaning) == 1:
        return {each.item: each.similarity for each in by_meaning[0]}
    rankings = [[each.id for each in by_words], *([near.item for near in ranking] for ranking in by_meaning)]
    return fused(rankings)
