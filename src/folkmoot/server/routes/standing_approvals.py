"""Standing approvals: which calls of an agent's tools that ask first need not wait for anybody."""

from __future__ import annotations

from fastapi import APIRouter

from folkmoot.agents.agents import find_agent
from folkmoot.agents.standing_approvals import StandingApproval, approvals_of, give_approval, revoke_approval
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.state import State
from folkmoot.server.wire.common import AgentId, Deleted
from folkmoot.server.wire.standing_approvals import ApprovalId, ApprovalReply, GiveApproval

router = APIRouter(prefix="/v1/agents/{agent_id}/standing-approvals", tags=["agents"], route_class=BodyRoute)


@router.get("")
async def list_all(agent_id: AgentId, state: State) -> list[ApprovalReply]:
    """List the agent's standing approvals, the oldest first."""
    agent = await state.store.read(lambda transaction: find_agent(transaction, agent_id))
    return [ApprovalReply.of(approval) for approval in approvals_of(agent)]


@router.post("")
async def give(agent_id: AgentId, body: GiveApproval, state: State) -> ApprovalReply:
    """Approve calls of a tool beforehand: those that have these arguments, as they are."""
    approval = StandingApproval(body.tool_name, body.arguments, body.exact, state.principal.name)
    return ApprovalReply.of(await state.store.write(lambda transaction: give_approval(transaction, agent_id, approval)))


@router.delete("/{approval_id}")
async def revoke(agent_id: AgentId, approval_id: ApprovalId, state: State) -> Deleted:
    """Revoke a standing approval; such calls wait again from then on."""
    await state.store.write(lambda transaction: revoke_approval(transaction, agent_id, approval_id))
    return Deleted(message=f"Standing approval {approval_id} was revoked.")
