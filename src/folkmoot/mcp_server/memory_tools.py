"""The tools that read and write blocks: the same edits, rules and refusals as those of this server's own agents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from folkmoot.archives.archives import Archive
from folkmoot.errors import PreconditionRequired
from folkmoot.mcp_server.member import MOST_LISTED, Member
from folkmoot.mcp_server.tool import Answer, Arguments, Report
from folkmoot.memory.attachments import Access
from folkmoot.memory.blocks import Block, edit_text
from folkmoot.memory.edits import Edit, Insert, Replace, Rethink, bare_lines
from folkmoot.memory.history import Version, WrittenLine, blame_block, list_versions
from folkmoot.memory.listing import BlockEntry
from folkmoot.models.frames import printable_json, render_frame
from folkmoot.server.wire.common import Number, Text
from folkmoot.store import clock
from folkmoot.store.engine import Transaction

MOST_LINES = 2_000
MOST_CHARACTERS = 100_000
"""How much of a block's text is read at once."""

MOST_VERSIONS = 50
LONGEST_EDIT = 200
"""Characters of an edit's text that a history shows."""


Label = Annotated[Text, Field(description="The block's label, or its identifier.")]
VersionNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]
Expected = Annotated[
    VersionNumber | None,
    Field(description="The version that you have read: the edit is refused if the block has moved on."),
]


class ListMemory(Arguments):
    """Which blocks to list."""

    label_contains: Text = Field("", description="Only blocks in whose label this stands.")
    after: Text | None = Field(None, description="The id of the last block of the list before, to go on behind it.")


class ReadMemory(Arguments):
    """Which block to read, and which of its lines."""

    label: Label
    first_line: int = Field(1, ge=1, description="The first line to read.")
    last_line: int = Field(-1, ge=-1, description="The last line to read; -1 for the end.")


class InsertText(Arguments):
    """What to insert, and where."""

    label: Label
    new_string: Text = Field(description="The line or lines to add, without line numbers.")
    insert_line: int = Field(-1, ge=-1, description="The line after which they go: 0 the start, -1 the end.")
    expected_version: Expected = None


class ReplaceText(Arguments):
    """What to replace, and by what."""

    label: Label
    old_string: Text = Field(description="The passage to replace; it must stand exactly once. No line numbers.")
    new_string: Text = Field(description="What stands there afterwards; empty to remove the passage.")
    expected_version: Expected = None


class RethinkText(Arguments):
    """The new text."""

    label: Label
    new_memory: Text = Field(description="The block's whole new text, with everything that should be kept.")
    expected_version: Expected = None


class ReadHistory(Arguments):
    """Whose history, and which part of it."""

    label: Label
    limit: int = Field(10, ge=1, le=MOST_VERSIONS, description="How many versions.")
    before_version: VersionNumber | None = Field(None, description="Only versions before this one.")


class ReadBlame(Arguments):
    """Whose lines."""

    label: Label
    version: VersionNumber | None = Field(None, description="Of an earlier version; the newest if left out.")
    after_line: Number = Field(0, description="Only lines behind this one.")


async def list_memory(member: Member, wanted: ListMemory, report: Report) -> Answer:
    """List the blocks that the member reaches."""

    async def read(transaction: Transaction) -> tuple[list[BlockEntry], list[Archive]]:
        blocks = await member.blocks(transaction, wanted.label_contains, wanted.after)
        more = bool(wanted.label_contains or wanted.after)
        return blocks, [] if more else await member.archives(transaction)

    blocks, archives = await member.state.store.read(read)
    shown = [_described(block, member) for block in blocks]
    told = [_described_archive(archive, member) for archive in archives]
    lines = [printable_json(each) for each in (*shown, *told)]
    if len(blocks) == MOST_LISTED:
        lines.append(f"There may be more: go on with after={blocks[-1].id}.")
    return Answer("\n".join(lines) or "You reach no blocks.", {"blocks": shown, "archives": told})


async def read_memory(member: Member, wanted: ReadMemory, report: Report) -> Answer:
    """Read lines of a block."""
    block = await member.state.store.read(lambda transaction: member.block(transaction, wanted.label))
    if len(block.value) > MOST_CHARACTERS:
        return await asyncio.to_thread(_show_lines, block, member.access_to(block), wanted)
    return _show_lines(block, member.access_to(block), wanted)


def _show_lines(block: Block, access: Access, wanted: ReadMemory) -> Answer:
    lines = bare_lines(block.value)
    last = len(lines) if wanted.last_line == -1 else min(wanted.last_line, len(lines))
    some = _as_many_as_fit(lines[wanted.first_line - 1 : last])
    end = wanted.first_line - 1 + len(some)
    count = f"{len(lines):,} line{'' if len(lines) == 1 else 's'}"
    head = f"Block {block.label!r} at version {block.version}: {_size(block)}, {count}."
    head += f" You may {_MAY[access]}."
    if not some:
        return Answer(f"{head} There are no such lines." if lines else f"{head} It is empty.", _data(block))
    numbered = "\n".join(f"{number:6}\t{line}" for number, line in enumerate(some, wanted.first_line))
    more = f"\nRead on with first_line={end + 1}." if end < last else ""
    return Answer(f"{head}\n{render_frame('text', numbered)}{more}", _data(block))


async def insert(member: Member, wanted: InsertText, report: Report) -> Answer:
    """Insert lines into a block."""
    return await _edit(member, wanted.label, Insert(wanted.new_string, wanted.insert_line), wanted.expected_version)


async def replace(member: Member, wanted: ReplaceText, report: Report) -> Answer:
    """Replace a passage of a block."""
    return await _edit(member, wanted.label, Replace(wanted.old_string, wanted.new_string), wanted.expected_version)


async def rethink(member: Member, wanted: RethinkText, report: Report) -> Answer:
    """Rewrite a block."""
    return await _edit(member, wanted.label, Rethink(wanted.new_memory), wanted.expected_version)


async def history(member: Member, wanted: ReadHistory, report: Report) -> Answer:
    """List versions of a block, the newest first."""

    async def read(transaction: Transaction) -> tuple[Block, list[Version]]:
        block = await member.block(transaction, wanted.label)
        return block, await list_versions(transaction, block.id, wanted.limit, after=wanted.before_version)

    block, versions = await member.state.store.read(read)
    shown = [_version(version) for version in versions]
    lines = [printable_json(each) for each in shown]
    return Answer("\n".join(lines) or "There are no such versions.", {**_data(block), "versions": shown})


async def blame(member: Member, wanted: ReadBlame, report: Report) -> Answer:
    """Say who last wrote each line of a block."""
    block = await member.state.store.read(lambda transaction: member.block(transaction, wanted.label))
    last = min(wanted.version or block.version, block.version)

    def show(lines: Sequence[WrittenLine], count: int) -> Answer:
        shown = [
            f"{number:6}\tv{line.version.number} {printable_json(str(line.version.author))}\t{line.text.rstrip()}"
            for number, line in enumerate(lines, wanted.after_line + 1)
        ]
        some = _as_many_as_fit(shown)
        end = wanted.after_line + len(some)
        more = f"\nGo on with after_line={end}." if end < count else ""
        head = f"Block {block.label!r} at version {last}: line, version and author, text."
        return Answer(f"{head}\n{render_frame('blame', chr(10).join(some))}{more}", _data(block))

    return await blame_block(member.state.store, block.id, last, show, wanted.after_line, MOST_LINES)


async def _edit(member: Member, label: str, edit: Edit, expected: int | None) -> Answer:
    """Make an edit in one transaction, and say what came of it.

    Raises:
        EditRefused: it does not apply; the error tells the text as it is now.
        Forbidden: the member may not make it.
        PreconditionFailed: the block is not at the version that was expected.
    """

    async def write(transaction: Transaction) -> tuple[Block, Block]:
        block_id = await member.block_id(transaction, label)
        access = member.access_by_key(block_id)
        return await edit_text(transaction, block_id, edit, member.state.author, expected, access)

    try:
        before, after = await member.state.store.write(write, together=label)
    except PreconditionRequired as error:
        version = error.extra["current_version"]
        raise PreconditionRequired(
            f"Block {label!r} is not overwritten unseen: say with expected_version which version you have read. It is "
            f"at version {version} now. To add or replace a part, which needs no version, use insert or replace."
        ) from error
    done = f"Done: block {after.label!r} is now at version {after.version} ({_size(after)})."
    unseen = isinstance(edit, Rethink) and expected is None and before.value not in ("", after.value)
    if unseen and not before.updated_by.is_same_as(after.updated_by):
        done += f" It overwrote version {before.version} by {before.updated_by}, which the history still holds."
    return Answer(done, _data(after))


_MAY = {"write": "change it", "append": "add to it", "read": "read it"}


def _described(block: BlockEntry, member: Member) -> dict[str, Any]:
    return {
        **_data(block),
        "description": block.description,
        "access": member.access_to(block),
        "characters": block.length,
        "limit": block.limit,
        "updated_at": clock.to_datetime(block.updated_at).isoformat(),
        "updated_by": str(block.updated_by),
    }


def _described_archive(archive: Archive, member: Member) -> dict[str, Any]:
    grants = member.state.principal.grants
    access = "read" if not member.may_add_passages else "append"
    return {
        "archive": archive.name,
        "id": archive.id,
        "description": archive.description,
        "access": access if grants is None else grants.archives[archive.id],
        "passages": archive.passage_count,
    }


def _version(version: Version) -> dict[str, Any]:
    edit = {
        name: value[:LONGEST_EDIT] + "…" if isinstance(value, str) and len(value) > LONGEST_EDIT else value
        for name, value in version.edit.items()
    }
    return {
        "version": version.number,
        "author": str(version.author),
        "at": clock.to_datetime(version.created_at).isoformat(),
        "edit": edit,
        "characters": version.length,
    }


def _data(block: Block | BlockEntry) -> dict[str, Any]:
    return {"id": block.id, "label": block.label, "version": block.version}


def _size(block: Block) -> str:
    return f"{len(block.value):,} of {block.limit:,} characters"


def _as_many_as_fit(lines: Sequence[str]) -> list[str]:
    """Return the first lines, as many as are read at once; at least one, cut where it is too long."""
    some: list[str] = []
    left = MOST_CHARACTERS
    for line in lines[:MOST_LINES]:
        if len(line) > left:
            if not some:
                some.append(line[:MOST_CHARACTERS] + f" [… {len(line) - MOST_CHARACTERS} characters left out …]")
            break
        some.append(line)
        left -= len(line) + 1
    return some
