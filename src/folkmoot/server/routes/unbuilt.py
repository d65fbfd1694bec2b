"""Routes of the contract that are not built yet: what reads gets the empty form, what writes is told so.

Each line goes when its room is built; a test walks the contract and says which are missing or doubled.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from folkmoot.agents.agents import find_agent
from folkmoot.errors import NotBuilt, NotFound
from folkmoot.identifiers import check_id
from folkmoot.server.state import State

router = APIRouter(include_in_schema=False)

AGENT = "/v1/agents/{agent_id}"

EMPTY: dict[str, Any] = {
    f"{AGENT}/groups": [],
    f"{AGENT}/schedule": {"scheduled_messages": [], "has_next_page": False},
    f"{AGENT}/core-memory/variables": {"variables": {}},
    "/v1/agents/search/count": {"count": 0},
    "/v1/groups": [],
    "/v1/groups/count": 0,
    "/v1/providers": [],
    "/v1/embeddings/total_storage_size": 0.0,
    "/v1/projects": {"projects": [], "hasNextPage": False},
    "/v1/environments": {"connections": [], "hasNextPage": False},
    "/v1/metadata/balance": {"total_balance": 0, "monthly_credit_balance": 0, "purchased_credit_balance": 0},
    "/v1/organizations/self/quotas": [],
}
"""What reads and has an empty form."""

UNKNOWN = (
    "/v1/groups/{group_id}",
    "/v1/groups/{group_id}/messages",
    "/v1/providers/{provider_id}",
    "/v1/environments/{device_id}",
    f"{AGENT}/schedule/{{message_id}}",
)
"""What reads a thing that nobody can have made here, so that its identifier is unknown."""

REFUSED = f"""
GET {AGENT}/memory-files/directory
GET {AGENT}/memory-files/history
GET {AGENT}/memory-files/content
POST /v1/agents/search
POST {AGENT}/generate
POST {AGENT}/schedule
DELETE {AGENT}/schedule/{{message_id}}
POST /v1/groups
PATCH DELETE /v1/groups/{{group_id}}
PATCH /v1/groups/{{group_id}}/messages/{{message_id}}
PATCH /v1/groups/{{group_id}}/reset-messages
PATCH /v1/groups/{{group_id}}/blocks/attach/{{block_id}}
PATCH /v1/groups/{{group_id}}/blocks/detach/{{block_id}}
POST /v1/providers
POST /v1/providers/check
PATCH DELETE /v1/providers/{{provider_id}}
POST /v1/providers/{{provider_id}}/check
PATCH /v1/providers/{{provider_id}}/refresh
POST /v1/projects
DELETE /v1/projects/{{project_id}}
POST /v1/environments/{{connection_id}}/messages
"""
"""What writes, or needs what is not there: methods and path."""


async def show_empty(request: Request, state: State) -> Any:
    """Return the empty form of what a route of this path lists; an agent that is named has to exist."""
    if (agent_id := request.path_params.get("agent_id")) is not None:
        check_id("agent", agent_id)
        await state.store.read(lambda transaction: find_agent(transaction, agent_id))
    return EMPTY[request.scope["route"].path]


async def know_nothing(request: Request) -> None:
    """Say that there is no such thing.

    Raises:
        NotFound: always.
    """
    raise NotFound(f"There is nothing at {request.url.path}: this server keeps no such things yet.")


async def refuse(request: Request) -> None:
    """Say that the route is not built.

    Raises:
        NotBuilt: always.
    """
    raise NotBuilt(f"{request.method} {request.scope['route'].path} is not built yet; nothing was changed.")


def _add_routes() -> None:
    for path in EMPTY:  # before the others: some of these would pass for an identifier
        router.add_api_route(path, show_empty, methods=["GET"])
    for path in UNKNOWN:
        router.add_api_route(path, know_nothing, methods=["GET"])
    for line in REFUSED.split("\n"):
        *methods, path = line.split() or [""]
        if methods:
            router.add_api_route(path, refuse, methods=methods)


_add_routes()
