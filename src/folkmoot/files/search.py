"""Searching an agent's files: by words always, by meaning where they are embedded, the two fused by rank."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select

from folkmoot.errors import FolkmootError
from folkmoot.files.chunks import OF_SHOWN_TEXT
from folkmoot.files.embedding import VECTORS
from folkmoot.files.files import OF_FOLDER
from folkmoot.files.folders import Folder
from folkmoot.models.embeddings import EmbeddingClient
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Store
from folkmoot.store.nearest import Near, nearest
from folkmoot.store.ranking import fused
from folkmoot.store.tables import agent_folders, file_chunks, files, folders
from folkmoot.store.words import MOST_WORDS, looked_for

logger = logging.getLogger(__name__)

FEWEST_RANKED = 50
"""Passages of each ranking that two rankings are put together from, at least."""

LONGEST_QUERY = 10_000
"""Characters of a query."""


@dataclass(frozen=True, slots=True)
class FoundChunk:
    """A passage of a file, and where it stands."""

    path: str
    heading: str | None
    first_line: int
    last_line: int
    text: str

    def render(self) -> str:
        """Return it as a model reads it."""
        under = f", under {self.heading}" if self.heading else ""
        return f"{self.path}, lines {self.first_line} to {self.last_line}{under}:\n{self.text.strip()}"


async def search_files(
    store: Store, embeddings: EmbeddingClient, agent_id: str, query: str, limit: int
) -> list[FoundChunk]:
    """Return the passages of an agent's files that fit a query, the best first.

    A provider that is away leaves the search by words.

    Args:
        store: the organisation's store.
        embeddings: embeds the query.
        agent_id: whose folders.
        query: words or a question.
        limit: how many.

    Raises:
        StoreOverloaded: too many searches wait, or this one took too long.
    """
    query = query[:LONGEST_QUERY].strip()
    if not query:
        return []
    pool = max(FEWEST_RANKED, 4 * limit)
    rankings = [await _by_words(store, agent_id, query, pool)]
    rankings += await _by_meaning(store, embeddings, agent_id, query, pool)
    best = list(fused(rankings))
    there = await store.scan(lambda transaction: transaction.all(_chunks_of(agent_id, best))) if best else []
    rows = {row["id"]: row for row in there}
    return [_found(rows[chunk_id]) for chunk_id in best if chunk_id in rows][:limit]


async def _by_words(store: Store, agent_id: str, query: str, most: int) -> list[str]:
    words = looked_for(query)[:MOST_WORDS]
    if not words:
        return []
    statement = store.text_search(_of_agent(select(file_chunks.c.id), agent_id), file_chunks, words)
    statement = statement.order_by(file_chunks.c.created_at.desc(), file_chunks.c.id).limit(most)
    return [row["id"] for row in await store.scan(lambda transaction: transaction.all(statement))]


async def _by_meaning(
    store: Store, embeddings: EmbeddingClient, agent_id: str, query: str, most: int
) -> list[list[str]]:
    """Return the passages nearest to the query, one ranking for each embedding that the agent's folders have.

    A folder that is being embedded anew has two. A provider that fails leaves out what it would have found.
    """
    held = (
        select(folders)
        .join(agent_folders, agent_folders.c.folder_id == folders.c.id)
        .where(agent_folders.c.agent_id == agent_id, is_kept(folders.c.id))
    )
    spaces: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in await store.read(lambda transaction: transaction.all(held)):
        folder = Folder.from_row(row)
        if (handle := embeddings.usable(folder.embedding)) is not None:
            spaces[handle].append((folder.id, folder.version_of(handle)))
        if (handle := folder.earlier_embedding) is not None and folder.earlier_version is not None:
            spaces[handle].append((folder.id, folder.earlier_version))
    rankings = []
    for handle, members in spaces.items():
        try:
            (wanted,) = await embeddings.embed(handle, [query], "query")
        except FolkmootError as error:
            logger.warning("Files were searched by words only, not by %s: %s", handle, error.message)
            continue
        near: list[Near] = []
        for folder_id, version in members:
            near += await nearest(store, VECTORS, folder_id, version, wanted, most)
        found = (each.item for each in sorted(near, key=lambda each: -each.similarity))
        rankings.append(list(dict.fromkeys(found))[:most])
    return rankings


def _of_agent(statement: Select[Any], agent_id: str) -> Select[Any]:
    """Return a select from chunks, limited to the shown texts of the files in an agent's folders."""
    return (
        statement.join(files, OF_SHOWN_TEXT)
        .join(folders, OF_FOLDER)
        .join(agent_folders, agent_folders.c.folder_id == files.c.folder_id)
        .where(agent_folders.c.agent_id == agent_id, is_kept(files.c.id), is_kept(folders.c.id))
    )


def _chunks_of(agent_id: str, ids: Sequence[str]) -> Select[Any]:
    columns = select(file_chunks, files.c.name.label("file_name"), folders.c.name.label("folder_name"))
    return _of_agent(columns, agent_id).where(file_chunks.c.id.in_(list(ids)))


def _found(row: Row) -> FoundChunk:
    path = f"{row['folder_name']}/{row['file_name']}"
    return FoundChunk(path, row["heading"], row["first_line"], row["last_line"], row["text"])
