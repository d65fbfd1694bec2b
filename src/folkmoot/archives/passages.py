"""Passages as they are stored: added, listed, deleted, each with its author, and a record of each deletion."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, or_, select

from folkmoot.archives.archives import EMBED, Archive, NewArchive, count_in, create_archive, find_archive
from folkmoot.archives.attachments import archives_of_agent, attach_archive
from folkmoot.errors import NotFound
from folkmoot.identifiers import new_id
from folkmoot.jobs.jobs import add_job
from folkmoot.memory.authors import Author
from folkmoot.store import clock
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page, leave_places, leaving
from folkmoot.store.pieces import Pieces
from folkmoot.store.tables import deleted_passages, passage_tags, passages
from folkmoot.store.tags import tagged, tags_in_order, tags_of
from folkmoot.store.words import indexed_text

LONGEST_TEXT = 100_000
"""Characters of a passage; search sees no more of a text."""

OF_ARCHIVE = Pieces(
    passages, passages.c.archive_id == bindparam("deleted_id"), ("id",), func.length(passages.c.search_text)
)
"""All passages of an archive, for its deletion."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text in an archive. Times are in microseconds."""

    id: str
    organization_id: str
    archive_id: str
    text: str
    tags: Sequence[str]
    metadata: Mapping[str, Any]
    author: Author
    created_at: int
    stored_at: int
    embedding_error: str | None = None
    """Why it is found by its words only although its archive has an embedding."""

    @classmethod
    def from_row(cls, row: Row) -> Passage:
        """Read a row of the passages table with its tags."""
        return cls(
            id=row["id"],
            organization_id=row["organization_id"],
            archive_id=row["archive_id"],
            text=row["text"],
            tags=tags_in_order(row["tags"]),
            metadata=json.loads(row["metadata"]),
            author=Author.from_json(row["author"]),
            created_at=row["created_at"],
            stored_at=row["stored_at"],
            embedding_error=row["embedding_error"],
        )


@dataclass(frozen=True, slots=True)
class NewPassage:
    """What is to be kept, and what it will be found by, which takes a while to make of a long text."""

    text: str
    search_text: str
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    created_at: int | None = None

    @classmethod
    def of(
        cls,
        text: str,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        created_at: int | None = None,
    ) -> NewPassage:
        """Prepare a passage; each tag counts once."""
        return cls(text, indexed_text(text), tuple(dict.fromkeys(tags)), metadata or {}, created_at)


@dataclass(frozen=True, slots=True)
class PassageFilter:
    """Which passages are wanted; what is None or empty does not matter. Times are in microseconds."""

    archive_ids: Sequence[str] | None = None
    tags: Sequence[str] = ()
    match_all_tags: bool = False
    start: int | None = None
    end: int | None = None
    author: str | None = None
    """Identifier or name of who wrote it."""

    contains: str | None = None
    """A part of the text, whatever its case."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what a row of the passages table must fulfil."""
        found: list[ColumnElement[bool]] = []
        if self.archive_ids is not None:
            found.append(passages.c.archive_id.in_(list(self.archive_ids)))
        if self.tags:
            found.append(passages.c.id.in_(self._with_tags()))
        if self.start is not None:
            found.append(passages.c.created_at >= self.start)
        if self.end is not None:
            found.append(passages.c.created_at < self.end)
        if self.author is not None:
            found.append(or_(passages.c.author_id == self.author, passages.c.author_name == self.author))
        if self.contains:
            found.append(passages.c.text.icontains(self.contains, autoescape=True))
        return found

    def _with_tags(self) -> Select[Any]:
        found = tagged(passage_tags.c.passage_id, self.tags, every=self.match_all_tags)
        if self.archive_ids is not None:
            found = found.where(passage_tags.c.archive_id.in_(list(self.archive_ids)))
        return found


@dataclass(frozen=True, slots=True)
class DeletedPassage:
    """That a passage was deleted: who wrote it and who deleted it, not what it said. Times are in microseconds."""

    id: str
    author: Author
    deleted_by: Author
    created_at: int
    deleted_at: int

    @classmethod
    def from_row(cls, row: Row) -> DeletedPassage:
        """Read a row of the deleted_passages table."""
        author, deleted_by = Author.from_json(row["author"]), Author.from_json(row["deleted_by"])
        return cls(row["id"], author, deleted_by, row["created_at"], row["deleted_at"])


COLUMNS = (
    passages.c.organization_id,
    passages.c.id,
    passages.c.archive_id,
    passages.c.text,
    passages.c.metadata,
    passages.c.author,
    passages.c.created_at,
    passages.c.stored_at,
    passages.c.embedding_error,
    tags_of(passage_tags.c.passage_id, passages.c.id),
)
"""What a passage is read from."""

_by_id = select(*COLUMNS).where(passages.c.id == bindparam("passage_id"))
_delete = delete(passages).where(passages.c.id == bindparam("passage_id"))
_leaving = leaving(passages, passages.c.id == bindparam("passage_id"))
_numbers = itertools.count(clock.now() << 10)
"""Numbers in the embedded full-text index, which takes rising ones at once. One process has it to itself."""


async def add_passages(
    transaction: Transaction, archive_id: str, new: Sequence[NewPassage], author: Author
) -> list[Passage]:
    """Add passages to an archive, in their order; they are found by their words at once, by their meaning soon.

    Raises:
        NotFound: there is no such archive.
    """
    archive = await _prepare(transaction, archive_id)
    if not new:
        return []
    now = clock.now()
    ids = [new_id("passage") for _ in new]
    await transaction.insert(
        passages, [_row(archive, each, ids[place], author, now + place) for place, each in enumerate(new)]
    )
    await transaction.insert(
        passage_tags,
        [
            {"archive_id": archive_id, "passage_id": ids[place], "tag": tag, "place": number}
            for place, each in enumerate(new)
            for number, tag in enumerate(each.tags)
        ],
    )
    await count_in(transaction, archive_id, len(new), Counter(tag for each in new for tag in each.tags))
    return [
        Passage(
            id=ids[place],
            organization_id=archive.organization_id,
            archive_id=archive_id,
            text=each.text,
            tags=each.tags,
            metadata=each.metadata,
            author=author,
            created_at=now + place if each.created_at is None else each.created_at,
            stored_at=now + place,
        )
        for place, each in enumerate(new)
    ]


async def _prepare(transaction: Transaction, archive_id: str) -> Archive:
    """Lock an archive to add to it, and before that its job, as the job itself does."""
    before = await find_archive(transaction, archive_id)
    if before.embedding is not None:
        await add_job(transaction, EMBED, archive_id)
    archive = await find_archive(transaction, archive_id, lock=True)
    if archive.embedding is not None and before.embedding is None:
        await add_job(transaction, EMBED, archive_id)
    return archive


def _row(archive: Archive, new: NewPassage, passage_id: str, author: Author, now: int) -> dict[str, Any]:
    return {
        "id": passage_id,
        "archive_id": archive.id,
        "text": new.text,
        "search_text": new.search_text,
        "search_id": next(_numbers),
        "metadata": json.dumps(new.metadata),
        "author": author.to_json(),
        "author_id": author.id,
        "author_name": author.name,
        "embedded_version": 0,
        "embedding_error": None,
        "created_at": now if new.created_at is None else new.created_at,
        "stored_at": now,
    }


async def archive_for(
    transaction: Transaction, agent_id: str, agent_name: str, embedding: str | None
) -> Archive | None:
    """Return the archive that the agent's passages go to: the first one that it may add to.

    An agent that has none gets one of its own, which goes with it; None when it has some and may add to none.
    """
    attached = await archives_of_agent(transaction, agent_id)
    if attached:
        return next((each.archive for each in attached if each.takes), None)
    new = NewArchive(f"{agent_name}'s Archive", f"What {agent_name} keeps", embedding, made_for=agent_id)
    archive = await create_archive(transaction, new)
    await attach_archive(transaction, agent_id, archive.id)
    return archive


async def list_passages(transaction: Transaction, wanted: PassageFilter, page: Page) -> list[Passage]:
    """Return a page of the passages, by time of creation."""
    if wanted.archive_ids is not None and not wanted.archive_ids:
        return []
    statement = select(*COLUMNS).where(*wanted.conditions())
    return [Passage.from_row(row) for row in await fetch_page(transaction, statement, passages, page)]


async def find_passage(transaction: Transaction, passage_id: str, archive_ids: Sequence[str]) -> Passage:
    """Return the passage.

    Raises:
        NotFound: there is no such passage in these archives.
    """
    row = await transaction.first(_by_id, passage_id=passage_id)
    if row is None or row["archive_id"] not in archive_ids:
        raise NotFound(f"Passage with id '{passage_id}' not found")
    return Passage.from_row(row)


async def delete_passage(
    transaction: Transaction, passage_id: str, archive_ids: Sequence[str], deleted_by: Author
) -> None:
    """Delete a passage for good; that it was there, and who deleted it, is recorded.

    Raises:
        NotFound: there is no such passage in these archives.
    """
    archive_id = (await find_passage(transaction, passage_id, archive_ids)).archive_id
    await find_archive(transaction, archive_id, lock=True)
    passage = await find_passage(transaction, passage_id, archive_ids)  # another request may have been faster
    await leave_places(transaction, _leaving, passage_id=passage_id)
    record = {
        "id": passage_id,
        "archive_id": archive_id,
        "author": passage.author.to_json(),
        "deleted_by": deleted_by.to_json(),
        "created_at": passage.created_at,
        "deleted_at": clock.now(),
    }
    await transaction.insert(deleted_passages, [record])
    await transaction.run(_delete, passage_id=passage_id)
    await count_in(transaction, archive_id, -1, dict.fromkeys(passage.tags, -1))


async def list_deletions(transaction: Transaction, archive_id: str, page: Page) -> list[DeletedPassage]:
    """Return a page of the archive's deletions, by time."""
    statement = select(deleted_passages).where(deleted_passages.c.archive_id == archive_id)
    rows = await fetch_page(transaction, statement, deleted_passages, page, key=("deleted_at", "id"))
    return [DeletedPassage.from_row(row) for row in rows]
