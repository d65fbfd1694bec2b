"""What every page hears: edits and runs as they happen, in one stream for all blocks and agents.

A wake-up only says when to look, as in `memory/watch.py`; what is told is read from the store, so that a page sees
what any process did. It is news for eyes: several edits of a block between two looks are told as the newest one.
Whoever needs every version asks `GET /v1/blocks/{id}/watch`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from fastapi import Query, Response

from folkmoot.agents.overview import Newest, agent_names, has_reshaped, moot_shape, newest_versions
from folkmoot.errors import StoreError
from folkmoot.files.folders import existing_folders
from folkmoot.files.open_files import folders_held
from folkmoot.memory.blocks import labels_topic
from folkmoot.runs.inbox import read_inbox, waiting_runs
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.runs import UNFINISHED, Run
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.state import State
from folkmoot.store import clock
from folkmoot.store.engine import Engine, Store, Transaction
from folkmoot.store.paging import Page
from folkmoot.store.signals import EVERYTHING, REMEMBERED
from folkmoot.tools.registry import ToolRegistry
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.responses import page_router
from folkmoot.web.words import author_name, edit_words, iso

GATHER_SECONDS = 0.1
"""How long edits are gathered before they are told."""

LOOK_AGAIN_SECONDS = 1.0
"""How often runs, agents and blocks are looked at, since not all that happens to them gives a signal."""

LOOK_AROUND_SECONDS = 0.2
"""How soon runs are looked at again, when a run has given a signal."""

GATHER_FOR_EACH = 0.0002
"""Seconds that edits are gathered for longer, for each page that is told."""

MOST_UNTOLD = 200
"""Events that wait for a page which does not take them."""

RELABELLED = "relabelled"
"""Stands for what agents and blocks there are, until the next look, when one has another label."""

TOLD_AT_ONCE = 10
"""Pages that are told before the event loop may turn to something else."""

BLOCKS_AT_ONCE = 200

MOST_RUNS = 200

router = page_router()


@router.get("/events", response_class=EventStream)
async def events(state: State, since: Annotated[int | None, Query(ge=0, le=2**62)] = None) -> Response:
    """Stream edits, runs under way, and whether agents and blocks came or went.

    Args:
        state: the server's parts.
        since: when the page was asked for, in microseconds; what happened from then on is told first.
    """
    return EventStream(_happenings(state.store, state.services.tools, since), endless=True)


async def _happenings(store: Store, tools: ToolRegistry, since: int | None) -> AsyncIterator[ServerSentEvent]:
    with _joined(store, tools) as (news, reader):
        yield await news.first()
        if since is not None and since > clock.now() - REMEMBERED:
            for event in await news.since(since):
                yield event
        while True:
            await reader.woken.wait()
            for event in reader.take():
                yield event


@dataclass(slots=True, eq=False)
class _Reader:
    """What one page has not been told yet."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: deque[ServerSentEvent] = field(default_factory=deque)

    def tell(self, news: Sequence[ServerSentEvent]) -> None:
        """Add what is new; a page that is far behind is only told that it missed something."""
        if len(self.waiting) + len(news) > MOST_UNTOLD:
            self.waiting.clear()
            news = [_event("missed", {}), *(each for each in news if each.event == "runs")]
        self.waiting += news
        self.woken.set()

    def take(self) -> list[ServerSentEvent]:
        """Return what is new and forget it."""
        self.woken.clear()
        taken = list(self.waiting)
        self.waiting.clear()
        return taken


class _News:
    """Looks once for all pages of an organisation, and tells each what is new."""

    def __init__(self, store: Store, tools: ToolRegistry) -> None:
        """Begin to look."""
        self.readers: set[_Reader] = set()
        self._look = _Look(store, tools)
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._following = asyncio.create_task(self._follow(store))

    @property
    def is_over(self) -> bool:
        """Whether it has stopped."""
        return self._following.done()

    def stop(self) -> None:
        """Look no more."""
        self._following.cancel()

    async def first(self) -> ServerSentEvent:
        """Return what a page begins with: the runs under way, as they were last seen."""
        await asyncio.wait((self._begun, self._following), return_when=asyncio.FIRST_COMPLETED)
        if not self._begun.done():
            self._following.result()
        return self._look.runs_event

    async def since(self, at: int) -> list[ServerSentEvent]:
        """Return what happened to blocks, agents and folders from a moment on."""
        return await self._look.since(at)

    async def _follow(self, store: Store) -> None:
        with store.signals.hearing_all() as heard:
            await self._look.around()
            self._begun.set_result(None)
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._look.seconds_left()):
                        await heard.woken.wait()
                # With many pages each telling is work, so that more is gathered for it.
                await asyncio.sleep(GATHER_SECONDS + len(self.readers) * GATHER_FOR_EACH)
                try:
                    news = await self._look.at(heard.take())
                except StoreError:
                    news = [_event("missed", {})]
                if news:
                    await self._tell(news)

    async def _tell(self, news: Sequence[ServerSentEvent]) -> None:
        """Tell all pages, some at a time, so that the server answers others meanwhile."""
        for number, reader in enumerate(list(self.readers), 1):
            reader.tell(news)
            if number % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)


_news: WeakKeyDictionary[Engine, dict[str | None, _News]] = WeakKeyDictionary()


@contextmanager
def _joined(store: Store, tools: ToolRegistry) -> Iterator[tuple[_News, _Reader]]:
    """Share the news; the last page that leaves ends them."""
    each, reader = _news.setdefault(store.engine, {}), _Reader()
    news = each.get(store.organization_id)
    if news is None or news.is_over:
        news = each[store.organization_id] = _News(store, tools)
    news.readers.add(reader)
    try:
        yield news, reader
    finally:
        news.readers.discard(reader)
        if not news.readers:
            news.stop()
            if each.get(store.organization_id) is news:
                del each[store.organization_id]


@dataclass(slots=True)
class _Look:
    """What the pages have been told so far."""

    store: Store
    tools: ToolRegistry
    shape: str = ""
    runs: str = ""
    versions: dict[str, int] = field(default_factory=dict)
    looked_around: float = float("-inf")
    is_stale: bool = False
    runs_event: ServerSentEvent = field(default_factory=lambda: _event("runs", {"runs": [], "waiting": [], "inbox": 0}))
    palette: Palette = field(default_factory=lambda: Palette.of(()))

    def seconds_left(self) -> float:
        """Return how long it is until the next look around."""
        every = LOOK_AROUND_SECONDS if self.is_stale else LOOK_AGAIN_SECONDS
        return max(self.looked_around + every - time.monotonic(), 0.0)

    async def at(self, topics: set[str]) -> list[ServerSentEvent]:
        """Return what is new, given the topics of the commits since the last look."""
        told: list[ServerSentEvent] = []
        if EVERYTHING in topics:
            told.append(_event("missed", {}))
        edited = _named(topics, "block:")
        for at in range(0, len(edited), BLOCKS_AT_ONCE):
            told += await self._edits(edited[at : at + BLOCKS_AT_ONCE])
        told += await self._agents(topics)
        told += await self._folders(topics)
        if labels_topic(self.store.organization_id) in topics:
            self.shape = RELABELLED
        self.is_stale |= any(topic.startswith(("run:", "turn:")) for topic in topics)
        if self.seconds_left() == 0:
            told += await self.around()
        return told

    async def since(self, at: int) -> list[ServerSentEvent]:
        """Return what of all that would have been told from a moment on."""
        topics = self.store.signals.since(at)
        edited = _named(topics, "block:")
        if EVERYTHING in topics or len(edited) > MOST_UNTOLD:
            return [_event("missed", {})]
        found = await self.store.read(lambda transaction: newest_versions(transaction, edited))
        told = [_event("edits", {"edits": [self._edit(each) for each in found.values()]})] if found else []
        reshaped = await self.store.read(lambda transaction: has_reshaped(transaction, at))
        reshaped |= labels_topic(self.store.organization_id) in topics
        told += [_event("shape", {})] if reshaped else await self._agents(topics)
        return [*told, *await self._folders(topics)]

    async def _agents(self, topics: set[str]) -> list[ServerSentEvent]:
        """Return whether agents were given something, lost something or are called something else."""
        attached = _named(topics, "attachments:")
        own = await self.store.read(lambda transaction: agent_names(transaction, attached))
        return [_event("shape", {})] if own else []  # else they are another organisation's

    async def _folders(self, topics: set[str]) -> list[ServerSentEvent]:
        """Return which folders changed: themselves, their files, or what agents have open of them."""
        changed, readers = _named(topics, "folder:"), _named(topics, "agent_files:")
        if not changed and not readers:
            return []

        async def own(transaction: Transaction) -> list[str]:
            found = await existing_folders(transaction, changed)
            return list(dict.fromkeys([*found, *await folders_held(transaction, readers)]))

        ids = await self.store.read(own)
        return [_event("folders", {"ids": ids})] if ids else []

    async def around(self) -> list[ServerSentEvent]:
        """Return what has changed of the runs, and of which agents and blocks there are."""
        self.looked_around, self.is_stale = time.monotonic(), False
        told: list[ServerSentEvent] = []

        async def read(transaction: Transaction) -> tuple[str, Palette, list[dict[str, Any]], list[Run]]:
            found = await list_runs(transaction, RunFilter(statuses=UNFINISHED), Page(limit=MOST_RUNS, order="desc"))
            names = await agent_names(transaction, [run.agent_id for run in found])
            runs = [
                {
                    "id": run.id,
                    "agent_id": run.agent_id,
                    "conversation_id": run.conversation_id,
                    "agent": names.get(run.agent_id, ""),
                    "status": run.status,
                }
                for run in found
            ]
            waiting = await waiting_runs(transaction)
            return await moot_shape(transaction), await read_palette(transaction), runs, waiting

        shape, self.palette, runs, waiting = await self.store.scan(read)
        encoded = json.dumps([runs, [run.id for run in waiting]])
        if encoded != self.runs:
            self.runs = encoded
            inbox = await self.store.scan(lambda transaction: read_inbox(transaction, self.tools)) if waiting else []
            told_of = {"runs": runs, "waiting": sorted({run.agent_id for run in waiting}), "inbox": len(inbox)}
            self.runs_event = _event("runs", told_of)
            told.append(self.runs_event)
        if shape != self.shape:
            if self.shape:
                told.append(_event("shape", {}))
            self.shape = shape
        return told

    async def _edits(self, block_ids: list[str]) -> list[ServerSentEvent]:
        found = await self.store.read(lambda transaction: newest_versions(transaction, block_ids))
        news = [each for each in found.values() if self.versions.get(each.block_id) != each.version.number]
        self.versions |= {each.block_id: each.version.number for each in news}
        # What is not found was deleted, or is another organisation's: a look around tells the two apart.
        gone = await self.around() if len(found) < len(block_ids) else []
        return [*([_event("edits", {"edits": [self._edit(each) for each in news]})] if news else []), *gone]

    def _edit(self, newest: Newest) -> dict[str, Any]:
        version = newest.version
        return {
            "block_id": newest.block_id,
            "label": newest.label,
            "version": version.number,
            "characters": version.length,
            "limit": newest.limit,
            "author": author_name(version.author),
            "author_id": version.author.id,
            "colour": self.palette.author(version.author),
            "words": edit_words(version),
            "at": iso(version.created_at),
        }


def _named(topics: set[str], kind: str) -> list[str]:
    """Return the identifiers in the topics of a kind."""
    return [topic.removeprefix(kind) for topic in topics if topic.startswith(kind)]


def _event(kind: str, data: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data).encode(), kind)
