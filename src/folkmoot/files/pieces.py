"""The bytes of uploads in the store, in pieces, until they are read: any process may be the one that reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import BinaryIO, Protocol

from sqlalchemy import bindparam, delete, exists, func, select

from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.tables import file_pieces, files

PIECE = 256 * 1024
"""Bytes of a piece: it is written in some milliseconds, and nobody waits for more than one."""

FORGOTTEN = 24 * 3600 * 1_000_000
"""Microseconds after which pieces that no file waits for are deleted: their upload was broken off."""

_one = select(file_pieces.c.data).where(
    file_pieces.c.upload_id == bindparam("upload"), file_pieces.c.place == bindparam("at")
)
_size = select(
    func.sum(func.length(file_pieces.c.data)).label("size"), func.max(file_pieces.c.place).label("last")
).where(file_pieces.c.upload_id == bindparam("upload"))
_last_places = (
    select(file_pieces.c.place)
    .where(file_pieces.c.upload_id == bindparam("upload"))
    .order_by(file_pieces.c.place.desc())
    .limit(bindparam("most"))
)
_delete_from = delete(file_pieces).where(
    file_pieces.c.upload_id == bindparam("upload"), file_pieces.c.place >= bindparam("first")
)
_forgotten = (
    select(file_pieces.c.organization_id, file_pieces.c.upload_id)
    .where(
        file_pieces.c.created_at < bindparam("before"),
        file_pieces.c.place == 0,
        ~exists().where(
            files.c.organization_id == file_pieces.c.organization_id, files.c.upload_id == file_pieces.c.upload_id
        ),
    )
    .order_by(file_pieces.c.created_at)
    .limit(50)
)
_AT_ONCE = 8


class Bytes(Protocol):
    """An upload that was received, wherever its bytes lie until they are stored."""

    async def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end."""


async def store_pieces(store: Store, upload_id: str, source: Bytes) -> None:
    """Write an upload's bytes, piece by piece; no more than one of them is in memory.

    Raises:
        StoreUnavailable: the database cannot take them; `drop_pieces` takes away what it has.
    """
    place = 0
    while data := await source.read(PIECE):
        row = {"upload_id": upload_id, "place": place, "data": data, "created_at": clock.now()}

        async def write(transaction: Transaction, row: dict[str, object] = row) -> None:
            await transaction.insert(file_pieces, [row])

        await store.write(write)
        place += 1


async def ends_of(store: Store, upload_id: str, most: int) -> tuple[bytes, bytes, int]:
    """Return the first and last bytes of an upload, `most` of each (a piece at the most), and how many it has."""

    async def read(transaction: Transaction) -> tuple[bytes, bytes, int]:
        found = await transaction.first(_size, upload=upload_id)
        if found is None or found["last"] is None:
            return b"", b"", 0
        last = int(found["last"])
        first, *ends = [
            bytes(row["data"]) if row is not None else b""  # deleted meanwhile
            for row in [await transaction.first(_one, upload=upload_id, at=at) for at in (0, last - 1, last)]
        ]
        return first[:most], b"".join(ends)[-most:], int(found["size"])

    return await store.read(read)


async def read_pieces(store: Store, upload_id: str) -> AsyncGenerator[bytes, None]:
    """Yield an upload's bytes, piece by piece; others have their turn between two of them."""
    place = 0
    while True:
        row = await store.read(lambda transaction, at=place: transaction.first(_one, upload=upload_id, at=at))  # type: ignore[misc]
        if row is None:
            return
        yield row["data"]
        place += 1
        await asyncio.sleep(0)  # a read may be done in place


async def copy_to(store: Store, upload_id: str, target: BinaryIO) -> None:
    """Write an upload's bytes into an open file."""
    async for data in read_pieces(store, upload_id):
        target.write(data)


async def drop_pieces(store: Store, upload_id: str) -> None:
    """Delete an upload's bytes, some at a time."""
    while await store.write(lambda transaction: drop_some(transaction, upload_id)):
        pass


async def drop_some(transaction: Transaction, upload_id: str) -> bool:
    """Delete some of an upload's bytes, the last ones first, since the first piece is what it is found by; tell
    whether there may be more.
    """
    rows = await transaction.all(_last_places, upload=upload_id, most=_AT_ONCE)
    if rows:
        await transaction.run(_delete_from, upload=upload_id, first=rows[-1]["place"])
    return len(rows) == _AT_ONCE


async def drop_forgotten(store: Store) -> None:
    """Delete the bytes of uploads that were broken off, or whose file is gone, in every organisation."""
    before = clock.now() - FORGOTTEN
    for row in await store.everywhere.read(lambda transaction: transaction.all(_forgotten, before=before)):
        await drop_pieces(store.of(row["organization_id"]), row["upload_id"])
