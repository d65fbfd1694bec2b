"""A search finds what it may, and never what another organisation has or an archive that the agent does not have."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from folkmoot.archives.archives import EMBED, NewArchive, create_archive
from folkmoot.archives.embedding import embed_kind
from folkmoot.archives.passages import NewPassage, PassageFilter, add_passages
from folkmoot.archives.search import PassageSearch, search_passages
from folkmoot.jobs.jobs import UNFINISHED
from folkmoot.jobs.worker import JobWorker
from folkmoot.memory.authors import Author
from folkmoot.models.embeddings import Purpose
from folkmoot.store.engine import Store
from folkmoot.store.opening import open_store
from folkmoot.store.tables import jobs
from folkmoot.store.vectors import unit
from support.polling import PATIENCE

ORGANIZATIONS = ("org-one", "org-two")
WORDS = ("heron", "owl", "fish")
TAGS = ("a", "b")
AUTHOR = Author("api", "key", "test")


class Meaning:
    """Embeds a text by which of the words it has."""

    async def embed(self, handle: str, texts: Sequence[str], purpose: Purpose = "document") -> list[list[float]]:
        return [unit([float(text.count(word)) + 0.01 for word in WORDS]) for text in texts]

    def of(self, organization_id: str | None) -> Meaning:
        return self


@dataclass(frozen=True)
class Kept:
    """A passage that is to be there."""

    organization: str
    archive: int
    words: tuple[str, ...]
    tags: tuple[str, ...]


kept = st.builds(
    Kept,
    st.sampled_from(ORGANIZATIONS),
    st.integers(0, 2),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(tuple),
    st.lists(st.sampled_from(TAGS), unique=True).map(tuple),
)


@pytest.mark.parametrize("mode", ["text", "vector", "hybrid"])
@settings(max_examples=12)
@given(
    passages=st.lists(kept, min_size=1, max_size=12),
    may=st.sets(st.integers(0, 2), min_size=1),
    word=st.sampled_from(WORDS),
    tags=st.lists(st.sampled_from(TAGS), unique=True),
    every=st.booleans(),
)
def test_a_search_sees_its_own_archives_only_and_all_that_fits(
    sqlite_schema: Path, mode: str, passages: list[Kept], may: set[int], word: str, tags: list[str], every: bool
) -> None:
    with TemporaryDirectory() as folder:
        shutil.copyfile(sqlite_schema, Path(folder) / "folkmoot.sqlite3")
        asyncio.run(search_and_compare(Path(folder), mode, passages, may, word, tags, every))


async def search_and_compare(
    folder: Path, mode: str, passages: list[Kept], may: set[int], word: str, tags: list[str], every: bool
) -> None:
    """Fill two organisations, search one, and compare with what is told from the examples themselves."""
    opened = await open_store(f"sqlite:///{folder / 'folkmoot.sqlite3'}", 10)
    worker = JobWorker(opened, {EMBED: embed_kind(Meaning())}, 3600)
    await worker.open(alone=True)
    try:
        ids, where = await fill(opened, passages)
        own = opened.of(ORGANIZATIONS[0])
        among = PassageFilter(
            archive_ids=[ids[ORGANIZATIONS[0], number] for number in sorted(may)], tags=tags, match_all_tags=every
        )
        found = await search_passages(own, Meaning(), PassageSearch(word, among, mode, 50))  # type: ignore[arg-type]
        got = {each.passage.id for each in found.passages}
        fits = {
            passage_id
            for passage_id, each in where.items()
            if each.organization == ORGANIZATIONS[0]
            and each.archive in may
            and (not tags or (set(tags) <= set(each.tags) if every else set(tags) & set(each.tags)))
        }
        assert got <= fits
        assert {passage_id for passage_id in fits if word in where[passage_id].words} <= got
    finally:
        await worker.close()
        await opened.close()


async def fill(opened: Store, passages: list[Kept]) -> tuple[dict[tuple[str, int], str], dict[str, Kept]]:
    """Make three archives in each organisation, add the passages, and wait until they are embedded."""
    ids: dict[tuple[str, int], str] = {}
    where: dict[str, Kept] = {}
    for organization in ORGANIZATIONS:
        store = opened.of(organization)
        for number in range(3):
            new = NewArchive(f"archive {number}", embedding="openai/any")
            archive = await store.write(lambda transaction, new=new: create_archive(transaction, new))  # type: ignore[misc]
            ids[organization, number] = archive.id
    for each in passages:
        new_passage = NewPassage.of(" ".join(each.words), each.tags)
        archive_id = ids[each.organization, each.archive]
        made = await opened.of(each.organization).write(
            lambda transaction: add_passages(transaction, archive_id, [new_passage], AUTHOR)  # noqa: B023
        )
        where[made[0].id] = each
    waiting = select(jobs.c.id).where(jobs.c.status.in_(UNFINISHED))
    async with asyncio.timeout(PATIENCE):
        while await opened.everywhere.read(lambda transaction: transaction.first(waiting)) is not None:
            await asyncio.sleep(0.005)
    return ids, where
