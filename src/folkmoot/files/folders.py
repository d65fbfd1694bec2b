"""Folders as they are stored: create, find, list, update, delete."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from sqlalchemy import Select, bindparam, delete, func, or_, select, update

from folkmoot.errors import Conflict, NotFound
from folkmoot.identifiers import new_id
from folkmoot.jobs.jobs import add_job
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page, leave_places, leaving
from folkmoot.store.tables import agent_folders, files, folders

EMBEDDING_ANEW = "folder_embedding"
"""The kind of the job that embeds a folder's files when its embedding changed; its subject is the folder."""

CHUNK_TOKENS = 300
"""Tokens of a chunk, about, when the folder's creator named no number."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder. `embedding` is the handle of the model that embeds its files; times are in microseconds."""

    id: str
    organization_id: str
    name: str
    description: str | None
    instructions: str | None
    embedding: str | None
    embedding_config: Mapping[str, Any]
    metadata: Mapping[str, Any] | None
    created_at: int
    updated_at: int
    embedding_changes: int = 0
    earlier_embedding: str | None = None
    """The handle whose vectors are searched too, while the files are embedded anew."""

    earlier_version: int | None = None
    """The version under which those stand."""

    @classmethod
    def from_row(cls, row: Row) -> Folder:
        """Read a row of the folders table."""
        configuration = json.loads(row["configuration"])
        return cls(
            id=row["id"],
            organization_id=row["organization_id"],
            name=row["name"],
            description=row["description"],
            instructions=row["instructions"],
            embedding=row["embedding"],
            embedding_config=configuration["embedding_config"],
            metadata=configuration["metadata"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            embedding_changes=row["embedding_changes"],
            earlier_embedding=row["earlier_embedding"],
            earlier_version=row["earlier_version"],
        )

    def version_of(self, handle: str) -> int:
        """Return the number under which the vectors of a model stand, which is another one after each change."""
        return version_of(handle, self.embedding_changes)

    @property
    def chunk_tokens(self) -> int:
        """Tokens, about, that its files' chunks have."""
        return self.embedding_config.get("embedding_chunk_size") or CHUNK_TOKENS


def version_of(handle: str, embedding_changes: int = 0) -> int:
    """Return the number under which the vectors of a model stand in a folder whose embedding changed so often."""
    changes = f" {embedding_changes}" if embedding_changes else ""
    return crc32(f"{handle}{changes}".encode()) & 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class FolderUse:
    """What a folder holds: how many files, and how many bytes were uploaded for them."""

    folder: Folder
    files: int
    size: int


_by_id = select(folders).where(folders.c.id == bindparam("folder_id"), is_kept(folders.c.id))
_by_id_locked = _by_id.with_for_update(key_share=True)
_by_name = select(folders).where(folders.c.name == bindparam("name"), is_kept(folders.c.id))
_leaving = leaving(folders, folders.c.id == bindparam("folder_id"))
_delete = delete(folders).where(folders.c.id == bindparam("folder_id"))
_wait_for_vectors = (
    update(files)
    .where(files.c.folder_id == bindparam("of_folder"), files.c.chunks > 0)
    .where(or_(files.c.status == "completed", files.c.status == "embedding"))
    .values(status="embedding", chunks_embedded=0, error=None, updated_at=bindparam("now"))
)
_rename = update(folders).where(folders.c.id == bindparam("folder_id")).values(name=bindparam("new_name"))


def topic(folder_id: str) -> str:
    """Return the signal that a commit of this folder's files, or of the folder itself, gives."""
    return f"folder:{folder_id}"


async def find_folder(transaction: Transaction, folder_id: str, *, lock: bool = False) -> Folder:
    """Return the folder; with `lock`, nobody else can change it or add to it before the transaction ends.

    Raises:
        NotFound: there is no such folder.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, folder_id=folder_id)
    if row is None:
        raise NotFound(f"Folder with id '{folder_id}' not found")
    return Folder.from_row(row)


async def find_named_folder(transaction: Transaction, name: str) -> Folder:
    """Return the folder of that name.

    Raises:
        NotFound: there is none.
    """
    row = await transaction.first(_by_name, name=name)
    if row is None:
        raise NotFound(f"Folder with name {name!r} not found")
    return Folder.from_row(row)


async def create_folder(transaction: Transaction, fields: Mapping[str, Any]) -> Folder:
    """Create a folder.

    Args:
        transaction: where to write.
        fields: `name`, and any of `description`, `instructions`, `embedding`, `embedding_config` and `metadata`.

    Raises:
        Conflict: there is one of that name.
    """
    now = clock.now()
    folder = Folder(
        id=new_id("source"),
        organization_id=transaction.organization_id or "",
        name=fields["name"],
        description=fields.get("description"),
        instructions=fields.get("instructions"),
        embedding=fields.get("embedding"),
        embedding_config=fields.get("embedding_config") or {},
        metadata=fields.get("metadata"),
        created_at=now,
        updated_at=now,
    )
    await _check_name(transaction, folder)
    await transaction.insert(folders, [_columns(folder) | {"id": folder.id, "created_at": now}])
    return folder


async def update_folder(
    transaction: Transaction, folder_id: str, changes: Mapping[str, Any], default_embedding: str | None = None
) -> Folder:
    """Change a folder's fields; what is uploaded from now on goes by them, and all files by another embedding.

    Args:
        transaction: where to write.
        folder_id: which one.
        changes: only the fields to change, named as in `Folder`.
        default_embedding: the handle that embeds the files of folders that name none.

    Raises:
        NotFound: there is no such folder.
        Conflict: there is another one of the new name.
    """
    before = await find_folder(transaction, folder_id, lock=True)
    after = dataclasses.replace(before, **changes, updated_at=clock.now())
    if after.name != before.name:
        await _check_name(transaction, after)
    if after.embedding != before.embedding:
        after = await _embed_anew(transaction, before, after, default_embedding)
    await transaction.run(update(folders).where(folders.c.id == folder_id).values(**_columns(after)))
    transaction.signal(topic(folder_id))
    return after


async def _embed_anew(transaction: Transaction, before: Folder, after: Folder, default_embedding: str | None) -> Folder:
    """Have a folder's files embedded by the model that it names now; until then the vectors before are searched too."""
    await transaction.run(_wait_for_vectors, of_folder=before.id, now=after.updated_at)
    await add_job(transaction, EMBEDDING_ANEW, before.id, parent_id=before.id)
    after = dataclasses.replace(after, embedding_changes=before.embedding_changes + 1)
    handle = before.embedding or default_embedding
    if before.earlier_embedding is not None or handle is None:  # of those in between, not all files have vectors
        return after
    return dataclasses.replace(after, earlier_embedding=handle, earlier_version=before.version_of(handle))


async def hide_folder(transaction: Transaction, folder_id: str) -> None:
    """Take a large folder that is being deleted from its agents, and free its name."""
    await transaction.run(_rename, folder_id=folder_id, new_name=folder_id)
    await transaction.run(delete(agent_folders).where(agent_folders.c.folder_id == folder_id))
    transaction.signal(topic(folder_id))


async def delete_folder(transaction: Transaction, folder_id: str) -> None:
    """Delete the folder with what is left of its files."""
    await leave_places(transaction, _leaving, folder_id=folder_id)
    await transaction.run(_delete, folder_id=folder_id)
    transaction.signal(topic(folder_id))


async def existing_folders(transaction: Transaction, folder_ids: Sequence[str]) -> list[str]:
    """Return those of these identifiers that are folders'."""
    rows = await transaction.all(select(folders.c.id).where(folders.c.id.in_(list(folder_ids))))
    return [row["id"] for row in rows]


async def list_folders(transaction: Transaction, page: Page, name: str | None = None) -> list[Folder]:
    """Return a page of the folders, by time of creation; only the one of that name when it is given."""
    rows = await fetch_page(transaction, _named(select(folders), name), folders, page)
    return [Folder.from_row(row) for row in rows]


async def count_folders(transaction: Transaction) -> int:
    """Return how many folders there are."""
    return await count_rows(transaction, _named(count_of(folders), None))


async def folder_uses(transaction: Transaction) -> list[FolderUse]:
    """Return what each folder holds, by time of creation."""
    held = (
        select(files.c.folder_id, func.count().label("files"), func.coalesce(func.sum(files.c.size), 0).label("size"))
        .where(is_kept(files.c.id))
        .group_by(files.c.folder_id)
    )
    counts = {row["folder_id"]: (int(row["files"]), int(row["size"])) for row in await transaction.all(held)}
    rows = await transaction.all(_named(select(folders), None).order_by(folders.c.created_at, folders.c.id))
    return [FolderUse(Folder.from_row(row), *counts.get(row["id"], (0, 0))) for row in rows]


def _named(statement: Select[Any], name: str | None) -> Select[Any]:
    statement = statement.where(is_kept(folders.c.id))
    return statement if name is None else statement.where(folders.c.name == name)


async def _check_name(transaction: Transaction, folder: Folder) -> None:
    row = await transaction.first(select(folders.c.id).where(folders.c.name == folder.name))
    if row is not None and row["id"] != folder.id:
        raise Conflict(f"name: there is a folder {folder.name!r} already, {row['id']}. Choose another name, or use it.")


def _columns(folder: Folder) -> dict[str, Any]:
    return {
        "name": folder.name,
        "description": folder.description,
        "instructions": folder.instructions,
        "embedding": folder.embedding,
        "configuration": json.dumps({"metadata": folder.metadata, "embedding_config": dict(folder.embedding_config)}),
        "updated_at": folder.updated_at,
        "embedding_changes": folder.embedding_changes,
        "earlier_embedding": folder.earlier_embedding,
        "earlier_version": folder.earlier_version,
    }
