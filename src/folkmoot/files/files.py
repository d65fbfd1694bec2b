"""Files as they are stored: added under a free name, found, listed, deleted.

A file's text is what its newest upload that could be read says, at the file's `version`. While a further upload is
read the text before it stays; it takes the place of that at once, when all of it is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import Select, bindparam, delete, select, update

from folkmoot.errors import BadRequest, NotFound
from folkmoot.files.folders import Folder, find_folder, topic
from folkmoot.files.kinds import FileKind
from folkmoot.files.names import free_name
from folkmoot.identifiers import new_id
from folkmoot.jobs.jobs import add_job
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page, leave_places, leaving
from folkmoot.store.tables import files, folders

READING = "file"
"""The kind of the job that reads an upload; its subject is the file, its parent the folder."""

TIDYING = "file_tidying"
"""The kind of the job that deletes what a file does not need any more: earlier texts, bytes that were read."""

Status: TypeAlias = Literal["pending", "parsing", "embedding", "completed", "error"]
DuplicateHandling: TypeAlias = Literal["skip", "error", "suffix", "replace"]


@dataclass(frozen=True, slots=True)
class File:
    """A file. `characters` and `lines` are those of its text at `version`; times are in microseconds."""

    id: str
    organization_id: str
    folder_id: str
    folder_name: str
    name: str
    original_name: str
    media_type: str
    size: int
    status: Status
    error: str | None
    version: int
    uploads: int
    upload_id: str | None
    characters: int
    lines: int
    chunks: int | None
    chunks_embedded: int | None
    created_at: int
    updated_at: int

    @classmethod
    def from_row(cls, row: Row) -> File:
        """Read a row of the files table with its folder's name, as `FILE_COLUMNS` select it."""
        return cls(**{name: row[name] for name in cls.__slots__})

    @property
    def path(self) -> str:
        """What an agent calls it by: the folder's name and its own."""
        return f"{self.folder_name}/{self.name}"


FILE_COLUMNS = (*files.c, folders.c.name.label("folder_name"))
"""What a file is read from: its row and its folder's name."""

OF_FOLDER = folders.c.id == files.c.folder_id

_files = select(*FILE_COLUMNS).join(folders, OF_FOLDER).where(is_kept(files.c.id), is_kept(folders.c.id))
_by_id = _files.where(files.c.id == bindparam("file_id"))
_locked = select(files.c.upload_id).where(files.c.id == bindparam("file_id")).with_for_update(key_share=True)
_held = select(files.c.id).where(files.c.id == bindparam("file_id")).with_for_update(read=True, key_share=True)
_taken = select(files.c.name).where(
    files.c.folder_id == bindparam("folder_id"), files.c.name.startswith(bindparam("stem"), autoescape=False)
)
_named = select(files.c.id).where(files.c.folder_id == bindparam("folder_id"), files.c.name == bindparam("name"))
_newest_named = (
    select(files.c.id)
    .where(files.c.folder_id == bindparam("folder_id"), files.c.original_name == bindparam("name"), is_kept(files.c.id))
    .order_by(files.c.created_at.desc(), files.c.id.desc())
    .limit(1)
)
_upload_again = (
    update(files)
    .where(files.c.id == bindparam("file_id"))
    .values(
        original_name=bindparam("new_original"),
        media_type=bindparam("new_type"),
        size=bindparam("new_size"),
        status="parsing",
        error=None,
        uploads=files.c.uploads + 1,
        upload_id=bindparam("new_upload"),
        chunks=None,
        chunks_embedded=None,
        updated_at=bindparam("now"),
    )
)
_leaving = leaving(files, files.c.id == bindparam("file_id"))
_rename = update(files).where(files.c.id == bindparam("file_id")).values(name=bindparam("new_name"))
_delete = delete(files).where(files.c.id == bindparam("file_id"))


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes that were uploaded as `upload_id`, and what they are."""

    upload_id: str
    name: str
    size: int
    kind: FileKind


async def find_file(
    transaction: Transaction, file_id: str, folder_id: str | None = None, *, lock: bool = False
) -> File:
    """Return the file, one of the folder's when that is named; with `lock`, nobody else can change it meanwhile.

    Raises:
        NotFound: there is no such file, or not in that folder.
    """
    if lock:
        await transaction.first(_locked, file_id=file_id)
    row = await transaction.first(_by_id, file_id=file_id)
    if row is None or folder_id not in (None, row["folder_id"]):
        where = "" if folder_id is None else f" in folder '{folder_id}'"
        raise NotFound(f"File with id '{file_id}' not found{where}")
    return File.from_row(row)


async def hold_file(transaction: Transaction, file_id: str) -> bool:
    """Let nobody delete the row of a file before the transaction ends; False when it is gone already."""
    return await transaction.first(_held, file_id=file_id) is not None


async def check_duplicate(
    transaction: Transaction, folder: Folder, name: str, handling: DuplicateHandling
) -> File | None:
    """Look whether an upload of that name is wanted; return the file that it would only double.

    Raises:
        BadRequest: there is a file of that name, and the uploader wants that to be an error.
    """
    if handling not in ("skip", "error"):
        return None
    row = await transaction.first(_newest_named, folder_id=folder.id, name=name)
    row = row or await transaction.first(_named, folder_id=folder.id, name=name)
    if row is None:
        return None
    if handling == "error":
        raise BadRequest(
            f"File {name!r} already exists in folder {folder.name!r}: {row['id']}. "
            "Use duplicate_handling=replace, suffix or skip, or another name."
        )
    return await find_file(transaction, row["id"])


async def add_file(
    transaction: Transaction, folder_id: str, upload: Upload, handling: DuplicateHandling
) -> tuple[File, bool]:
    """Make a file of an upload, or the newest upload of the file that is there, and have it read.

    Args:
        transaction: where to write.
        folder_id: where to.
        upload: what was uploaded.
        handling: what to do when the folder has a file of that name.

    Returns:
        The file, and whether the upload was taken.

    Raises:
        NotFound: there is no such folder.
        BadRequest: there is a file of that name, and the uploader wants that to be an error.
    """
    folder = await find_folder(transaction, folder_id, lock=True)
    if (double := await check_duplicate(transaction, folder, upload.name, handling)) is not None:
        return double, False
    named = await transaction.first(_named, folder_id=folder_id, name=upload.name)
    if named is not None and handling == "replace":
        file_id = named["id"]
        before = await transaction.first(_locked, file_id=file_id)
        if before is not None and before["upload_id"] is not None:  # nobody will read it any more
            await have_dropped(transaction, before["upload_id"], folder_id)
        await transaction.run(
            _upload_again,
            file_id=file_id,
            new_original=upload.name,
            new_type=upload.kind.media_type,
            new_size=upload.size,
            new_upload=upload.upload_id,
            now=clock.now(),
        )
    else:
        file_id = await _insert(transaction, folder, upload)
    await add_job(transaction, READING, file_id, parent_id=folder_id)
    transaction.signal(topic(folder_id))
    return await find_file(transaction, file_id), True


async def have_dropped(transaction: Transaction, upload_id: str, folder_id: str) -> None:
    """Have the bytes of an upload deleted that nobody will read any more."""
    await add_job(transaction, TIDYING, upload_id, parent_id=folder_id, given={"upload_id": upload_id})


async def _insert(transaction: Transaction, folder: Folder, upload: Upload) -> str:
    rows = await transaction.all(_taken, folder_id=folder.id, stem=_pattern(upload.name))
    now, file_id = clock.now(), new_id("file")
    row = {
        "id": file_id,
        "folder_id": folder.id,
        "name": free_name(upload.name, {row["name"] for row in rows}),
        "original_name": upload.name,
        "media_type": upload.kind.media_type,
        "size": upload.size,
        "status": "parsing",
        "version": 0,
        "uploads": 1,
        "upload_id": upload.upload_id,
        "characters": 0,
        "lines": 0,
        "created_at": now,
        "updated_at": now,
    }
    await transaction.insert(files, [row])
    return file_id


def _pattern(name: str) -> str:
    """Return how the names begin among which a free one is looked for."""
    return name.rpartition(".")[0] or name


async def list_files(transaction: Transaction, folder_id: str, page: Page) -> list[File]:
    """Return a page of the folder's files, by time of creation."""
    rows = await fetch_page(transaction, _files.where(files.c.folder_id == folder_id), files, page)
    return [File.from_row(row) for row in rows]


def of_folder(folder_id: str) -> Select[Any]:
    """Return a select of the folder's files."""
    return _files.where(files.c.folder_id == folder_id)


async def hide_file(transaction: Transaction, file_id: str) -> None:
    """Free the name of a large file that is being deleted."""
    await transaction.run(_rename, file_id=file_id, new_name=file_id)


async def delete_file(transaction: Transaction, file_id: str) -> None:
    """Delete the file with what is left of its text."""
    await leave_places(transaction, _leaving, file_id=file_id)
    await transaction.run(_delete, file_id=file_id)
