"""Tables of cases and the two stores: which case runs on which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import pytest

STORES = ("sqlite", "postgres")


def out_of_turn(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """Yield what is left out when the cases of each table take turns on the stores.

    Of a test that has but one case, or is marked `every_case_on_both`, nothing is left out, and nothing where a mark
    of the test says which stores it runs on.
    """
    tables: defaultdict[str, dict[str, list[pytest.Item]]] = defaultdict(lambda: {store: [] for store in STORES})
    for item in items:
        if isinstance(item, pytest.Function) and _takes_turns(item):
            tables[item.nodeid.partition("[")[0]][str(item.callspec.params["store"])].append(item)
    for table in tables.values():
        for turn, runs in enumerate(table.values()):  # the cases are in the same order on each store
            if len(runs) > 1:
                yield from (run for case, run in enumerate(runs) if case % len(STORES) != turn)


def _takes_turns(item: pytest.Function) -> bool:
    if not hasattr(item, "callspec") or "store" not in item.callspec.params:
        return False
    chosen = any("store" in _arguments(mark) for mark in item.iter_markers("parametrize"))
    return not chosen and item.get_closest_marker("every_case_on_both") is None


def _arguments(mark: pytest.Mark) -> list[str]:
    """Return the names of what a `parametrize` gives values to."""
    names = mark.args[0]
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
