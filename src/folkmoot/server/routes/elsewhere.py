"""What only a cloud has, for programs that ask all the same: credit, quotas, machines that it runs. None is here."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from folkmoot.errors import NotFound

router = APIRouter(prefix="/v1", tags=["elsewhere"])

NO_ENVIRONMENTS = "This server runs no environments; code runs in its sandbox, see docs/tools.md."


@router.get("/metadata/balance")
async def balance() -> dict[str, Any]:
    """Return what is left of an account's credit: nothing is paid for here."""
    credit = {"total_balance": 0, "monthly_credit_balance": 0, "purchased_credit_balance": 0}
    return {**credit, "billing_tier": "self-hosted"}


@router.get("/organizations/self/quotas")
async def quotas() -> dict[str, Any]:
    """Return what an account may still use of a cloud's models: nothing is used up here."""
    ends = {"quotaWindowEnd": None, "dailyQuotaWindowEnd": None}
    return {"lettaTier": {"bucket": "full", "dailyBucket": None}, **ends}


@router.get("/shared-agents")
async def list_shared_agents() -> dict[str, Any]:
    """List agents that other people share with who asks: who may see an agent here has it in the list of agents."""
    return {"agents": [], "nextCursor": None}


@router.get("/environments")
async def list_environments() -> dict[str, Any]:
    """List machines that a cloud runs for agents: there are none."""
    return {"connections": [], "hasNextPage": False}


@router.get("/environments/{device_id}")
async def retrieve_environment(device_id: str) -> None:
    """Return such a machine.

    Raises:
        NotFound: always.
    """
    raise NotFound(f"There is no environment {device_id!r}. {NO_ENVIRONMENTS}")


@router.post("/environments/{connection_id}/messages")
async def send_to_environment(connection_id: str) -> None:
    """Say something to such a machine.

    Raises:
        NotFound: always.
    """
    raise NotFound(f"There is no connection {connection_id!r}. {NO_ENVIRONMENTS}")
