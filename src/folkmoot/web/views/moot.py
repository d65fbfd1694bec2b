"""The first page: agents, blocks, who shares what, and what happens just now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request, Response

from folkmoot.access.keys import Key, list_keys
from folkmoot.agents.listing import AgentFilter, list_agents, list_tags
from folkmoot.agents.overview import Newest, all_attachments, newest_versions
from folkmoot.memory.attachments import Attachment
from folkmoot.memory.blocks import Block
from folkmoot.memory.listing import BlockFilter, list_blocks
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.runs import UNFINISHED, Run
from folkmoot.server.grants import labels_for
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.web import moot_map
from folkmoot.web.code import moot_calls
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.responses import page_router, render

router = page_router()

EVERY = Page(limit=LARGEST_PAGE, from_end=True)
"""All there are, or where they are more the newest, the oldest of them first."""


@dataclass(frozen=True, slots=True)
class _Moot:
    """What the page shows."""

    map: moot_map.MootMap
    palette: Palette
    newest: dict[str, Newest]
    runs: dict[str, Run]
    waiting: set[str]
    tags: Sequence[str]
    members: set[str]
    is_empty: bool


@router.get("/")
async def moot(request: Request, state: State, scan: Scan, q: str = "", tag: str = "") -> Response:
    """Show the map, or on an empty server how to begin."""
    model = await state.services.catalogue.default_model()

    def show(shown: _Moot) -> Response:
        if shown.is_empty and not q and not tag:
            return render(request, "start.html", model=model, offline=model.startswith("offline/"))
        return render(request, "moot.html", moot=shown, palette=shown.palette, q=q, tag=tag, calls=moot_calls())

    return await scan(lambda transaction: _read(transaction, q.strip(), tag), show)


async def _read(transaction: Transaction, q: str, tag: str) -> _Moot:
    members, reached = await _members(transaction)
    attachments = [*await all_attachments(transaction), *reached]
    agents = await list_agents(transaction, AgentFilter(), EVERY)
    blocks = await list_blocks(transaction, BlockFilter(), EVERY)
    is_empty = not agents and not blocks
    if q or tag:
        tags = [tag] if tag else []
        named = await list_agents(transaction, AgentFilter(query_text=q or None, tags=tags), EVERY)
        labelled = await list_blocks(transaction, BlockFilter(label_search=q or None, tags=tags), EVERY)
        called = [member for member in members if q and q.casefold() in member.name.casefold()]
        found = _with_neighbours([*agents, *members], blocks, [*named, *called], labelled, attachments)
        drawn = moot_map.draw(*found, attachments)
    else:
        drawn = moot_map.draw([*agents, *members], blocks, attachments)
    running = await list_runs(transaction, RunFilter(statuses=UNFINISHED), EVERY)
    waiting = await list_agents(transaction, AgentFilter(last_stop_reason="requires_approval"), EVERY)
    return _Moot(
        map=drawn,
        palette=await read_palette(transaction),
        newest=dict(await newest_versions(transaction, [block.id for block in drawn.blocks])),
        runs={run.agent_id: run for run in reversed(running)},
        waiting={agent.id for agent in waiting},
        members={member.id for member in members} & {each.id for each in (*drawn.agents, *drawn.more_agents)},
        tags=await list_tags(transaction, Page(limit=200), None),
        is_empty=is_empty,
    )


async def _members(transaction: Transaction) -> tuple[list[Key], list[Attachment]]:
    """Return the members whose keys open something now, and what each reaches, as if it were attached."""
    now = clock.now()
    members = [key for key in await list_keys(transaction) if key.grants is not None and key.is_valid(now)]
    labels = await labels_for(transaction, members)
    reached = [
        Attachment(key.id, block_id, labels[block_id], access)
        for key in members
        if key.grants is not None
        for block_id, access in key.grants.blocks.items()
        if block_id in labels
    ]
    return members, reached


def _with_neighbours(
    agents: Sequence[moot_map.Holder],
    blocks: Sequence[Block],
    named: Sequence[moot_map.Holder],
    labelled: Sequence[Block],
    attachments: Sequence[Attachment],
) -> tuple[list[moot_map.Holder], list[Block]]:
    """Return the agents, members and blocks that were found, and what these are attached to."""
    agent_ids, block_ids = {agent.id for agent in named}, {block.id for block in labelled}
    beside_agents = {each.block_id for each in attachments if each.agent_id in agent_ids}
    beside_blocks = {each.agent_id for each in attachments if each.block_id in block_ids}
    return (
        [agent for agent in agents if agent.id in agent_ids | beside_blocks],
        [block for block in blocks if block.id in block_ids | beside_agents],
    )
