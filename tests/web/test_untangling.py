"""The order of the map's columns: nothing is lost, and lines never cross more often than before."""

from __future__ import annotations

from itertools import combinations

from hypothesis import example, given
from hypothesis import strategies as st

from folkmoot.web.untangling import crossings, untangle

LINES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), unique=True, max_size=40)


@given(LINES)
@example([(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 5), (4, 1), (4, 6)])  # sweeps alone make it worse
def test_nothing_is_lost_and_no_more_lines_cross(pairs: list[tuple[int, int]]) -> None:
    left, right = [f"a{n}" for n in range(10)], [f"b{n}" for n in range(10)]
    lines = [(f"a{one}", f"b{other}") for one, other in pairs]
    ordered = untangle(left, right, lines)
    assert (sorted(ordered[0]), sorted(ordered[1])) == (left, right)
    assert crossings(*ordered, lines) <= crossings(left, right, lines)
    assert untangle(left, right, lines) == ordered


@given(LINES)
def test_crossings_are_counted(pairs: list[tuple[int, int]]) -> None:
    one_by_one = sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(pairs, 2))
    columns = [f"{n}" for n in range(10)]
    assert crossings(columns, columns, [(str(one), str(other)) for one, other in pairs]) == one_by_one


def test_a_chain_that_is_all_mixed_up_comes_out_without_a_crossing() -> None:
    left, right = [f"a{n}" for n in range(30)], [f"b{n}" for n in range(30)]
    lines = [(f"a{n}", f"b{(n + end) * 7 % 30}") for n in range(29) for end in (0, 1)]
    assert crossings(left, right, lines) > 500
    assert crossings(*untangle(left, right, lines), lines) == 0
