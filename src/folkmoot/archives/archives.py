"""Archives as they are stored: create, find, list, update, delete, and what they are counted by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from folkmoot.errors import NotFound
from folkmoot.identifiers import new_id
from folkmoot.jobs.jobs import add_job
from folkmoot.jobs.kinds import drop_jobs_of
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page, leave_places, leaving
from folkmoot.store.tables import agent_archives, archive_tags, archives, passages

EMBED = "embed_archive"
"""The kind of job that embeds an archive's passages."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A shared library of passages. Times are in microseconds."""

    id: str
    organization_id: str
    name: str
    description: str | None
    embedding: str | None
    """The handle of the model that its passages are to be embedded with; None when it is searched by words only."""

    embedding_version: int
    """How often that has changed; passages are marked with the version they were embedded for."""

    searched_embedding: str | None
    """The handle whose vectors are searched: an earlier one until all passages have vectors of the new one."""

    searched_version: int
    passage_count: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    embedding_config: Mapping[str, Any] = field(default_factory=dict)
    """What its creator said of the embedding model beside its handle."""

    made_for: str | None = None
    """The agent that it was made for by itself, and goes with unless others have it too."""

    created_at: int = 0
    updated_at: int = 0

    @classmethod
    def from_row(cls, row: Row) -> Archive:
        """Read a row of the archives table."""
        configuration = json.loads(row["configuration"])
        return cls(
            id=row["id"],
            organization_id=row["organization_id"],
            name=row["name"],
            description=row["description"],
            embedding=row["embedding"],
            embedding_version=row["embedding_version"],
            searched_embedding=row["searched_embedding"],
            searched_version=row["searched_version"],
            passage_count=row["passage_count"],
            metadata=configuration.get("metadata") or {},
            embedding_config=configuration.get("embedding_config") or {},
            made_for=row["made_for"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        )


@dataclass(frozen=True, slots=True)
class NewArchive:
    """What an archive shall be."""

    name: str
    description: str | None = None
    embedding: str | None = None
    embedding_config: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    made_for: str | None = None


@dataclass(frozen=True, slots=True)
class ArchiveFilter:
    """Which archives are wanted; what is None does not matter."""

    name: str | None = None
    name_contains: str | None = None
    """A part of the name, whatever its case."""

    agent_id: str | None = None


_by_id = select(archives).where(archives.c.id == bindparam("archive_id"), is_kept(archives.c.id))
_lock = _by_id.with_for_update(key_share=True)
_leaving = leaving(archives, archives.c.id == bindparam("archive_id"))
_delete = delete(archives).where(archives.c.id == bindparam("archive_id"))
_add_count = (
    update(archives)
    .where(archives.c.id == bindparam("archive_id"))
    .values(passage_count=archives.c.passage_count + bindparam("more"))
)
_add_tag = (
    update(archive_tags)
    .where(archive_tags.c.archive_id == bindparam("archive_id"), archive_tags.c.tag == bindparam("of_tag"))
    .values(count=archive_tags.c.count + bindparam("more"))
)
_drop_unused = delete(archive_tags).where(
    archive_tags.c.archive_id == bindparam("archive_id"), archive_tags.c.count < 1
)
_tags = (
    select(archive_tags.c.tag, archive_tags.c.count)
    .where(archive_tags.c.archive_id == bindparam("archive_id"))
    .order_by(archive_tags.c.count.desc(), archive_tags.c.tag)
    .limit(bindparam("most"))
)
_lock_made_for = (
    select(archives.c.id)
    .where(archives.c.made_for == bindparam("agent_id"), is_kept(archives.c.id))
    .order_by(archives.c.id)
    .with_for_update()
)
_of_agent_only = (
    select(archives.c.id)
    .where(archives.c.made_for == bindparam("agent_id"), is_kept(archives.c.id))
    .where(
        ~select(agent_archives.c.agent_id)
        .where(agent_archives.c.archive_id == archives.c.id, agent_archives.c.agent_id != bindparam("agent_id"))
        .exists()
    )
)


async def find_archive(transaction: Transaction, archive_id: str, *, lock: bool = False) -> Archive:
    """Return the archive; with `lock`, nobody else can change it or add to it before the transaction ends.

    Raises:
        NotFound: there is no such archive.
    """
    row = await transaction.first(_lock if lock else _by_id, archive_id=archive_id)
    if row is None:
        raise NotFound(f"Archive with id '{archive_id}' not found")
    return Archive.from_row(row)


async def create_archive(transaction: Transaction, new: NewArchive) -> Archive:
    """Create an archive; names need not be unique."""
    now, archive_id = clock.now(), new_id("archive")
    versioned = 1 if new.embedding is not None else 0
    row = {
        "id": archive_id,
        "name": new.name,
        "description": new.description,
        "embedding": new.embedding,
        "embedding_version": versioned,
        "searched_embedding": new.embedding,
        "searched_version": versioned,
        "passage_count": 0,
        "configuration": json.dumps({"metadata": dict(new.metadata), "embedding_config": dict(new.embedding_config)}),
        "made_for": new.made_for,
        "created_at": now,
        "updated_at": now,
    }
    await transaction.insert(archives, [row])
    return await find_archive(transaction, archive_id)


async def archives_named(transaction: Transaction, name: str) -> list[str]:
    """Return the identifiers of the archives that a name may mean: an identifier, or a name; the oldest first."""
    statement = select(archives.c.id).where(is_kept(archives.c.id), (archives.c.id == name) | (archives.c.name == name))
    return [row["id"] for row in await transaction.all(statement.order_by(archives.c.created_at).limit(10))]


async def list_archives(transaction: Transaction, wanted: ArchiveFilter, page: Page) -> list[Archive]:
    """Return a page of the archives, by time of creation."""
    statement = select(archives).where(is_kept(archives.c.id))
    if wanted.name is not None:
        statement = statement.where(archives.c.name == wanted.name)
    if wanted.name_contains is not None:
        statement = statement.where(archives.c.name.icontains(wanted.name_contains, autoescape=True))
    if wanted.agent_id is not None:
        statement = statement.join(agent_archives, agent_archives.c.archive_id == archives.c.id).where(
            agent_archives.c.agent_id == wanted.agent_id
        )
    return [Archive.from_row(row) for row in await fetch_page(transaction, statement, archives, page)]


async def update_archive(transaction: Transaction, archive_id: str, changes: Mapping[str, Any]) -> Archive:
    """Change an archive's `name`, `description`, `metadata`, or with what it is embedded.

    Args:
        transaction: where to write.
        archive_id: which one.
        changes: what shall be; `embedding` is a handle or None, and `embedding_config` goes with it.

    Raises:
        NotFound: there is no such archive.
    """
    if "embedding" in changes:
        await add_job(transaction, EMBED, archive_id)  # before the archive is locked, as the job itself does
    before = await find_archive(transaction, archive_id, lock=True)
    columns = {name: changes[name] for name in ("name", "description") if name in changes}
    metadata = changes.get("metadata", before.metadata)
    config = changes.get("embedding_config", {} if "embedding" in changes else before.embedding_config)
    embedding = changes.get("embedding", before.embedding)
    if embedding != before.embedding:
        columns |= {"embedding": embedding, "embedding_version": before.embedding_version + 1}
        if embedding is None or before.searched_embedding is None:
            columns |= {"searched_embedding": embedding, "searched_version": before.embedding_version + 1}
    await transaction.run(
        update(archives)
        .where(archives.c.id == archive_id)
        .values(
            **columns,
            configuration=json.dumps({"metadata": dict(metadata or {}), "embedding_config": dict(config or {})}),
            updated_at=clock.now(),
        )
    )
    return await find_archive(transaction, archive_id)


async def delete_archive(transaction: Transaction, archive_id: str) -> None:
    """Delete an archive with what is left in it; agents lose it."""
    await drop_jobs_of(transaction, archive_id)
    await leave_places(transaction, _leaving, archive_id=archive_id)
    await transaction.run(_delete, archive_id=archive_id)


async def archives_of_agent_only(transaction: Transaction, agent_id: str) -> list[str]:
    """Return the archives that were made for the agent by itself and that no other agent has, nor gets meanwhile."""
    await transaction.all(_lock_made_for, agent_id=agent_id)  # waits for those who are giving them to another
    return [row["id"] for row in await transaction.all(_of_agent_only, agent_id=agent_id)]


async def count_in(transaction: Transaction, archive_id: str, passages_more: int, tags_more: Mapping[str, int]) -> None:
    """Count passages and tags that come or go; the archive's row must be locked."""
    await transaction.run(_add_count, archive_id=archive_id, more=passages_more)
    for tag, more in sorted(tags_more.items()):
        if not await transaction.run(_add_tag, archive_id=archive_id, of_tag=tag, more=more):
            await transaction.insert(archive_tags, [{"archive_id": archive_id, "tag": tag, "count": more}])
    if any(more < 0 for more in tags_more.values()):
        await transaction.run(_drop_unused, archive_id=archive_id)


async def tags_in(transaction: Transaction, archive_id: str, most: int) -> list[tuple[str, int]]:
    """Return the archive's tags with how many passages have each, the most frequent first."""
    return [(row["tag"], row["count"]) for row in await transaction.all(_tags, archive_id=archive_id, most=most)]


async def count_embedded(transaction: Transaction, archive: Archive) -> int:
    """Return how many of the archive's passages the job has come to that embeds them."""
    if archive.embedding is None:
        return 0
    embedded = (passages.c.archive_id == archive.id, passages.c.embedded_version == archive.embedding_version)
    return await count_rows(transaction, count_of(passages, *embedded))


async def kept_archives(transaction: Transaction, archive_ids: Sequence[str]) -> list[Archive]:
    """Return these archives, those that are gone left out."""
    if not archive_ids:
        return []
    rows = await transaction.all(select(archives).where(archives.c.id.in_(list(archive_ids)), is_kept(archives.c.id)))
    return [Archive.from_row(row) for row in rows]
