"""Searches for agents by several conditions at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from folkmoot.agents.listing import count_agents, list_agents
from folkmoot.server.agent_views import Include, view_listed
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.routes.agents import ORDERS
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.agent_replies import AgentView, show_agent
from folkmoot.server.wire.agent_search import AgentCount, FoundAgents, SearchAgents, filter_of, read_conditions
from folkmoot.server.wire.common import json_response
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/agents/search", tags=["agents"], route_class=BodyRoute)


@router.post("", response_model=FoundAgents)
async def search(body: SearchAgents, include: Include, state: State, scan: Scan) -> Response:
    """Return a page of the agents that meet all conditions."""
    wanted = replace(body.wanted(), order_by=ORDERS[body.sortBy])
    page = Page(body.limit, body.after, None, "asc" if body.ascending else "desc")

    async def read(transaction: Transaction) -> list[AgentView]:
        found = await list_agents(transaction, wanted, replace(page, limit=page.limit + 1))
        return await view_listed(transaction, found, include.of_listed, state)

    def show(views: list[AgentView]) -> Response:
        shown = [show_agent(view) for view in views[: page.limit]]
        cursor = shown[-1].id if len(views) > page.limit else None
        return json_response(FoundAgents.model_construct(agents=shown, nextCursor=cursor))

    return await scan(read, show)


@router.get("/count", response_model=AgentCount)
async def count(
    scan: Scan,
    search: Annotated[list[str] | None, Query(description="Conditions, each as JSON.")] = None,
    project_id: str | None = None,
    combinator: Annotated[Literal["AND"], Query(description="All conditions have to hold.")] = "AND",
) -> AgentCount:
    """Count the agents that meet all conditions."""
    wanted = filter_of(read_conditions(search or []), project_id)
    return await scan(lambda transaction: count_agents(transaction, wanted), lambda found: AgentCount(count=found))
