"""The bytes of uploads: their ends are told without reading all of them, and nobody waits while all are read."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

import pytest

from folkmoot.files import pieces
from folkmoot.files.pieces import ends_of, read_pieces, store_pieces
from folkmoot.store.engine import Store
from support.fixtures import one_store
from support.stores import open_default

PIECE = 100


class Upload:
    """Bytes that were received."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    async def read(self, size: int) -> bytes:
        return self._data.read(size)


@pytest.fixture
async def opened(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setattr(pieces, "PIECE", PIECE)
    store = await open_default(database_url)
    yield store
    await store.close()


@pytest.mark.every_case_on_both
@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 5 * PIECE + 3])
async def test_the_ends_of_an_upload_are_told(opened: Store, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    await store_pieces(opened, "upload", Upload(data))
    await store_pieces(opened, "other", Upload(b"other"))
    assert await ends_of(opened, "upload", 60) == (data[:60], data[-60:], size)


@one_store
async def test_others_have_their_turn_while_an_upload_is_read(opened: Store) -> None:
    await store_pieces(opened, "upload", Upload(b"x" * 10 * PIECE))
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    others = asyncio.create_task(take_turns())
    read = [data async for data in read_pieces(opened, "upload")]
    others.cancel()
    assert len(b"".join(read)) == 10 * PIECE
    assert turns >= len(read) == 10
