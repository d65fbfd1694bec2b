"""Activity: everything that happens, newest first, by day; live, filtered, each entry leading to its place."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from fastapi import Request, Response

from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.agents.overview import agent_names
from folkmoot.server.scanning import Scan
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page
from folkmoot.web import code
from folkmoot.web.activity import KINDS, Entry, read_activity
from folkmoot.web.colours import read_palette
from folkmoot.web.responses import page_router, render

router = page_router()

LISTED = 60
AGENTS_OFFERED = 500


@router.get("/activity")
async def show(request: Request, scan: Scan, kind: str = "", agent: str = "", before: int = 0) -> Response:
    """Show what happened up to `before`, in microseconds; now, live, without it."""
    kinds = [each for each in KINDS if each == kind] or list(KINDS)

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
        }
        return render(request, "activity.html", days=days, calls=code.activity_calls(), **values, **found)

    return await scan(read, shown)


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
