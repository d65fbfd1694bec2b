"""Blocks: the list, the form for a new one, and the page of one, at any of its versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.agents.agents import Agent
from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.errors import FolkmootError
from folkmoot.memory.attachments import Access
from folkmoot.memory.blocks import DEFAULT_LIMIT, Block, create_block, find_block
from folkmoot.memory.history import Version, blame_block, find_version, list_versions
from folkmoot.memory.listing import BlockFilter, list_blocks
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.blocks import CreateBlock
from folkmoot.server.wire.common import BlockId
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.web import code
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.diagrams import MINUTE, bars_per_minute
from folkmoot.web.diffs import ShownLine, with_blame, with_changes
from folkmoot.web.forms import choices, problems_of, text_of
from folkmoot.web.reading import (
    ReadingRun,
    agent_names,
    all_attachments,
    edit_times,
    holders_of,
    newest_versions,
    reading_runs,
)
from folkmoot.web.responses import page_router, read_form, redirect, render

router = page_router()

LISTED = 200
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
    readers: Sequence[ReadingRun]
    reader_count: int
    names: Mapping[str, str]
    edits: Sequence[int]
    palette: Palette


@router.get("/blocks")
async def list_all(request: Request, state: State, q: str = "", after: str | None = None) -> Response:
    """List blocks, the newest first."""

    async def read(transaction: Transaction) -> dict[str, Any]:
        wanted = BlockFilter(label_search=q.strip() or None)
        blocks = await list_blocks(transaction, wanted, Page(limit=LISTED, after=after, order="desc"))
        holders = Counter(each.block_id for each in await all_attachments(transaction))
        newest = await newest_versions(transaction, [block.id for block in blocks])
        return {"blocks": blocks, "holders": holders, "newest": newest, "palette": await read_palette(transaction)}

    return render(request, "blocks.html", q=q, listed=LISTED, calls=code.moot_calls(), **await state.store.read(read))


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
    values["value"] = values["value"].replace("\r\n", "\n")
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
async def show(request: Request, block_id: BlockId, state: State, version: int | None = None) -> Response:
    """Show a block as it is now, live, or as it was at a version."""
    about = await state.store.read(lambda transaction: _read(transaction, block_id, version))
    lines = await _lines(about, state, with_diff=version is not None)
    now = clock.now()
    return render(
        request,
        "block.html",
        about=about,
        block=about.block,
        palette=about.palette,
        lines=lines,
        legend=_legend(lines),
        is_now=version is None,
        bars=bars_per_minute(about.edits, now, MINUTES),
        edits=len(about.edits),
        minutes=MINUTES,
        calls=code.block_calls(block_id, about.block.version),
    )


async def _read(transaction: Transaction, block_id: str, version: int | None) -> _About:
    block = await find_block(transaction, block_id)
    shown, text = await find_version(transaction, block_id, version or block.version)
    before = None
    if version is not None and shown.number > 1:
        _, before = await find_version(transaction, block_id, shown.number - 1)
    holders = await holders_of(transaction, block_id)
    held = {agent.id for agent, _ in holders}
    everybody = await list_agents(transaction, AgentFilter(), Page(limit=LARGEST_PAGE))
    count, readers = await reading_runs(transaction, block_id, version, RUNS_SHOWN)
    return _About(
        block=block,
        shown=shown,
        text=text,
        before=before,
        versions=await list_versions(transaction, block_id, VERSIONS_SHOWN),
        holders=holders,
        others=[agent for agent in everybody if agent.id not in held],
        readers=readers,
        reader_count=count,
        names=await agent_names(transaction, [reader.agent_id for reader in readers]),
        edits=await edit_times(transaction, block_id, clock.now() - MINUTES * MINUTE),
        palette=await read_palette(transaction),
    )


async def _lines(about: _About, state: ServerState, *, with_diff: bool) -> list[ShownLine]:
    lines = with_blame(await blame_block(state.store, about.block.id, about.shown.number))
    return with_changes(about.before or "", lines) if with_diff else lines


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
