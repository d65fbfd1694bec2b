"""An upload that finds the disk full is told so, and leaves nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, cast

import pytest

from folkmoot.errors import StoreFull
from folkmoot.files.pieces import PIECE, drop_pieces, read_pieces, store_pieces
from support.stores import open_default


class Bytes:
    """An upload of so many pieces."""

    def __init__(self, pieces: int) -> None:
        self._left = pieces

    async def read(self, size: int) -> bytes:
        self._left -= 1
        return b"x" * size if self._left >= 0 else b""


async def test_pieces_that_find_no_room_are_refused_and_can_be_dropped(tmp_path: Path) -> None:
    store = await open_default(f"sqlite:///{tmp_path / 'a.sqlite3'}")
    connection: sqlite3.Connection = cast("Any", store.engine)._writer._connection
    connection.execute("PRAGMA max_page_count = 2000")
    with pytest.raises(StoreFull, match="full"):
        await store_pieces(store, "upload-a", Bytes(200))
    await drop_pieces(store, "upload-a")
    await store_pieces(store, "upload-b", Bytes(2))
    assert [len(piece) async for piece in read_pieces(store, "upload-b")] == [PIECE, PIECE]
    await store.close()
