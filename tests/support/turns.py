"""Tables of cases and the two stores: which case runs on which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import pytest

Case: TypeAlias = frozenset[tuple[str, int]]
"""What a test is called with beside the store: each parameter, and which object it is; many cannot be hashed."""

STORES = ("sqlite", "postgres")


def out_of_turn(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield what is left out when the cases of each table take turns on the stores.

    Of a test that has but one case, or is marked `every_case_on_both`, nothing is left out, and nothing where a mark
    of the test says which stores it runs on.
    """
    tables: defaultdict[str, dict[Case, list[pytest.Function]]] = defaultdict(dict)
    for item in items:
        if isinstance(item, pytest.Function) and _takes_turns(item):
            case = frozenset((name, id(value)) for name, value in item.callspec.params.items() if name != "store")
            tables[item.nodeid.partition("[")[0]].setdefault(case, []).append(item)
    for cases in tables.values():
        if len(cases) == 1:
            continue
        for number, runs in enumerate(cases.values()):
            turn = STORES[number % len(STORES)]
            yield from (item for item in runs if item.callspec.params["store"] != turn)


def _takes_turns(item: pytest.Function) -> bool:
    if not hasattr(item, "callspec") or "store" not in item.callspec.params:
        return False
    chosen = any("store" in _arguments(mark) for mark in item.iter_markers("parametrize"))
    return not chosen and item.get_closest_marker("every_case_on_both") is None


def _arguments(mark: pytest.Mark) -> list[str]:
    """Return the names of what a `parametrize` gives values to."""
    names = mark.args[0]
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
