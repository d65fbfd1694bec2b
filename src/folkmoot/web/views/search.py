"""Search over everything, behind the one field that every page has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from folkmoot.access.keys import list_keys
from folkmoot.agents.listing import AgentFilter, list_agents
from folkmoot.agents.overview import agent_names
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page
from folkmoot.web import code
from folkmoot.web.colours import read_palette
from folkmoot.web.finding import SHOWN, Hit, Looking, address_of, find_everything
from folkmoot.web.responses import page_router, redirect, render
from folkmoot.web.tables import Format, Row, as_file
from folkmoot.web.words import iso

router = page_router()

COLUMNS = ("kind", "title", "text", "who", "at", "address")

LONGEST_QUERY = 1000
AGENTS_OFFERED = 500

SINCE: Mapping[str, int] = {"day": 1, "week": 7, "month": 30, "year": 365}
"""Days back that a search can be narrowed to."""


@router.get("/search")
async def search(
    request: Request,
    state: State,
    scan: Scan,
    q: str = "",
    agent: str = "",
    since: str = "",
    kind: Format = None,
) -> Response:
    """Show what has the words of a query, as a file where one is asked for; an identifier leads to its page."""
    query = q.strip()[:LONGEST_QUERY].replace("\0", "")
    if (address := address_of(query)) is not None:
        return redirect(address)
    days = SINCE.get(since)
    looking = Looking(query, agent or None, None if days is None else clock.now() - days * 86_400_000_000)
    found: Mapping[str, list[Hit]] = {}
    if query:
        found = await scan.while_here(find_everything(state, looking))

    async def read(transaction: Transaction) -> dict[str, Any]:
        named = [hit.author_id for hits in found.values() for hit in hits if hit.author_id]
        members = [key for key in await list_keys(transaction) if key.grants is not None and not key.grants.errand]
        agents = await list_agents(transaction, AgentFilter(), Page(limit=AGENTS_OFFERED, order="desc"))
        return {
            "names": {**await agent_names(transaction, named), **{key.id: key.name for key in members}},
            "offered": [*agents, *members],
            "palette": await read_palette(transaction),
        }

    def show(around: dict[str, Any]) -> Response:
        if kind:
            return as_file("hits", kind, COLUMNS, _rows(found, around["names"]))
        values: dict[str, Any] = {
            "q": query,
            "agent": agent,
            "since": since if since in SINCE else "",
            "spans": SINCE,
            "most": SHOWN,
        }
        calls = code.search_calls(query or "heron")
        return render(request, "search.html", found=found, calls=calls, **values, **around)

    return await scan(read, show)


def _rows(found: Mapping[str, list[Hit]], names: Mapping[str, str]) -> list[Row]:
    """Return hits as rows of a file."""
    return [
        {
            "kind": kind,
            "title": hit.title,
            "text": "".join(piece.text for piece in hit.context),
            "who": names.get(hit.author_id or ""),
            "at": iso(hit.at),
            "address": hit.address,
        }
        for kind, hits in found.items()
        for hit in hits
    ]
