"""Receiving an uploaded file: onto the disk as it comes, then into the store, never as a whole in memory."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import Request, UploadFile
from starlette.datastructures import UploadFile as Received

from folkmoot.errors import InvalidInput, NoRoom, StoreError, StoreFull, TooLarge
from folkmoot.files.files import DuplicateHandling, File, Upload, add_file, check_duplicate
from folkmoot.files.folders import Folder, find_folder
from folkmoot.files.kinds import HEAD, tell_kind
from folkmoot.files.names import clean_name
from folkmoot.files.pieces import drop_pieces, store_pieces
from folkmoot.identifiers import new_id
from folkmoot.store.engine import Store, Transaction

AROUND_FILE = 65_536
"""Bytes that a form may have besides the file in it."""

BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}
"""How the API's description tells of the body of an upload, which no model reads."""

TAKES = 5
"""What a file takes on the disk until it is read, as a multiple of its size: its bytes, its text, its words."""


async def receive_upload(
    request: Request, store: Store, folder_id: str, name: str | None, handling: DuplicateHandling, most: int
) -> tuple[File, bool]:
    """Take the file of a request's form into a folder.

    Args:
        request: the request; its body is not read yet.
        store: where to.
        folder_id: which folder.
        name: what the file shall be called; as the form says when None.
        handling: what to do when the folder has a file of that name.
        most: bytes that a file may have.

    Returns:
        The file, whose text is read behind this, and whether the upload was taken.

    Raises:
        NotFound: there is no such folder.
        InvalidInput: the form has no file, or the file no name that can be kept.
        TooLarge: it has more than `most` bytes.
        UnsupportedFile: it is of no kind that can be read.
        BadRequest: there is a file of that name, and the uploader wants that to be an error.
        NoRoom: there is no room for it.
    """
    folder = await store.read(lambda transaction: find_folder(transaction, folder_id))
    given = None if name is None else clean_name(name)
    async with _received(request) as received:
        upload = await _looked_at(received, given or clean_name(received.filename or ""), most)
        double = await store.read(lambda transaction: check_duplicate(transaction, folder, upload.name, handling))
        if double is not None:
            return double, False
        return await _stored(store, folder, upload, received, handling)


@asynccontextmanager
async def _received(request: Request) -> AsyncIterator[UploadFile]:
    """Receive a form with one file, which lies on the disk without a name while it is in use."""
    try:
        async with request.form(max_files=1, max_fields=8) as form:
            received = form.get("file")
            if not isinstance(received, Received):
                raise InvalidInput("file: send the file in a form (multipart/form-data), in its field `file`.")
            yield received  # type: ignore[misc]
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoRoom from error


async def _looked_at(received: UploadFile, name: str, most: int) -> Upload:
    size = received.size or 0
    if size > most:
        raise too_large(most)
    await received.seek(0)
    head = await received.read(HEAD)
    await received.seek(max(size - HEAD, 0))
    tail = await received.read(HEAD)
    await received.seek(0)
    return Upload(new_id("upload"), name, size, tell_kind(head, tail, name))


async def _stored(
    store: Store, folder: Folder, upload: Upload, received: UploadFile, handling: DuplicateHandling
) -> tuple[File, bool]:
    """Store an upload's bytes, and then, in one transaction, what makes a file of them."""

    async def add(transaction: Transaction) -> tuple[File, bool]:
        return await add_file(transaction, folder.id, upload, handling)

    if not store.engine.has_room(TAKES * upload.size):
        raise NoRoom
    taken = False
    try:
        await store_pieces(store, upload.upload_id, received)
        file, taken = await store.write(add)
        return file, taken
    except StoreFull as error:
        raise NoRoom from error
    finally:
        if not taken:
            with suppress(StoreError):  # what cannot be deleted now is swept when it is a day old
                await drop_pieces(store, upload.upload_id)


def too_large(most: int) -> TooLarge:
    """Return the error of a file that has more than `most` bytes."""
    return TooLarge(
        f"file: it is larger than {most:,} bytes. Upload it in parts, or raise FOLKMOOT_MAX_FILE on the server."
    )
