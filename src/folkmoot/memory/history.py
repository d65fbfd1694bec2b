"""A block's versions: one row each, from which every earlier text can be told.

A row keeps the whole text when that is short, and else the change from the version before; every `FULL_COPY_EVERY`
versions it keeps the whole text again, so that any version is told from a bounded number of rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, case, func, null, select, tuple_

from folkmoot.errors import InvalidInput, NotFound
from folkmoot.memory import deltas
from folkmoot.memory.authors import Author
from folkmoot.memory.blame import BlameLine, LineHistory
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Row, Store, T, Transaction
from folkmoot.store.tables import block_readers, block_versions, blocks

FULL_COPY_EVERY = 50
SHORT_TEXT = 500
"""Characters up to which a whole text is as cheap as a change."""

MOST_LINES = 10_000
"""Lines that blame returns at once."""

MOST_BLAMED_VERSIONS = 50_000
MOST_BLAMED_CHARACTERS = 100_000_000
"""How much of a history blame replays: some seconds on a reader's thread."""

MOST_OF_RUN = 200
"""Edits of one run that are told."""

CHANGES_AT_ONCE = 200
_AUTHORS_AT_ONCE = 200

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
        author = Author(
            row["author_type"], row["author_id"], row["author_name"], row["run_id"], row["step_id"], row["client"]
        )
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
# A whole text is as long as the block; where the change is kept beside it, that tells as much.
_changes = (
    select(
        block_versions.c.version,
        case((block_versions.c.delta.is_not(None), null()), else_=block_versions.c.text).label("text"),
        block_versions.c.delta,
    )
    .where(_of_block, block_versions.c.version.between(bindparam("first"), bindparam("last")))
    .order_by(block_versions.c.version)
)
DESCRIBED = tuple(column for column in block_versions.c if column.name not in ("text", "delta"))
"""The columns of a version without its text, which may be as long as the block."""

_shown_in_step = (
    select(block_readers.c.block_id, block_readers.c.version, blocks.c.label)
    .join(blocks, blocks.c.id == block_readers.c.block_id)
    .where(block_readers.c.step_id == bindparam("step_id"), is_kept(blocks.c.id))
    .order_by(blocks.c.label, blocks.c.id)
)
_authors = select(*DESCRIBED).where(
    _of_block, block_versions.c.version.in_([bindparam(f"number_{place}") for place in range(_AUTHORS_AT_ONCE)])
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
    short = before is None or len(after) <= SHORT_TEXT
    whole = short or version % FULL_COPY_EVERY == 0
    await transaction.insert(
        block_versions,
        [
            {
                "block_id": block_id,
                "version": version,
                "text": after if whole else None,
                "delta": None if short or before is None else deltas.encode(before, after),
                "length": len(after),
                "edit": _description(edit),
                "author_type": author.type,
                "author_id": author.id,
                "author_name": author.name,
                "run_id": author.run_id,
                "step_id": author.step_id,
                "client": author.client,
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
    statement = select(*DESCRIBED).where(block_versions.c.block_id == block_id)
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


@dataclass(frozen=True, slots=True)
class EditOfBlock:
    """A version with the block that it is of."""

    block_id: str
    label: str
    version: Version

    @classmethod
    def from_row(cls, row: Row) -> EditOfBlock:
        """Read a row of the block_versions table joined with the block's label."""
        return cls(row["block_id"], row["label"], Version.from_row(row))


async def edits_of_run(transaction: Transaction, run_id: str) -> list[EditOfBlock]:
    """Return what a run changed in blocks that are still there, the oldest first, `MOST_OF_RUN` at the most."""
    statement = (
        select(*DESCRIBED, blocks.c.label)
        .join(blocks, blocks.c.id == block_versions.c.block_id)
        .where(block_versions.c.run_id == run_id, block_versions.c.run_id.is_not(None), is_kept(blocks.c.id))
        .order_by(block_versions.c.created_at, block_versions.c.block_id, block_versions.c.version)
        .limit(MOST_OF_RUN)
    )
    return [EditOfBlock.from_row(row) for row in await transaction.all(statement)]


async def recent_edits(
    transaction: Transaction, before: int, limit: int, author_id: str | None = None
) -> list[EditOfBlock]:
    """Return the newest edits of all blocks, up to a moment in microseconds, by one author when it is named."""
    statement = (
        select(*DESCRIBED, blocks.c.label)
        .join(blocks, blocks.c.id == block_versions.c.block_id)
        .where(block_versions.c.created_at <= before, is_kept(blocks.c.id))
    )
    if author_id is not None:
        statement = statement.where(block_versions.c.author_id == author_id)
    newest = (block_versions.c.created_at.desc(), block_versions.c.block_id, block_versions.c.version.desc())
    rows = await transaction.all(statement.order_by(*newest).limit(limit))
    return [EditOfBlock.from_row(row) for row in rows]


async def shown_in_step(transaction: Transaction, step_id: str) -> list[tuple[str, str, int]]:
    """Return identifier, label and version of the blocks that a step's model was shown, by label.

    Blocks that are gone are left out.
    """
    rows = await transaction.all(_shown_in_step, step_id=step_id)
    return [(row["block_id"], row["label"], row["version"]) for row in rows]


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
    """Return the texts of versions `first` to `last`, oldest first, replayed from the nearest whole copy.

    Raises:
        NotFound: they are not all there, as when the block is deleted between two statements.
    """
    copy = await transaction.first(_nearest_copy, block_id=block_id, number=first)
    start = first if copy is None or copy["number"] is None else copy["number"]
    rows = await transaction.all(_texts, block_id=block_id, first=start, last=last)
    if [row["version"] for row in rows] != list(range(max(start, 1), last + 1)):
        raise NotFound(f"Block {block_id} has no versions {first} to {last}.")
    return [(number, text) for number, text in _replay(rows) if number >= first]


def _replay(rows: Sequence[Row]) -> list[tuple[int, str]]:
    texts: list[tuple[int, str]] = []
    text = ""
    for row in rows:
        text = row["text"] if row["text"] is not None else deltas.apply_delta(text, row["delta"])
        texts.append((row["version"], text))
    return texts


async def blame_block(
    store: Store,
    block_id: str,
    last: int,
    then: Callable[[list[WrittenLine], int], T],
    after: int = 0,
    limit: int = MOST_LINES,
) -> T:
    """Return what `then` makes of lines of the block's version `last`, and of how many there are.

    Each line comes with the version that last wrote it. It replays the whole history, as a scan.

    Args:
        store: the database.
        block_id: which block.
        last: which of its versions.
        then: what to make of the lines, on a thread.
        after: only lines behind this many.
        limit: how many lines, `MOST_LINES` at most.

    Raises:
        InvalidInput: the history is longer than `MOST_BLAMED_VERSIONS` or `MOST_BLAMED_CHARACTERS`.
        NotFound: the block was deleted meanwhile.
        StoreOverloaded: it took too long.
    """

    async def read(transaction: Transaction) -> Sequence[Row]:
        return await _changes_up_to(transaction, block_id, last)

    def blame(rows: Sequence[Row]) -> tuple[list[BlameLine], int]:
        replayed = LineHistory()
        for row in rows:
            if row["text"] is not None:
                replayed.set_text(row["version"], row["text"])
            else:
                replayed.change(row["version"], row["delta"])
        return replayed.lines(after, limit), replayed.count()

    lines, count = await store.scan(read, blame)
    numbers = sorted({line.version for line in lines})

    async def read_authors(transaction: Transaction) -> dict[int, Version]:
        found: dict[int, Version] = {}
        for at in range(0, len(numbers), _AUTHORS_AT_ONCE):
            some = numbers[at : at + _AUTHORS_AT_ONCE]
            named = {f"number_{place}": some[min(place, len(some) - 1)] for place in range(_AUTHORS_AT_ONCE)}
            rows = await transaction.all(_authors, block_id=block_id, **named)
            found |= {row["version"]: Version.from_row(row) for row in rows}
        if len(found) < len(numbers):  # deleted between the two scans
            raise NotFound(f"Block {block_id} has no version {last}.")
        return found

    return await store.scan(
        read_authors,
        lambda authors: then([WrittenLine(line.text, authors[line.version]) for line in lines], count),
    )


async def _changes_up_to(transaction: Transaction, block_id: str, last: int) -> list[Row]:
    """Return the changes from which the version `last` is told, the oldest first."""
    if last > MOST_BLAMED_VERSIONS:
        raise InvalidInput(
            f"version: blame replays {MOST_BLAMED_VERSIONS:,} versions at the most, and this is number {last:,}. "
            "Ask for an earlier version."
        )
    rows: list[Row] = []
    characters = 0
    while not rows or rows[-1]["version"] < last:
        first = rows[-1]["version"] + 1 if rows else 1
        some = await transaction.all(
            _changes, block_id=block_id, first=first, last=min(first + CHANGES_AT_ONCE - 1, last)
        )
        if not some:
            break
        rows += some
        characters += sum(len(row["text"] if row["text"] is not None else row["delta"]) for row in some)
        if characters > MOST_BLAMED_CHARACTERS:
            raise InvalidInput(
                f"version: blame replays {MOST_BLAMED_CHARACTERS:,} characters of changes at the most, and this block "
                f"has more before version {rows[-1]['version']:,}. Ask for an earlier version."
            )
    return rows


async def list_readers(
    transaction: Transaction, block_id: str, version: int, limit: int, after: str | None = None
) -> list[Reader]:
    """Return the steps that were shown this version of the block, the oldest first.

    Args:
        transaction: where to read.
        block_id: which block.
        version: which of its versions.
        limit: how many steps.
        after: the step that the page before ended with; one that was not shown it does not count.
    """
    order = (block_readers.c.created_at, block_readers.c.step_id)
    statement = select(block_readers).where(
        block_readers.c.block_id == block_id,
        block_readers.c.version == version,
    )
    if after is not None:
        place = await transaction.first(statement.where(block_readers.c.step_id == after))
        if place is not None:
            statement = statement.where(tuple_(*order) > tuple_(place["created_at"], after))
    rows = await transaction.all(statement.order_by(*order).limit(limit))
    return [Reader(row["version"], row["agent_id"], row["run_id"], row["step_id"], row["created_at"]) for row in rows]


def _description(edit: Mapping[str, Any]) -> str:
    """Return the edit as JSON, its long texts clipped: they stand in the version's own text."""
    clipped = {name: value[:LONGEST_DESCRIPTION] if isinstance(value, str) else value for name, value in edit.items()}
    return json.dumps(clipped)
