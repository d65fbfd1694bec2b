"""Blocks: the list, the form for a new one, and the page of one, at any of its versions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.agents.agents import Agent
from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.agents.overview import (
    ReadingRuns,
    agent_names,
    count_holders,
    edit_times,
    holders_of,
    newest_versions,
    reading_runs,
)
from folkmoot.errors import FolkmootError, InvalidInput
from folkmoot.memory.attachments import Access
from folkmoot.memory.blocks import DEFAULT_LIMIT, Block, create_block, find_block
from folkmoot.memory.edits import bare_lines
from folkmoot.memory.history import Version, WrittenLine, blame_block, find_version, list_versions
from folkmoot.memory.listing import BlockFilter, list_entries
from folkmoot.server.scanning import Scan, Scanning
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.blocks import CreateBlock
from folkmoot.server.wire.common import BlockId, Number
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.web import code
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.diagrams import MINUTE, bars_per_minute
from folkmoot.web.diffs import ShownLine, with_blame, with_changes
from folkmoot.web.forms import choices, problems_of, text_of
from folkmoot.web.namesakes import told_apart
from folkmoot.web.responses import page_router, read_form, redirect, render
from folkmoot.web.tables import Format, Row, all_rows, as_file
from folkmoot.web.words import author_name, iso

router = page_router()

LISTED = 200
COLUMNS = (
    *("id", "label", "description", "version", "characters", "limit", "agents", "tags"),
    *("updated_by", "updated_at", "created_at"),
)
LINES_SHOWN = 1000
"""Lines of a text that stand on one page."""

LONGEST_TEXT_IN_PAGE = 200_000
"""Characters of a text that is in the page for its editor; a longer one is fetched when it is edited."""

VERSIONS_SHOWN = 50
RUNS_SHOWN = 20
MINUTES = 30


@dataclass(frozen=True, slots=True)
class _About:
    """What surrounds a block's text."""

    block: Block
    shown: Version
    text: str
    before: str | None
    versions: Sequence[Version]
    holders: Sequence[tuple[Agent, Access]]
    others: Sequence[Agent]
    readings: ReadingRuns
    names: Mapping[str, str]
    edits: Sequence[int]
    palette: Palette


@dataclass(frozen=True, slots=True)
class Editing:
    """An editor that is open: its text, the version it began with, and why it could not be saved.

    Text and version are the block's own when None. In a conflict somebody else has written.
    """

    text: str | None = None
    version: int | None = None
    problem: str = ""
    conflict: bool = False


@router.get("/blocks")
async def list_all(
    request: Request, scan: Scan, q: str = "", after: str | None = None, kind: Format = None
) -> Response:
    """List blocks, the newest first; as a file where one is asked for."""
    wanted = BlockFilter(label_search=q.strip() or None)
    if kind:
        return await scan(lambda transaction: _rows(transaction, wanted), partial(as_file, "blocks", kind, COLUMNS))

    async def read(transaction: Transaction) -> dict[str, Any]:
        blocks = await list_entries(transaction, wanted, Page(limit=LISTED, after=after, order="desc"))
        holders = await count_holders(transaction, [block.id for block in blocks])
        newest = await newest_versions(transaction, [block.id for block in blocks])
        return {
            "blocks": blocks,
            "apart": await told_apart(transaction, blocks),
            "holders": holders,
            "newest": newest,
            "palette": await read_palette(transaction),
        }

    values: dict[str, Any] = {"q": q, "listed": LISTED, "calls": code.moot_calls()}
    return await scan(read, lambda shown: render(request, "blocks.html", **values, **shown))


async def _rows(transaction: Transaction, wanted: BlockFilter) -> list[Row]:
    """Return the blocks of a filter as rows of a file."""

    async def of_page(page: Page) -> list[Row]:
        blocks = await list_entries(transaction, wanted, page)
        holders = await count_holders(transaction, [block.id for block in blocks])
        return [
            {
                "id": block.id,
                "label": block.label,
                "description": block.description,
                "version": block.version,
                "characters": block.length,
                "limit": block.limit,
                "agents": holders.get(block.id, 0),
                "tags": ", ".join(block.tags),
                "updated_by": author_name(block.updated_by),
                "updated_at": iso(block.updated_at),
                "created_at": iso(block.created_at),
            }
            for block in blocks
        ]

    return await all_rows(of_page)


@router.get("/blocks/new")
async def new(request: Request) -> Response:
    """Show the form for a new block."""
    values = {"label": "", "value": "", "limit": str(DEFAULT_LIMIT), "description": "", "tags": "", "read_only": ""}
    return render(request, "block_new.html", values=values, problems={}, calls=code.new_block_calls())


@router.post("/blocks/new")
async def create(request: Request, state: State) -> Response:
    """Create a block, or say what is wrong where."""
    form = await read_form(request)
    names = ("label", "value", "limit", "description", "tags", "read_only")
    values = {name: text_of(form, name) for name in names}
    try:
        body = CreateBlock.model_validate(
            {
                "label": values["label"].strip(),
                "value": values["value"],
                "limit": values["limit"].replace(",", "").strip() or DEFAULT_LIMIT,
                "description": values["description"].strip() or None,
                "tags": choices(values["tags"]),
                "read_only": bool(values["read_only"]),
            }
        )
        block = await state.store.write(lambda transaction: create_block(transaction, body.model_dump(), state.author))
    except (ValidationError, FolkmootError) as error:
        problems = problems_of(error, values)
        return render(request, "block_new.html", 422, values=values, problems=problems, calls=code.new_block_calls())
    return redirect(f"/blocks/{block.id}")


@router.get("/blocks/{block_id}")
async def show(
    request: Request,
    block_id: BlockId,
    state: State,
    version: int | None = None,
    after: Number = 0,
    edit: str = "",
    ask: str = "",
) -> Response:
    """Show a block as it is now, live, or as it was at a version; of a long one the lines behind `after`.

    `edit` opens the editor, `ask` a question about the block, such as whether to delete it.
    """
    editing = Editing() if edit and version is None else None
    return await block_page(request, block_id, state, version=version, after=after, ask=ask, editing=editing)


async def block_page(
    request: Request,
    block_id: str,
    state: ServerState,
    status: int = 200,
    *,
    version: int | None = None,
    after: int = 0,
    ask: str = "",
    editing: Editing | None = None,
) -> Response:
    """Return a block's page.

    Args:
        request: what it answers.
        block_id: whose page.
        state: the server's.
        status: the response's status.
        version: which version it shows; the newest, live, when None.
        after: the number of the line behind which it begins.
        ask: the question that is open: `delete`, `revert`, or none.
        editing: the editor, when it is open.
    """
    scan = Scanning(state.store, request)
    about = await scan(lambda transaction: _read(transaction, block_id, version), lambda found: found)
    if editing is not None:
        text = about.text if editing.text is None else editing.text
        editing = replace(editing, text=text, version=editing.version or about.block.version)

    def page(lines: Sequence[ShownLine], shown: int, count: int, *, is_blamed: bool = True) -> Response:
        return render(
            request,
            "block.html",
            status,
            about=about,
            ask=ask,
            editing=editing,
            block=about.block,
            palette=about.palette,
            lines=lines,
            after=after,
            upto=after + shown,
            line_count=count,
            page_size=LINES_SHOWN,
            is_blamed=is_blamed,
            legend=_legend(lines),
            is_now=version is None,
            text_in_page=about.text if len(about.text) <= LONGEST_TEXT_IN_PAGE else None,
            bars=bars_per_minute(about.edits, clock.now(), MINUTES),
            edits=len(about.edits),
            minutes=MINUTES,
            calls=code.block_calls(block_id, about.block.version),
        )

    def blamed(written: list[WrittenLine], count: int) -> Response:
        lines = _lines(written, about, after, is_now=version is None, is_whole=len(written) == count)
        return page(lines, len(written), count)

    def unblamed() -> Response:
        texts = bare_lines(about.text)
        lines = [ShownLine("same", text, number) for number, text in enumerate(texts, 1)][after : after + LINES_SHOWN]
        return page(lines, len(lines), len(texts), is_blamed=False)

    try:
        return await scan.while_here(blame_block(state.store, block_id, about.shown.number, blamed, after, LINES_SHOWN))
    except InvalidInput:  # too long a history to replay; the text is there all the same
        return await asyncio.to_thread(unblamed)


async def _read(transaction: Transaction, block_id: str, version: int | None) -> _About:
    block = await find_block(transaction, block_id)
    shown, text = await find_version(transaction, block_id, version or block.version)
    before = None
    if version is not None and shown.number > 1:
        _, before = await find_version(transaction, block_id, shown.number - 1)
    holders = await holders_of(transaction, block_id)
    held = {agent.id for agent, _ in holders}
    everybody = await list_agents(transaction, AgentFilter(), Page(limit=LARGEST_PAGE))
    readings = await reading_runs(transaction, block_id, version, RUNS_SHOWN)
    return _About(
        block=block,
        shown=shown,
        text=text,
        before=before,
        versions=await list_versions(transaction, block_id, VERSIONS_SHOWN),
        holders=holders,
        others=[agent for agent in everybody if agent.id not in held],
        readings=readings,
        names=await agent_names(transaction, [run.agent_id for run in readings.newest]),
        edits=await edit_times(transaction, block_id, clock.now() - MINUTES * MINUTE),
        palette=await read_palette(transaction),
    )


def _lines(
    written: Sequence[WrittenLine], about: _About, after: int, *, is_now: bool, is_whole: bool
) -> list[ShownLine]:
    """Return the lines as they are shown: of an earlier version with what changed in it, if it is not long."""
    lines = with_blame(written, after)
    if is_now:
        return lines
    if is_whole:
        return with_changes(about.before or "", lines)
    return [replace(line, kind="added") if line.version == about.shown else line for line in lines]


def _legend(lines: Sequence[ShownLine]) -> list[tuple[Version, int]]:
    """Return each author by its newest version among the lines, with the number of its lines, most lines first."""
    newest: dict[tuple[str, str | None], Version] = {}
    counts: Counter[tuple[str, str | None]] = Counter()
    for line in lines:
        if line.version is None:
            continue
        key = (line.version.author.type, line.version.author.id or line.version.author.name)
        counts[key] += 1
        if key not in newest or newest[key].number < line.version.number:
            newest[key] = line.version
    return [(newest[key], count) for key, count in counts.most_common()]
