"""An agent's context window: what fills it, and making it smaller or empty."""

from __future__ import annotations

from fastapi import APIRouter, Response

from folkmoot.agents.preparation import prepare_conversation
from folkmoot.conversations.conversations import find_conversation
from folkmoot.conversations.messages import list_messages
from folkmoot.server.agent_views import view_agent
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.routes.conversations import (
    compact_conversation,
    named,
    recompile_conversation,
    reset_conversation,
)
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.agent_replies import AgentReply, show_agent
from folkmoot.server.wire.common import AgentId, json_response
from folkmoot.server.wire.context import ContextOverview, ResetMessages, show_context
from folkmoot.server.wire.conversations import CompactionReply, CompactionRequest
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/agents/{agent_id}", tags=["agents"], route_class=BodyRoute)


@router.get("/context", response_model=ContextOverview)
async def overview(agent_id: AgentId, state: State, scan: Scan, conversation_id: str | None = None) -> Response:
    """Return what fills the agent's context window in one of its conversations, with the parts' sizes in tokens."""
    named_id = named(conversation_id or agent_id, agent_id)

    async def read(transaction: Transaction) -> ContextOverview:
        conversation = await find_conversation(transaction, named_id)
        turn = await prepare_conversation(transaction, named_id, state.services)
        first = await list_messages(transaction, named_id, Page(limit=1))
        seen = await turn.look(transaction)
        first_message = first[0] if first else None
        return show_context(conversation, turn.context_state, turn.prompt(seen), first_message, seen)

    return await scan(read, json_response)


@router.post("/recompile")
@router.post("/system-prompt/recompile")
async def recompile(agent_id: AgentId, state: State, update_timestamp: bool = False, dry_run: bool = False) -> str:
    """Renew the system message, unless it is a dry run, and return what the agent's next turn begins with.

    The time in it is always the present one, whether `update_timestamp` asks for that or not.
    """
    return await recompile_conversation(agent_id, state, dry_run=dry_run)


@router.post("/summarize", response_model=CompactionReply)
async def summarize(agent_id: AgentId, state: State, body: CompactionRequest | None = None) -> Response:
    """Let the oldest messages leave the agent's context, and put a summary in their place."""
    return json_response(await compact_conversation(agent_id, body or CompactionRequest(), state))


@router.patch("/reset-messages", response_model=AgentReply)
async def reset(agent_id: AgentId, state: State, body: ResetMessages | None = None) -> Response:
    """Begin the agent's main conversation anew, as `PATCH /v1/conversations/{conversation_id}/reset-messages` does."""
    await reset_conversation(agent_id, body or ResetMessages(), state)
    return json_response(
        show_agent(await state.store.read(lambda transaction: view_agent(transaction, agent_id, state)))
    )
