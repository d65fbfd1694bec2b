"""Activity: everything that happens, newest first, by day; live, filtered, each entry leading to its place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import Any

from fastapi import Request, Response

from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.agents.overview import agent_names
from folkmoot.memory.departures import Departure
from folkmoot.server.scanning import Scan
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page
from folkmoot.web import code
from folkmoot.web.activity import KINDS, Entry, read_activity
from folkmoot.web.colours import read_palette
from folkmoot.web.responses import page_router, render
from folkmoot.web.tables import Format, Row, as_file
from folkmoot.web.words import ACCESS, asked_words, author_name, edit_words, iso

router = page_router()

LISTED = 60
IN_FILE = 2000
"""Entries, about, of a file, the newest of all."""

COLUMNS = ("at", "kind", "who", "what", "status", "address")
AGENTS_OFFERED = 500


@router.get("/activity")
async def show(
    request: Request, scan: Scan, kind: str = "", agent: str = "", before: int = 0, wanted: Format = None
) -> Response:
    """Show what happened up to `before`, in microseconds; now, live, without it; as a file where one is asked for."""
    kinds = [each for each in KINDS if each == kind] or list(KINDS)

    async def rows(transaction: Transaction) -> list[Row]:
        entries = await read_activity(transaction, kinds, agent or None, before or clock.now(), IN_FILE)
        names = await agent_names(transaction, _agents_in(entries))
        return [_row(entry, names) for entry in entries]

    if wanted:
        return await scan(rows, partial(as_file, "activity", wanted, COLUMNS))

    async def read(transaction: Transaction) -> dict[str, Any]:
        entries = await read_activity(transaction, kinds, agent or None, before or clock.now(), LISTED)
        return {
            "entries": entries,
            "names": await agent_names(transaction, [*_agents_in(entries), *([agent] if agent else ())]),
            "offered": await list_agents(transaction, AgentFilter(), Page(limit=AGENTS_OFFERED, order="desc")),
            "palette": await read_palette(transaction),
        }

    def shown(found: dict[str, Any]) -> Response:
        entries: list[Entry] = found.pop("entries")
        days = [(day, list(some)) for day, some in groupby(entries, key=lambda entry: _day(entry.at))]
        older = entries[-1].at - 1 if len(entries) >= LISTED else None
        values: dict[str, Any] = {
            "kind": kind if kind in KINDS else "",
            "agent": agent,
            "before": before,
            "older": older,
            "in_file": IN_FILE,
        }
        return render(request, "activity.html", days=days, calls=code.activity_calls(), **values, **found)

    return await scan(read, shown)


def _row(entry: Entry, names: Mapping[str, str]) -> Row:
    """Return an entry as a row of a file."""
    row: dict[str, str | None] = {"at": iso(entry.at), "kind": entry.kind, "status": None}
    if entry.edit is not None:
        version = entry.edit.version
        what = f"{entry.edit.label} v{version.number}: {edit_words(version)}"
        address = f"/blocks/{entry.edit.block_id}?version={version.number}"
        return row | {"who": author_name(version.author), "what": what, "address": address}
    if entry.attachment is not None:
        held = entry.attachment
        what = f"was given the {held.kind} {held.name}, {ACCESS[held.access]}"
        return row | {"who": names.get(held.agent_id), "what": what, "address": f"/{held.kind}s/{held.id}"}
    if entry.run is not None:
        run = entry.run.run
        of_run = {"who": names.get(run.agent_id), "what": asked_words(entry.run), "address": f"/runs/{run.id}"}
        return row | of_run | {"status": run.status}
    if entry.departure is not None:
        gone = entry.departure
        return row | {"who": author_name(gone.author), "what": _departed(gone, names), "address": None}
    assert entry.member is not None
    return row | {"who": entry.member.name, "what": "left" if entry.ended else "joined", "address": "/members"}


def _departed(gone: Departure, names: Mapping[str, str]) -> str:
    """Return in words what became of a thing that was deleted, or taken from an agent."""
    of_agent = names.get(gone.agent_id, gone.agent_id) if gone.agent_id is not None else None
    if gone.is_detachment:
        return f"took the {gone.thing} {gone.name} from {of_agent}"
    if gone.thing == "conversation":
        return f"deleted a conversation{f' “{gone.name}”' if gone.name else ''} of {of_agent}"
    return f"deleted the {gone.thing} {gone.name}"


def _agents_in(entries: list[Entry]) -> list[str]:
    """Return the agents that entries name."""
    of_runs = [each.run.run.agent_id for each in entries if each.run is not None]
    asking = [each.run.asking_agent for each in entries if each.run is not None and each.run.asking_agent]
    given = [each.attachment.agent_id for each in entries if each.attachment is not None]
    taken = [each.departure.agent_id for each in entries if each.departure is not None and each.departure.agent_id]
    return [*of_runs, *asking, *given, *taken]


def _day(microseconds: int) -> str:
    """Return the day of a moment, in UTC.

    >>> _day(0)
    'Thursday, 1 January 1970'
    """
    moment = datetime.fromtimestamp(microseconds / 1e6, UTC)
    return f"{moment:%A}, {moment.day} {moment:%B %Y}"
