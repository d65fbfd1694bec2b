"""Tool calls as every provider takes them back: odd names mended, ids valid and unique in their reply.

A model may call a tool `no such tool!`, or give two calls one id. The call is shown and answered all the same, and the
history that holds it must not be refused ever after.
"""

from __future__ import annotations

import re
from uuid import uuid4

LONGEST_NAME = 64
"""Characters of a tool's name that providers take."""

_ODD_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")


class CallIds:
    """The ids of one reply's calls, each given once, by the call's place among the reply's parts."""

    def __init__(self) -> None:
        self._by_place: dict[int, str] = {}

    def at(self, place: int, given: str) -> str:
        """Return the id of the call at a place, the first time made from the one that its provider gave."""
        if place not in self._by_place:
            usable = given and not _NOT_STORABLE.search(given) and given not in self._by_place.values()
            self._by_place[place] = given if usable else f"call_{uuid4().hex}"
        return self._by_place[place]

    def known(self, place: int) -> str | None:
        """Return the id of the call at a place, if it has one."""
        return self._by_place.get(place)

    def nth(self, number: int, given: str) -> str:
        """Return the id of the reply's first, second, … call, counted from 0; a call that is new comes last."""
        places = sorted(self._by_place)
        return self.at(places[number] if number < len(places) else places[-1] + 1 if places else 0, given)


def mended_name(name: str) -> str:
    """Return a tool's name as providers take it.

    >>> mended_name("no such tool!"), mended_name("")
    ('no_such_tool_', 'unnamed')
    """
    return _ODD_IN_NAME.sub("_", name)[:LONGEST_NAME] or "unnamed"
