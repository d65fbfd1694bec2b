"""The first page: agents, blocks, who shares what, and what happens just now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from folkmoot.access.keys import Key, list_keys
from folkmoot.agents.listing import AgentFilter, list_agents, list_tags, tags_of_agents
from folkmoot.agents.overview import Newest, all_attachments, newest_versions
from folkmoot.errors import NotFound
from folkmoot.memory.attachments import Attachment
from folkmoot.memory.listing import BlockEntry, BlockFilter, list_entries
from folkmoot.runs.inbox import waiting_runs
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

    choice: moot_map.Choice
    folded_tags: Mapping[str, Sequence[str]]
    """Of the agents that have no row of their own."""
    palette: Palette
    newest: dict[str, Newest]
    runs: dict[str, Run]
    waiting: set[str]
    tags: Sequence[str]
    members: set[str]
    agent_count: int
    block_count: int
    center: str
    """The name of what the map is drawn around, if it is."""
    is_empty: bool


@router.get("/")
async def moot(request: Request, state: State, scan: Scan, q: str = "", tag: str = "", around: str = "") -> Response:
    """Show the map, or what of it is called so, has a tag or is around something; on an empty server how to begin."""
    model = await state.services.catalogue.default_model()

    def show(shown: _Moot) -> Response:
        if shown.is_empty and not (q or tag or around):
            return render(request, "start.html", model=model, offline=model.startswith("offline/"))
        drawn = moot_map.draw(shown.choice, shown.folded_tags)
        asked: dict[str, Any] = {"q": q, "tag": tag, "around": around}
        return render(request, "moot.html", moot=shown, map=drawn, palette=shown.palette, calls=moot_calls(), **asked)

    return await scan(lambda transaction: _read(transaction, q.strip(), tag, around), show)


async def _read(transaction: Transaction, q: str, tag: str, around: str) -> _Moot:
    members, reached = await _members(transaction)
    attachments = [*await all_attachments(transaction), *reached]
    agents = await list_agents(transaction, AgentFilter(), EVERY)
    blocks = await list_entries(transaction, BlockFilter(), EVERY)
    is_empty = not agents and not blocks
    wanted: tuple[Sequence[moot_map.Holder], Sequence[BlockEntry]] = ([*agents, *members], blocks)
    center = ""
    if around:
        names = {**{each.id: each.name for each in wanted[0]}, **{block.id: block.label for block in blocks}}
        if around not in names:
            raise NotFound(f"There is no agent, block or member {around} on the map.")
        center = names[around]
        wanted = moot_map.around(around, *wanted, attachments)
    elif q or tag:
        tags = [tag] if tag else []
        named = await list_agents(transaction, AgentFilter(query_text=q or None, tags=tags), EVERY)
        labelled = await list_entries(transaction, BlockFilter(label_search=q or None, tags=tags), EVERY)
        called = [member for member in members if q and q.casefold() in member.name.casefold()]
        wanted = _with_neighbours(*wanted, [*named, *called], labelled, attachments)
    choice = moot_map.choose(*wanted, attachments)
    here = {member.id for member in members} & {each.id for each in wanted[0]}
    running = await list_runs(transaction, RunFilter(statuses=UNFINISHED), EVERY)
    return _Moot(
        choice=choice,
        folded_tags=await tags_of_agents(transaction, [agent.id for agent in choice.more_agents]),
        palette=await read_palette(transaction),
        newest=dict(await newest_versions(transaction, [block.id for block in choice.blocks])),
        runs={run.agent_id: run for run in reversed(running)},
        waiting={run.agent_id for run in await waiting_runs(transaction)},
        members=here,
        agent_count=len(wanted[0]) - len(here),
        block_count=len(wanted[1]),
        tags=await list_tags(transaction, Page(limit=200), None),
        center=center,
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
    blocks: Sequence[BlockEntry],
    named: Sequence[moot_map.Holder],
    labelled: Sequence[BlockEntry],
    attachments: Sequence[Attachment],
) -> tuple[list[moot_map.Holder], list[BlockEntry]]:
    """Return the agents, members and blocks that were found, and what these are attached to."""
    agent_ids, block_ids = {agent.id for agent in named}, {block.id for block in labelled}
    beside_agents = {each.block_id for each in attachments if each.agent_id in agent_ids}
    beside_blocks = {each.agent_id for each in attachments if each.block_id in block_ids}
    return (
        [agent for agent in agents if agent.id in agent_ids | beside_blocks],
        [block for block in blocks if block.id in block_ids | beside_agents],
    )
