"""Wake-ups: who waits for a topic is woken when a commit concerned it.

A wake-up says only that there may be something new; what is new is read from the store. So one may be early, doubled
or, between processes, late, but a waiter that looks first and then waits never misses a commit of its own process.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from folkmoot.store import clock

EVERYTHING = "*"
"""What a listener to all topics hears when wake-ups may have been missed."""

REMEMBERED = 60_000_000
"""Microseconds for which is known what was heard."""

MOST_REMEMBERED = 5_000
"""Topics; with more, the oldest are forgotten before their time."""


class Heard:
    """What a listener to all topics has heard since it last looked."""

    def __init__(self) -> None:
        """Start with nothing heard."""
        self.woken = asyncio.Event()
        self._topics: set[str] = set()

    def add(self, topics: Iterable[str]) -> None:
        """Remember topics until they are taken, and wake the listener."""
        self._topics.update(topics)
        self.woken.set()

    def take(self) -> set[str]:
        """Return the topics that were heard and forget them."""
        self.woken.clear()
        topics, self._topics = self._topics, set()
        return topics


class Signals:
    """The topics of one process and the events of those who wait for them."""

    def __init__(self) -> None:
        """Start with nobody waiting."""
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._hearing: set[Heard] = set()
        self._lately: dict[str, int] = {}
        """When each topic was last heard, the newest last."""
        self._remembers_from = clock.now()

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

    @contextmanager
    def hearing_all(self) -> Iterator[Heard]:
        """Give what hears every topic, for a listener that cannot name those it wants."""
        heard = Heard()
        self._hearing.add(heard)
        try:
            yield heard
        finally:
            self._hearing.discard(heard)

    def since(self, at: int) -> set[str]:
        """Return the topics that were heard from a moment on, in microseconds; everything if that is not known."""
        topics = {topic for topic, heard_at in self._lately.items() if heard_at >= at}
        return topics if at >= self._remembers_from else topics | {EVERYTHING}

    def wake(self, topics: Iterable[str]) -> None:
        """Set the events of everybody who waits for one of `topics`."""
        topics = list(topics)
        self._remember(topics)
        for heard in self._hearing:
            heard.add(topics)
        for topic in topics:
            for event in self._waiting.get(topic, ()):
                event.set()

    def wake_all(self) -> None:
        """Set every event: after a lost connection nobody knows what was missed."""
        self._remember([EVERYTHING])
        for heard in self._hearing:
            heard.add([EVERYTHING])
        for events in self._waiting.values():
            for event in events:
                event.set()

    def _remember(self, topics: Iterable[str]) -> None:
        now = clock.now()
        for topic in topics:
            self._lately.pop(topic, None)
            self._lately[topic] = now
        while self._lately:
            oldest, heard_at = next(iter(self._lately.items()))
            if heard_at >= now - REMEMBERED and len(self._lately) <= MOST_REMEMBERED:
                break
            del self._lately[oldest]
            self._remembers_from = heard_at + 1


async def wait_or_look_again(event: asyncio.Event, seconds: float) -> bool:
    """Wait for a signal for so long at most, as it may be lost on its way from another process; tell if it came."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
