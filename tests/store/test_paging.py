"""Pages by cursor: every item once, in either order and direction, at any size."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from sqlalchemy import select

from folkmoot.errors import InvalidInput
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page, fetch_page
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
            "extra": "{}",
            "version": 1,
            "created_at": time,
            "updated_at": 0,
            "updated_by": "{}",
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
async def test_the_first_page_is_in_the_order_asked_for(filled: Store, order: Order) -> None:
    assert await page(filled, order=order) == ordered(order)
    assert await page(filled, order=order, limit=3) == ordered(order)[:3]


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 9])
async def test_after_leads_through_all_items_once(filled: Store, order: Order, limit: int) -> None:
    found: list[str] = []
    while part := await page(filled, order=order, limit=limit, after=found[-1] if found else None):
        assert len(part) <= limit
        found += part
    assert found == ordered(order)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 8])
async def test_before_gives_the_items_just_in_front(filled: Store, order: Order, limit: int) -> None:
    every = ordered(order)
    for place, name in enumerate(every):
        assert await page(filled, order=order, limit=limit, before=name) == every[max(0, place - limit) : place]


@pytest.mark.parametrize("order", ["asc", "desc"])
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


@pytest.mark.parametrize("field", ["after", "before"])
async def test_a_cursor_that_names_nothing_is_told(filled: Store, field: str) -> None:
    with pytest.raises(InvalidInput, match=f"{field}: 'nobody'"):
        await page(filled, **{field: "nobody"})


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
