"""A block's past: why a line says what it says, two versions side by side, all versions, how far one has reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from folkmoot.agents.overview import agent_names
from folkmoot.conversations.messages import Message, messages_of_step
from folkmoot.errors import NotFound
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import Block, find_block
from folkmoot.memory.history import (
    EditOfBlock,
    Version,
    WrittenLine,
    blame_block,
    edits_of_run,
    find_version,
    list_versions,
    read_texts,
)
from folkmoot.memory.reach import ReachedRun, reach_of
from folkmoot.runs.runs import find_run
from folkmoot.runs.summaries import RunSummary, summarise
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.common import BlockId, Number
from folkmoot.store.engine import Transaction
from folkmoot.web import code
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.responses import page_router, render
from folkmoot.web.timeline import Timeline, timeline_of
from folkmoot.web.transcript import transcript_of
from folkmoot.web.word_diff import changes_in, line_counts, side_by_side

router = page_router()

VERSIONS_LISTED = 50
RUNS_LISTED = 100

LONGEST_COUNTED = 20_000
"""Characters of a block up to which the list of its versions says how many lines each changed."""

ZOOMED_OUT = 20_000
"""Versions that the timeline shows at most; further back it is zoomed to them."""


@dataclass(frozen=True, slots=True)
class _Why:
    """How a line came to be."""

    block: Block
    summary: RunSummary | None
    """The run that wrote it; None where a program or a person did, or it was deleted."""

    messages: Sequence[Message]
    """Of the step that wrote it."""

    edits: Sequence[EditOfBlock]
    """What else the run changed."""

    names: dict[str, str]
    palette: Palette


@router.get("/blocks/{block_id}/why")
async def why(
    request: Request, block_id: BlockId, state: State, scan: Scan, line: Number = 1, version: Number = 0
) -> Response:
    """Show who wrote a line of a version, in which run, what had been said, and what else that run changed."""

    async def number(transaction: Transaction) -> int:
        block = await find_block(transaction, block_id)
        return (await find_version(transaction, block_id, version or block.version))[0].number

    at = await state.store.read(number)
    blame = blame_block(state.store, block_id, at, lambda lines, _: lines, max(line, 1) - 1, 1)
    written: list[WrittenLine] = await scan.while_here(blame)
    if not written:
        raise NotFound(f"Version {at} of this block has no line {line}.")
    author = written[0].version.author

    async def read(transaction: Transaction) -> _Why:
        block = await find_block(transaction, block_id)
        summary = await _run_of(transaction, author)
        messages = await messages_of_step(transaction, author.step_id) if author.step_id else []
        edits = await edits_of_run(transaction, author.run_id) if author.run_id else []
        involved = [summary.run.agent_id, summary.asking_agent or ""] if summary is not None else []
        names = dict(await agent_names(transaction, involved))
        return _Why(block, summary, messages, edits, names, await read_palette(transaction))

    def show(found: _Why) -> Response:
        newest = written[0].version
        others = [each for each in found.edits if (each.block_id, each.version.number) != (block_id, newest.number)]
        return render(
            request,
            "why.html",
            block=found.block,
            line=line,
            at=at,
            text=written[0].text.rstrip("\r\n"),
            written=newest,
            summary=found.summary,
            talk=transcript_of([each for each in found.messages if each.message_type != "user_message"]),
            others=others,
            names=found.names,
            palette=found.palette,
            calls=code.block_calls(block_id, at),
        )

    return await scan(read, show)


@router.get("/blocks/{block_id}/compare")
async def compare(request: Request, block_id: BlockId, scan: Scan, first: Number = 0, last: Number = 0) -> Response:
    """Show two versions side by side; without numbers the newest one and the one before it."""

    async def read(transaction: Transaction) -> tuple[Block, tuple[Version, str], tuple[Version, str], Palette]:
        block = await find_block(transaction, block_id)
        right = last or block.version
        left = first or max(right - 1, 1)
        return (
            block,
            await find_version(transaction, block_id, left),
            await find_version(transaction, block_id, right),
            await read_palette(transaction),
        )

    def show(found: tuple[Block, tuple[Version, str], tuple[Version, str], Palette]) -> Response:
        block, (left, before), (right, after), palette = found
        rows = side_by_side(before, after)
        return render(
            request,
            "compare.html",
            block=block,
            left=left,
            right=right,
            rows=rows,
            change_count=changes_in(rows),
            palette=palette,
            calls=code.compare_calls(block_id, left.number, right.number),
        )

    return await scan(read, show)


@dataclass(frozen=True, slots=True)
class _Past:
    """A block's versions, or some of them."""

    block: Block
    versions: Sequence[Version]
    texts: dict[int, str]
    timeline: Timeline
    palette: Palette


@router.get("/blocks/{block_id}/history")
async def history(
    request: Request, block_id: BlockId, scan: Scan, after: Number = 0, first: Number = 0, last: Number = 0
) -> Response:
    """List all versions, the newest first, below a timeline of those from `first` to `last`.

    The list goes on behind version `after`, and has those of the timeline only.
    """

    async def read(transaction: Transaction) -> _Past:
        block = await find_block(transaction, block_id)
        end = min(last or block.version, block.version)
        begin = max(first or 1, end - ZOOMED_OUT + 1)
        shown = await list_versions(transaction, block_id, ZOOMED_OUT, after=end + 1, before=begin - 1)
        below = min(after or end + 1, end + 1)
        versions = [each for each in shown if each.number < below][:VERSIONS_LISTED]
        texts: dict[int, str] = {}
        if versions and max(each.length for each in versions) <= LONGEST_COUNTED:
            oldest = max(versions[-1].number - 1, 1)
            texts = dict(await read_texts(transaction, block_id, oldest, versions[0].number))
        palette = await read_palette(transaction)
        return _Past(block, versions, texts, timeline_of(shown[::-1], palette), palette)

    def show(past: _Past) -> Response:
        return render(
            request,
            "history.html",
            block=past.block,
            versions=past.versions,
            counts={each.number: _counts(past.texts, each.number) for each in past.versions},
            timeline=past.timeline,
            palette=past.palette,
            page_size=VERSIONS_LISTED,
            calls=code.block_calls(block_id, past.block.version),
        )

    return await scan(read, show)


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far a version has reached: how many runs, and the first of them."""

    block: Block
    version: Version
    count: int
    runs: Sequence[ReachedRun]
    names: dict[str, str]
    palette: Palette


@router.get("/blocks/{block_id}/reach")
async def reach(request: Request, block_id: BlockId, scan: Scan, version: Number = 0) -> Response:
    """Show who was shown a version, in which runs, and what they wrote from then on; it can be reverted beside that."""

    async def read(transaction: Transaction) -> _Reach:
        block = await find_block(transaction, block_id)
        found, _ = await find_version(transaction, block_id, version or block.version)
        count, runs = await reach_of(transaction, block_id, found.number, RUNS_LISTED)
        names = dict(await agent_names(transaction, [run.agent_id for run in runs]))
        return _Reach(block, found, count, runs, names, await read_palette(transaction))

    def show(found: _Reach) -> Response:
        return render(
            request,
            "reach.html",
            block=found.block,
            version=found.version,
            count=found.count,
            runs=found.runs,
            names=found.names,
            palette=found.palette,
            listed=RUNS_LISTED,
            calls=code.block_calls(block_id, found.version.number),
        )

    return await scan(read, show)


async def _run_of(transaction: Transaction, author: Author) -> RunSummary | None:
    if author.run_id is None:
        return None
    try:
        run = await find_run(transaction, author.run_id)
    except NotFound:
        return None
    return (await summarise(transaction, [run]))[0]


def _counts(texts: dict[int, str], number: int) -> tuple[int, int] | None:
    """Return how many lines a version put in and took out; None where its texts were not read."""
    if number not in texts or (number > 1 and number - 1 not in texts):
        return None
    return line_counts(texts.get(number - 1, ""), texts[number])
