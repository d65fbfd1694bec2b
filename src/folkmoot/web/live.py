"""What every page hears: edits and runs as they happen, in one stream for all blocks and agents.

A wake-up only says when to look, as in `memory/watch.py`; what is told is read from the store, so that a page sees
what any process did. It is news for eyes: several edits of a block between two looks are told as the newest one.
Whoever needs every version asks `GET /v1/blocks/{id}/watch`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fastapi import Response

from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.errors import StoreError
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.runs import UNFINISHED
from folkmoot.server.event_stream import EventStream, ServerSentEvent
from folkmoot.server.state import ServerState, State
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page
from folkmoot.store.signals import EVERYTHING
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.reading import Newest, agent_names, moot_shape, newest_versions
from folkmoot.web.responses import page_router
from folkmoot.web.words import author_name, edit_words, iso

GATHER_SECONDS = 0.1
"""How long edits are gathered before they are told."""

LOOK_AGAIN_SECONDS = 1.0
"""How often runs, agents and blocks are looked at, since not all that happens to them gives a signal."""

MOST_RUNS = 200

router = page_router()


@router.get("/events", response_class=EventStream)
async def events(state: State) -> Response:
    """Stream edits, runs under way, and whether agents and blocks came or went."""
    return EventStream(_happenings(state), endless=True)


async def _happenings(state: ServerState) -> AsyncIterator[ServerSentEvent]:
    with state.store.signals.hearing_all() as heard:
        look = _Look(state)
        for event in await look.around():
            yield event
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_SECONDS):
                    await heard.woken.wait()
            await asyncio.sleep(GATHER_SECONDS)
            try:
                news = await look.at(heard.take())
            except StoreError:
                news = [_event("missed", {})]
            for event in news:
                yield event


@dataclass(slots=True)
class _Look:
    """What one page has been told so far."""

    state: ServerState
    shape: str = ""
    runs: str = ""
    versions: dict[str, int] = field(default_factory=dict)
    looked_around: float = float("-inf")
    palette: Palette = field(default_factory=lambda: Palette.of(()))

    async def at(self, topics: set[str]) -> list[ServerSentEvent]:
        """Return what is new, given the topics of the commits since the last look."""
        told: list[ServerSentEvent] = []
        if EVERYTHING in topics:
            told.append(_event("missed", {}))
        edited = [topic.partition(":")[2] for topic in topics if topic.startswith("block:")]
        if edited:
            told += await self._edits(edited)
        if any(topic.startswith("attachments:") for topic in topics):
            told.append(_event("shape", {}))
        due = time.monotonic() - self.looked_around >= LOOK_AGAIN_SECONDS
        if due or any(topic.startswith(("run:", "turn:")) for topic in topics):
            told += await self.around()
        return told

    async def around(self) -> list[ServerSentEvent]:
        """Return what has changed of the runs, and of which agents and blocks there are."""
        self.looked_around = time.monotonic()
        told: list[ServerSentEvent] = []

        async def read(transaction: Transaction) -> tuple[str, Palette, list[dict[str, Any]]]:
            found = await list_runs(transaction, RunFilter(statuses=UNFINISHED), Page(limit=MOST_RUNS, order="desc"))
            names = await agent_names(transaction, [run.agent_id for run in found])
            runs = [
                {"id": run.id, "agent_id": run.agent_id, "agent": names.get(run.agent_id, ""), "status": run.status}
                for run in found
            ]
            return await moot_shape(transaction), await read_palette(transaction), runs

        shape, self.palette, runs = await self.state.store.read(read)
        encoded = json.dumps(runs)
        if encoded != self.runs:
            self.runs = encoded
            waiting = AgentFilter(last_stop_reason="requires_approval")
            page = Page(limit=MOST_RUNS, order="desc")
            found = await self.state.store.read(lambda transaction: list_agents(transaction, waiting, page))
            told.append(_event("runs", {"runs": runs, "waiting": [agent.id for agent in found]}))
        if shape != self.shape:
            if self.shape:
                told.append(_event("shape", {}))
            self.shape = shape
        return told

    async def _edits(self, block_ids: list[str]) -> list[ServerSentEvent]:
        found = await self.state.store.read(lambda transaction: newest_versions(transaction, block_ids))
        if len(found) < len(block_ids):
            self.shape = ""
        news = [each for each in found.values() if self.versions.get(each.block_id) != each.version.number]
        self.versions |= {each.block_id: each.version.number for each in news}
        gone = [_event("shape", {})] if len(found) < len(block_ids) else []
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


def _event(kind: str, data: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data).encode(), kind)
