"""A block's versions: one row each, from which every earlier text can be told.

A row keeps the whole text when that is short, and else the change from the version before; every `FULL_COPY_EVERY`
versions it keeps the whole text again, so that any version is told from a bounded number of rows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select, tuple_

from folkmoot.errors import NotFound
from folkmoot.memory import deltas
from folkmoot.memory.authors import Author
from folkmoot.memory.blame import Blame
from folkmoot.store.engine import Row, Store, Transaction
from folkmoot.store.tables import block_readers, block_versions

FULL_COPY_EVERY = 50
SHORT_TEXT = 500
"""Characters up to which a whole text is as cheap as a change."""

LONGEST_DESCRIPTION = 4000
"""Characters of an edit's texts that a row keeps; what the edit did is in the text or the delta."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a block, without its text: who made it, when, by which edit, and how long the text is."""

    number: int
    author: Author
    edit: Mapping[str, Any]
    length: int
    created_at: int

    @classmethod
    def from_row(cls, row: Row) -> Version:
        """Read a row of the block_versions table."""
        author = Author(row["author_type"], row["author_id"], row["author_name"], row["run_id"], row["step_id"])
        return cls(row["version"], author, json.loads(row["edit"]), row["length"], row["created_at"])


@dataclass(frozen=True, slots=True)
class Reader:
    """A step whose model was shown a version."""

    version: int
    agent_id: str
    run_id: str
    step_id: str
    created_at: int


@dataclass(frozen=True, slots=True)
class WrittenLine:
    """A line of a block and the version that last wrote it."""

    text: str
    version: Version


_of_block = block_versions.c.block_id == bindparam("block_id")
_one = select(block_versions).where(_of_block, block_versions.c.version == bindparam("number"))
_nearest_copy = select(func.max(block_versions.c.version).label("number")).where(
    _of_block, block_versions.c.version <= bindparam("number"), block_versions.c.text.is_not(None)
)
_texts = (
    select(block_versions.c.version, block_versions.c.text, block_versions.c.delta)
    .where(_of_block, block_versions.c.version.between(bindparam("first"), bindparam("last")))
    .order_by(block_versions.c.version)
)


async def record(
    transaction: Transaction,
    block_id: str,
    version: int,
    before: str | None,
    after: str,
    edit: Mapping[str, Any],
    author: Author,
    now: int,
) -> None:
    """Write the row of one version.

    Args:
        transaction: the one that also writes the block.
        block_id: which block.
        version: the new version's number.
        before: the text of the version before; None for the first.
        after: the text of this version.
        edit: what was asked for, as JSON.
        author: who asked.
        now: when, in microseconds.
    """
    whole = before is None or len(after) <= SHORT_TEXT or version % FULL_COPY_EVERY == 0
    await transaction.insert(
        block_versions,
        [
            {
                "block_id": block_id,
                "version": version,
                "text": after if whole else None,
                "delta": None if whole or before is None else deltas.encode(before, after),
                "length": len(after),
                "edit": _description(edit),
                "author_type": author.type,
                "author_id": author.id,
                "author_name": author.name,
                "run_id": author.run_id,
                "step_id": author.step_id,
                "created_at": now,
            }
        ],
    )


async def list_versions(
    transaction: Transaction,
    block_id: str,
    limit: int,
    *,
    after: int | None = None,
    before: int | None = None,
    ascending: bool = False,
) -> list[Version]:
    """Return versions of the block, the newest first unless `ascending`.

    Args:
        transaction: where to read.
        block_id: which block.
        limit: how many versions.
        after: only those that come after this version in the order asked for.
        before: only those that come before it.
        ascending: the oldest first.
    """
    number = block_versions.c.version
    statement = select(block_versions).where(block_versions.c.block_id == block_id)
    if after is not None:
        statement = statement.where(number > after if ascending else number < after)
    if before is not None:
        statement = statement.where(number < before if ascending else number > before)
    backwards = before is not None and after is None
    rows = await transaction.all(
        statement.order_by(number.asc() if ascending != backwards else number.desc()).limit(limit)
    )
    found = [Version.from_row(row) for row in rows]
    return found[::-1] if backwards else found


async def find_version(transaction: Transaction, block_id: str, number: int) -> tuple[Version, str]:
    """Return a version with its text.

    Raises:
        NotFound: the block has no such version.
    """
    row = await transaction.first(_one, block_id=block_id, number=number)
    if row is None:
        raise NotFound(f"Block {block_id} has no version {number}.")
    text = row["text"]
    if text is None:
        texts = await read_texts(transaction, block_id, number, number)
        text = texts[0][1]
    return Version.from_row(row), text


async def read_texts(transaction: Transaction, block_id: str, first: int, last: int) -> list[tuple[int, str]]:
    """Return the texts of versions `first` to `last`, oldest first, replayed from the nearest whole copy."""
    copy = await transaction.first(_nearest_copy, block_id=block_id, number=first)
    start = first if copy is None or copy["number"] is None else copy["number"]
    rows = await transaction.all(_texts, block_id=block_id, first=start, last=last)
    return [(number, text) for number, text in _replay(rows) if number >= first]


def _replay(rows: Sequence[Row]) -> list[tuple[int, str]]:
    texts: list[tuple[int, str]] = []
    text = ""
    for row in rows:
        text = row["text"] if row["text"] is not None else deltas.apply_delta(text, row["delta"])
        texts.append((row["version"], text))
    return texts


async def blame_block(store: Store, block_id: str, last: int) -> list[WrittenLine]:
    """Return each line of the block's version `last` with the version that last wrote it.

    Reads and replays the whole history, in a thread, since that may take a second for ten thousand versions.
    """

    async def read(transaction: Transaction) -> Sequence[Row]:
        return await transaction.all(_texts, block_id=block_id, first=1, last=last)

    lines = await asyncio.to_thread(_blame, await store.read(read))
    numbers = sorted({line.version for line in lines})

    async def read_authors(transaction: Transaction) -> Sequence[Row]:
        return await transaction.all(
            select(block_versions).where(
                block_versions.c.block_id == block_id,
                block_versions.c.version.in_(numbers),
            )
        )

    authors = {row["version"]: Version.from_row(row) for row in await store.read(read_authors)} if numbers else {}
    return [WrittenLine(line.text, authors[line.version]) for line in lines]


def _blame(rows: Sequence[Row]) -> list[Any]:
    state = Blame()
    for number, text in _replay(rows):
        state = state.advance(number, text)
    return state.lines()


async def list_readers(
    transaction: Transaction, block_id: str, version: int, limit: int, after: str | None = None
) -> list[Reader]:
    """Return the steps that were shown this version of the block, the oldest first.

    Args:
        transaction: where to read.
        block_id: which block.
        version: which of its versions.
        limit: how many steps.
        after: the step that the page before ended with.
    """
    order = (block_readers.c.created_at, block_readers.c.step_id)
    statement = select(block_readers).where(
        block_readers.c.block_id == block_id,
        block_readers.c.version == version,
    )
    if after is not None:
        place = await transaction.first(statement.where(block_readers.c.step_id == after))
        if place is None:
            raise NotFound(f"after: step {after} was not shown version {version} of block {block_id}.")
        statement = statement.where(tuple_(*order) > tuple_(place["created_at"], after))
    rows = await transaction.all(statement.order_by(*order).limit(limit))
    return [Reader(row["version"], row["agent_id"], row["run_id"], row["step_id"], row["created_at"]) for row in rows]


def _description(edit: Mapping[str, Any]) -> str:
    """Return the edit as JSON, its long texts clipped: they stand in the version's own text."""
    clipped = {name: value[:LONGEST_DESCRIPTION] if isinstance(value, str) else value for name, value in edit.items()}
    return json.dumps(clipped)
