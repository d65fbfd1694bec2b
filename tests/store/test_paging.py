"""Pages by cursor: every item once, in either order and direction, at any size."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import delete_block
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.paging import LARGEST_PAGE, PLACES_KEPT, Page, fetch_page, page_of_list
from folkmoot.store.tables import blocks

TIMES = [5, 1, 3, 3, 3, 9, 2, 9]
"""When each block was made: not in the order of their names, and some at once."""

OLDEST_FIRST = ["b", "g", "c", "d", "e", "a", "f", "h"]


@pytest.fixture
async def filled(opened: Store) -> Store:
    rows = [
        {
            "id": name,
            "label": "even" if place % 2 else "odd",
            "value": "",
            "character_limit": 1,
            "read_only": False,
            "is_template": False,
            "extra": '{"metadata": {}, "tags": [], "template": {}}',
            "version": 1,
            "created_at": time,
            "updated_at": 0,
            "updated_by": Author("api").to_json(),
        }
        for place, (name, time) in enumerate(zip("abcdefgh", TIMES, strict=True))
    ]
    await opened.write(lambda transaction: transaction.insert(blocks, rows))
    return opened


async def page(store: Store, statement: Any = None, **fields: Any) -> list[str]:
    wanted = select(blocks) if statement is None else statement

    async def read(transaction: Transaction) -> list[str]:
        return [row["id"] for row in await fetch_page(transaction, wanted, blocks, Page(**fields))]

    return await store.read(read)


Order = Literal["asc", "desc"]


def ordered(order: Order) -> list[str]:
    return OLDEST_FIRST if order == "asc" else OLDEST_FIRST[::-1]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.every_case_on_both
async def test_the_first_page_is_in_the_order_asked_for(filled: Store, order: Order) -> None:
    assert await page(filled, order=order) == ordered(order)
    assert await page(filled, order=order, limit=3) == ordered(order)[:3]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 9])
@pytest.mark.every_case_on_both
async def test_after_leads_through_all_items_once(filled: Store, order: Order, limit: int) -> None:
    found: list[str] = []
    while part := await page(filled, order=order, limit=limit, after=found[-1] if found else None):
        assert len(part) <= limit
        found += part
    assert found == ordered(order)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 8])
@pytest.mark.every_case_on_both
async def test_before_gives_the_items_just_in_front(filled: Store, order: Order, limit: int) -> None:
    every = ordered(order)
    for place, name in enumerate(every):
        assert await page(filled, order=order, limit=limit, before=name) == every[max(0, place - limit) : place]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.every_case_on_both
async def test_after_and_before_bound_a_page_from_both_sides(filled: Store, order: Order) -> None:
    every = ordered(order)
    assert await page(filled, order=order, after=every[1], before=every[6]) == every[2:6]
    assert await page(filled, order=order, after=every[1], before=every[6], limit=2) == every[2:4]
    assert await page(filled, order=order, after=every[6], before=every[1]) == []


async def test_conditions_hold_on_every_page(filled: Store) -> None:
    even = select(blocks).where(blocks.c.label == "even")
    assert await page(filled, even, limit=2) == ["b", "d"]
    assert await page(filled, even, limit=2, after="d") == ["f", "h"]
    assert await page(filled, even, limit=9, after="c") == ["d", "f", "h"]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.every_case_on_both
async def test_a_cursor_of_which_nothing_is_known_begins_anew(filled: Store, order: Order) -> None:
    every = ordered(order)
    assert await page(filled, order=order, limit=3, after="nobody") == every[:3]
    assert await page(filled, order=order, limit=3, before="nobody") == every[-3:]


async def _delete(name: str, transaction: Transaction) -> None:
    await delete_block(transaction, name)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("direction", ["after", "before"])
@pytest.mark.every_case_on_both
async def test_a_walk_goes_on_behind_what_it_deletes(filled: Store, order: Order, direction: str) -> None:
    way = ordered(order) if direction == "after" else ordered(order)[::-1]
    found, part = way[:1], way[:1]
    while part:
        await filled.write(partial(_delete, found[-1]))
        part = await page(filled, order=order, limit=2, **{direction: found[-1]})
        found += part if direction == "after" else part[::-1]
    assert found == way


async def test_a_place_is_forgotten_after_a_day(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled.write(lambda transaction: delete_block(transaction, "d"))
    assert await page(filled, after="d") == ["e", "a", "f", "h"]
    tomorrow = clock.now() + PLACES_KEPT + 1
    monkeypatch.setattr(clock, "now", lambda: tomorrow)
    await filled.write(lambda transaction: delete_block(transaction, "h"))
    assert await page(filled, after="d") == ["b", "g", "c", "e", "a", "f"]
    assert await page(filled, after="h") == []


@given(st.data())
def test_a_walk_that_deletes_as_it_goes_ends_and_reaches_all_that_stays(data: st.DataObject) -> None:
    """Even where no place is kept: a list in memory begins anew at a cursor that is gone."""
    items = [str(number) for number in range(data.draw(st.integers(0, 9)))]
    stays = {item for item in items if data.draw(st.booleans())}
    limit, order = data.draw(st.integers(1, 4)), data.draw(st.sampled_from(["asc", "desc"]))
    direction = data.draw(st.sampled_from(["after", "before"]))
    left, seen, requests = list(items), set[str](), 0
    cursor: str | None = None if direction == "after" else "nobody"
    while part := page_of_list(left, Page(limit, order=order, **{direction: cursor}), str):  # type: ignore[arg-type]
        requests += 1
        assert requests <= 2 * len(items) + len(items) * len(items), "it does not end"
        seen.update(part)
        cursor = part[-1] if direction == "after" else part[0]
        left = [item for item in left if item in stays or item not in part]
    assert seen >= stays
    assert set(left) == stays


async def test_pages_from_the_end_lead_through_all_items(filled: Store) -> None:
    for limit in (1, 2, 3, 7, 8, 9):
        found: list[str] = []
        for _ in OLDEST_FIRST:
            part = await page(
                filled, limit=limit, from_end=True, after=found[min(limit, len(found)) - 1] if found else None
            )
            found = part + found
        assert found == OLDEST_FIRST, limit


async def test_no_page_is_larger_than_the_largest(filled: Store) -> None:
    more = [
        {
            "id": f"more {number}",
            "label": "more",
            "value": "",
            "character_limit": 1,
            "read_only": False,
            "is_template": False,
            "extra": "{}",
            "version": 1,
            "created_at": 10,
            "updated_at": 0,
            "updated_by": "{}",
        }
        for number in range(LARGEST_PAGE)
    ]
    await filled.write(lambda transaction: transaction.insert(blocks, more))
    assert len(await page(filled, limit=LARGEST_PAGE * 10)) == LARGEST_PAGE
