"""Lists of blocks against a plain Python model of them, on both stores: every filter, every page."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from folkmoot.agents.creation import AgentPlan, create_agent
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import Block, create_block, delete_block, update_block
from folkmoot.memory.listing import BlockFilter, agents_of_block, attached_blocks, count_blocks, list_blocks
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.paging import Page
from folkmoot.tools.registry import BuiltinTools, ToolRegistry
from support.stores import open_default

AUTHOR = Author("api", name="test")
LABELS = ["human", "persona", "Organization", "organization", "per_sona", "100%"]
TEXTS = ["", "Learned a thing", "learned nothing", "100% sure", "100 sure", "a_b", "axb", "back\\slash", "it's"]
TAGS = ["red", "green", "blue"]
SERVICES: Any = SimpleNamespace(tools=ToolRegistry([BuiltinTools()]))
"""All that making an agent without variables needs."""


@dataclass(frozen=True)
class World:
    """Some blocks, oldest first, and the identifiers of the agents that have each."""

    store: Store
    blocks: list[Block]
    agents: list[str]
    holders: dict[str, list[str]]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Forty blocks made by chance, always the same."""
    chance = random.Random(20)
    store = await open_default(database_url)

    async def make(transaction: Transaction) -> World:
        blocks = [await create_block(transaction, _fields(chance), AUTHOR) for _ in range(40)]
        holders: dict[str, list[str]] = {block.id: [] for block in blocks}
        agents = []
        for number in range(5):
            held = {block.label: block for block in chance.sample(blocks, 20)}.values()
            plan = AgentPlan(name=f"agent {number}", base_tools=False, block_ids=[block.id for block in held])
            agent = await create_agent(transaction, plan, "offline/notetaker", SERVICES, AUTHOR)
            agents.append(agent.id)
            for block in held:
                holders[block.id].append(agent.id)
        return World(store, blocks, agents, holders)

    yield await store.write(make)
    await store.close()


def _fields(chance: random.Random) -> dict[str, Any]:
    return {
        "label": chance.choice(LABELS),
        "value": chance.choice(TEXTS),
        "description": chance.choice([None, *TEXTS]),
        "tags": chance.sample(TAGS, chance.randrange(4)),
        "is_template": chance.random() < 0.2,
        "template_name": chance.choice([None, "house"]),
        "project_id": chance.choice([None, "project-1", "project-2"]),
    }


def _is_wanted(block: Block, wanted: BlockFilter, agents: int) -> bool:
    """Say in Python what the filter means."""
    tags = set(wanted.tags)
    searched = (
        (wanted.label_search, block.label),
        (wanted.description_search, block.description),
        (wanted.value_search, block.value),
    )
    return (
        wanted.label in (None, block.label)
        and wanted.template_name in (None, block.template_name)
        and wanted.project_id in (None, block.project_id)
        and (block.is_template or not wanted.templates_only)
        and (not tags or (tags <= set(block.tags) if wanted.match_all_tags else bool(tags & set(block.tags))))
        and all(not part or part.lower() in (text or "").lower() for part, text in searched)
        and (wanted.agents_more_than is None or agents > wanted.agents_more_than)
        and (wanted.agents_fewer_than is None or agents < wanted.agents_fewer_than)
        and (not wanted.agents_exactly or agents in wanted.agents_exactly)
        and not wanted.identifier_keys
    )


def _filter(chance: random.Random) -> BlockFilter:
    """Return a filter of one to three conditions."""
    parts = ["learned", "LEARNED", "100%", "_", "\\", "'", "a"]
    every: dict[str, Any] = {
        "label": chance.choice([*LABELS, "nope"]),
        "template_name": chance.choice(["house", "nope"]),
        "project_id": "project-1",
        "templates_only": True,
        "tags": chance.choices(TAGS, k=chance.randrange(1, 4)),
        "label_search": chance.choice(["PER", "_", "organ", "%"]),
        "description_search": chance.choice(parts),
        "value_search": chance.choice(parts),
        "agents_more_than": chance.randrange(-1, 5),
        "agents_fewer_than": chance.randrange(0, 6),
        "agents_exactly": chance.choices(range(5), k=2),
        "identifier_keys": ["of nobody"] if chance.random() < 0.2 else [],
    }
    chosen = chance.sample(sorted(every), chance.randrange(1, 4))
    return BlockFilter(match_all_tags=chance.random() < 0.5, **{name: every[name] for name in chosen})


async def test_a_filter_finds_and_counts_what_it_says(world: World) -> None:
    chance = random.Random(21)
    for _ in range(200):
        wanted = _filter(chance)
        meant = [block.id for block in world.blocks if _is_wanted(block, wanted, len(world.holders[block.id]))]
        found = await world.store.read(lambda transaction, wanted=wanted: list_blocks(transaction, wanted, Page(50)))
        counted = await world.store.read(lambda transaction, wanted=wanted: count_blocks(transaction, wanted))
        assert ([block.id for block in found], counted) == (meant, len(meant)), wanted


List = Callable[[Transaction, Page], Awaitable[list[str]]]


def _lists_of(world: World) -> dict[str, tuple[List, list[str]]]:
    """Return each list by name, with all that it should hold, oldest first."""
    red = BlockFilter(tags=["red"])
    shared = max(world.holders, key=lambda block_id: len(world.holders[block_id]))
    agent = world.agents[0]

    async def all_blocks(transaction: Transaction, page: Page) -> list[str]:
        return [block.id for block in await list_blocks(transaction, BlockFilter(), page)]

    async def red_blocks(transaction: Transaction, page: Page) -> list[str]:
        return [block.id for block in await list_blocks(transaction, red, page)]

    async def blocks_of_agent(transaction: Transaction, page: Page) -> list[str]:
        return [block.id for block, _ in await attached_blocks(transaction, agent, page)]

    async def agents_of(transaction: Transaction, page: Page) -> list[str]:
        return await agents_of_block(transaction, shared, page)

    return {
        "all blocks": (all_blocks, [block.id for block in world.blocks]),
        "red blocks": (red_blocks, [block.id for block in world.blocks if "red" in block.tags]),
        "blocks of an agent": (blocks_of_agent, [one.id for one in world.blocks if agent in world.holders[one.id]]),
        "agents of a block": (agents_of, world.holders[shared]),
    }


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
@pytest.mark.every_case_on_both
async def test_pages_forwards_and_backwards_give_each_item_once(world: World, limit: int, order: Any) -> None:
    for name, (read, oldest_first) in _lists_of(world).items():
        wanted = oldest_first if order == "asc" else oldest_first[::-1]
        assert len(wanted) > 1
        forwards: list[str] = []
        while page := await _page(world, read, Page(limit, after=forwards[-1] if forwards else None, order=order)):
            assert len(page) <= limit
            forwards += page
            assert len(forwards) <= len(wanted), name
        backwards = [wanted[-1]]
        while page := await _page(world, read, Page(limit, before=backwards[0], order=order)):
            backwards = [*page, *backwards]
            assert len(backwards) <= len(wanted), name
        assert (forwards, backwards) == (wanted, wanted), name


async def test_both_cursors_bound_a_page(world: World) -> None:
    for name, (read, items) in _lists_of(world).items():
        assert await _page(world, read, Page(after=items[0], before=items[-1])) == items[1:-1], name
        assert await _page(world, read, Page(1, after=items[0], before=items[-1])) == items[1:-1][:1], name


async def test_edits_do_not_move_a_block(world: World) -> None:
    read, before = _lists_of(world)["all blocks"]
    for block in world.blocks[::3]:
        await world.store.write(
            lambda transaction, block=block: update_block(transaction, block.id, {"value": "new"}, AUTHOR)
        )
    assert await _page(world, read, Page(1000)) == before


async def test_a_deleted_block_is_in_no_list(world: World) -> None:
    gone = {block.id for block in world.blocks[::2]}
    before = {name: items for name, (_, items) in _lists_of(world).items() if name != "agents of a block"}
    lists = _lists_of(world)
    for block_id in gone:
        await world.store.write(lambda transaction, block_id=block_id: delete_block(transaction, block_id))
    for name, items in before.items():
        left = [item for item in items if item not in gone]
        assert await _page(world, lists[name][0], Page(1000)) == left, name
    assert await world.store.read(lambda transaction: count_blocks(transaction, BlockFilter())) == 20


async def _page(world: World, read: List, page: Page) -> list[str]:
    return await world.store.read(lambda transaction: read(transaction, page))
