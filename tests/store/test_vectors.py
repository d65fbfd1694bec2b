"""Bits that stand for vectors: the closest are found without sorting all, whatever they are like."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from folkmoot.store import vectors
from folkmoot.store.vectors import closest_by_signs, nearest_by_signs

SIGNS = 16
bits = st.integers(0, 2**SIGNS - 1)


def difference(one: int, other: int) -> int:
    return (one ^ other).bit_count()


@given(wanted=bits, known=st.lists(bits, max_size=200), most=st.integers(1, 40))
def test_the_closest_bits_are_among_those_found(wanted: int, known: list[int], most: int) -> None:
    found = closest_by_signs(wanted, known, most)
    assert found == sorted(set(found))
    assert len(found) >= min(most, len(known))
    left_out = set(range(len(known))) - set(found)
    worst = max((difference(wanted, known[place]) for place in found), default=0)
    assert all(difference(wanted, known[place]) > worst for place in left_out) or not left_out


def test_the_closest_bits_are_found_where_those_sampled_are_unlike_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "SAMPLED", 100)
    step = 1 + 1000 // 100
    near, far = 0b1, 2**SIGNS - 1
    sampled_are_near = [near if place % step == 0 else far for place in range(1000)]
    assert len(closest_by_signs(0, sampled_are_near, 200)) == 1000
    sampled_are_far = [far if place % step == 0 else near for place in range(1000)]
    assert [sampled_are_far[place] for place in closest_by_signs(0, sampled_are_far, 200)].count(near) > 900


@given(wanted=bits, known=st.lists(bits, max_size=50), most=st.integers(1, 10))
def test_the_nearest_of_some_places_come_in_the_order_of_their_difference(
    wanted: int, known: list[int], most: int
) -> None:
    places = random.Random(1).sample(range(len(known)), len(known) // 2)
    as_bytes = [each.to_bytes(SIGNS // 8, "big") for each in known]
    found = nearest_by_signs(wanted.to_bytes(SIGNS // 8, "big"), as_bytes, places, most)
    assert found == sorted(places, key=lambda place: (difference(wanted, known[place]), place))[:most]
