"""Wake-ups: who waits for a topic is woken when a commit concerned it.

A wake-up says only that there may be something new; what is new is read from the store. So one may be early, doubled
or, between processes, late, but a waiter that looks first and then waits never misses a commit of its own process.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Signals:
    """The topics of one process and the events of those who wait for them."""

    def __init__(self) -> None:
        """Start with nobody waiting."""
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @contextmanager
    def listening(self, *topics: str) -> Iterator[asyncio.Event]:
        """Give an event that is set at each wake-up of one of `topics`; the listener clears it before it looks."""
        event = asyncio.Event()
        for topic in topics:
            self._waiting[topic].add(event)
        try:
            yield event
        finally:
            for topic in topics:
                self._waiting[topic].discard(event)
                if not self._waiting[topic]:
                    del self._waiting[topic]

    def wake(self, topics: Iterable[str]) -> None:
        """Set the events of everybody who waits for one of `topics`."""
        for topic in topics:
            for event in self._waiting.get(topic, ()):
                event.set()

    def wake_all(self) -> None:
        """Set every event: after a lost connection nobody knows what was missed."""
        for events in self._waiting.values():
            for event in events:
                event.set()
