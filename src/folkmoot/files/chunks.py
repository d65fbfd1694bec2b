"""The chunks of files as they are stored: written by the job that reads an upload, read for views and searches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from hashlib import blake2b
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, func, select

from folkmoot.errors import InvalidInput
from folkmoot.files.chunking import Chunk
from folkmoot.files.files import File
from folkmoot.identifiers import new_id
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.pieces import Pieces
from folkmoot.store.tables import file_chunks, files
from folkmoot.store.words import indexed_text

AT_ONCE = 64
"""Chunks that are read at once."""

MOST_CHARACTERS = 20_000_000
"""Characters of the texts that one answer may carry whole."""

LONGEST_LINE = 2000
"""Characters of a line that are shown."""

OF_SHOWN_TEXT = and_(file_chunks.c.file_id == files.c.id, file_chunks.c.version == files.c.version)
"""What joins a file to the chunks of the text that is shown."""

_SIZE: ColumnElement[int] = func.length(file_chunks.c.text) + func.length(file_chunks.c.search_text)

OF_FILE = Pieces(file_chunks, file_chunks.c.file_id == bindparam("deleted_id"), ("version", "place"), _SIZE)
"""All chunks of a file."""

OF_VERSION = Pieces(
    file_chunks,
    and_(file_chunks.c.file_id == bindparam("deleted_id"), file_chunks.c.version == bindparam("of_version")),
    ("place",),
    _SIZE,
)
"""The chunks of one version of it."""

_from_line = (
    select(file_chunks)
    .where(
        file_chunks.c.file_id == bindparam("file_id"),
        file_chunks.c.version == bindparam("of_version"),
        file_chunks.c.last_line >= bindparam("line"),
        file_chunks.c.place >= bindparam("from_place"),
    )
    .order_by(file_chunks.c.place)
    .limit(AT_ONCE)
)
_last_line = select(file_chunks.c.last_line).where(
    file_chunks.c.file_id == bindparam("file_id"),
    file_chunks.c.version == bindparam("of_version"),
    file_chunks.c.place == bindparam("at"),
)
_behind = (
    select(file_chunks.c.place, file_chunks.c.text)
    .where(
        file_chunks.c.file_id == bindparam("file_id"),
        file_chunks.c.version == bindparam("of_version"),
        file_chunks.c.place > bindparam("place"),
    )
    .order_by(file_chunks.c.place)
    .limit(AT_ONCE)
)
_texts = (
    select(file_chunks.c.text)
    .where(file_chunks.c.file_id == bindparam("file_id"), file_chunks.c.version == bindparam("of_version"))
    .order_by(file_chunks.c.place)
)
_other_versions = (
    select(file_chunks.c.version)
    .where(file_chunks.c.file_id == bindparam("file_id"), file_chunks.c.version != bindparam("shown"))
    .where(file_chunks.c.version != bindparam("incoming"))
    .limit(1)
)


def row_of(chunk: Chunk, file: File, version: int, place: int) -> dict[str, Any]:
    """Return a chunk's row; what it is found by takes a tenth of a millisecond to make."""
    return {
        "id": new_id("passage"),
        "file_id": file.id,
        "version": version,
        "place": place,
        "first_line": chunk.first_line,
        "last_line": chunk.last_line,
        "start": chunk.start,
        "heading": chunk.heading,
        "text": chunk.text,
        "search_text": indexed_text(f"{chunk.heading}\n{chunk.text}" if chunk.heading else chunk.text),
        "search_id": _search_id(file, version) + place,
        "created_at": clock.now(),
    }


async def write_chunks(transaction: Transaction, rows: Sequence[dict[str, Any]]) -> None:
    """Store chunks behind those that are there."""
    await transaction.insert(file_chunks, rows)


async def _place_of(transaction: Transaction, file: File, line: int, low: int = 0) -> int:
    """Return the place of the first chunk, from `low` on, that has a line or one behind it.

    Lines rise with places, so that a few of many chunks are looked at.
    """
    high = low if line <= 1 else file.chunks or 0
    while low < high:
        middle = (low + high) // 2
        row = await transaction.first(_last_line, file_id=file.id, of_version=file.version, at=middle)
        if row is None or row["last_line"] >= line:
            high = middle
        else:
            low = middle + 1
    return low


async def lines_from(transaction: Transaction, file: File, first: int = 1) -> AsyncGenerator[tuple[int, str], None]:
    """Yield the lines of a file's text with their numbers; of a very long one a little more than is shown.

    Args:
        transaction: where to read.
        file: whose text.
        first: the first line that is wanted, from 1.
    """
    number, place, partial = first, await _place_of(transaction, file, first), None
    while True:
        rows = await transaction.all(
            _from_line, file_id=file.id, of_version=file.version, line=number, from_place=place
        )
        for row in rows:
            lines = row["text"].split("\n")
            if partial is None:
                lines = lines[number - row["first_line"] :]
            else:
                lines[0] = partial + lines[0]
            for line in lines[:-1]:
                yield number, line
                number += 1
            partial, place = lines[-1], row["place"] + 1
            if len(partial) > LONGEST_LINE:  # the rest of it may be all of the file: go on where the next one begins
                yield number, partial
                number, partial = number + 1, None
                place = await _place_of(transaction, file, number, row["place"])
                break
        else:
            if len(rows) < AT_ONCE:
                break
    if partial:
        yield number, partial


async def chunks_of_lines(transaction: Transaction, file: File, line: int, most: int) -> Sequence[Row]:
    """Return chunks of a file's text, from the one in which a line begins on, 64 at the most."""
    place = await _place_of(transaction, file, line)
    rows = await transaction.all(_from_line, file_id=file.id, of_version=file.version, line=line, from_place=place)
    return rows[:most]


async def chunks_behind(transaction: Transaction, file: File, place: int) -> Sequence[Row]:
    """Return some chunks of a file's text behind a place, or from the beginning when that is -1."""
    return await transaction.all(_behind, file_id=file.id, of_version=file.version, place=place)


async def whole_texts(transaction: Transaction, wanted: Sequence[File]) -> list[str | None]:
    """Return the whole texts of files; None of one that was not read yet.

    Raises:
        InvalidInput: together they have more than `MOST_CHARACTERS`.
    """
    characters = sum(file.characters for file in wanted)
    if characters > MOST_CHARACTERS:
        raise InvalidInput(
            f"include_content: the files have {characters:,} characters together, and an answer may have "
            f"{MOST_CHARACTERS:,}. Ask for fewer files at once (limit), or read their passages page by page."
        )
    texts: list[str | None] = []
    for file in wanted:
        rows = await transaction.all(_texts, file_id=file.id, of_version=file.version)
        texts.append("".join(row["text"] for row in rows) if file.version else None)
    return texts


async def page_of_chunks(transaction: Transaction, folder_id: str, page: Page) -> list[Row]:
    """Return a page of the chunks of a folder's files, by time of creation, with their files' names."""
    statement = (
        select(file_chunks, files.c.name.label("file_name"))
        .join(files, OF_SHOWN_TEXT)
        .where(files.c.folder_id == folder_id, is_kept(files.c.id))
    )
    return await fetch_page(transaction, statement, file_chunks, page)


async def version_to_forget(transaction: Transaction, file: File) -> int | None:
    """Return a version of which there are chunks although it is neither shown nor being read; None for none."""
    incoming = file.uploads if file.upload_id is not None else file.version
    row = await transaction.first(_other_versions, file_id=file.id, shown=file.version, incoming=incoming)
    return None if row is None else int(row["version"])


def _search_id(file: File, version: int) -> int:
    """Return where a version's numbers in the embedded index begin; it takes rising ones at once, others one by one."""
    return int.from_bytes(blake2b(f"{file.id} {version}".encode(), digest_size=8).digest()) >> 2
