"""An agent's context window: what fills it, and making it smaller or empty."""

from __future__ import annotations

from fastapi import APIRouter, Response

from folkmoot.agents.context_state import read_context_state
from folkmoot.conversations.conversations import find_conversation
from folkmoot.conversations.listing import reset_conversation
from folkmoot.conversations.messages import list_messages
from folkmoot.server.agent_views import view_agent
from folkmoot.server.compiling import read_parts, system_text
from folkmoot.server.routes.conversations import cancel_in_conversation, compact_conversation, named
from folkmoot.server.state import State
from folkmoot.server.wire.agents import AgentReply, AgentView, show_agent
from folkmoot.server.wire.common import AgentId, json_response
from folkmoot.server.wire.context import ContextOverview, ResetMessages, show_context
from folkmoot.server.wire.conversations import CompactionReply, CompactionRequest
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/agents/{agent_id}", tags=["agents"])


@router.get("/context", response_model=ContextOverview)
async def overview(agent_id: AgentId, state: State, conversation_id: str | None = None) -> Response:
    """Return what fills the agent's context window in one of its conversations, with the parts' sizes in tokens."""
    named_id = named(conversation_id or agent_id, agent_id)

    async def read(transaction: Transaction) -> ContextOverview:
        conversation = await find_conversation(transaction, named_id)
        parts = await read_parts(transaction, named_id)
        history = await read_context_state(transaction, conversation, parts.agent, state.services)
        first = await list_messages(transaction, named_id, Page(limit=1))
        return show_context(conversation, history, parts.prompt(history), first[0] if first else None)

    return json_response(await state.store.read(read))


@router.post("/recompile")
@router.post("/system-prompt/recompile")
async def recompile(agent_id: AgentId, state: State) -> str:
    """Return the system text as the agent's next turn begins with it; it is always up to date."""
    return await state.store.read(lambda transaction: system_text(transaction, agent_id))


@router.post("/summarize", response_model=CompactionReply)
async def summarize(agent_id: AgentId, state: State, body: CompactionRequest | None = None) -> Response:
    """Let the oldest messages leave the agent's context, and put a summary in their place."""
    return json_response(await compact_conversation(agent_id, body or CompactionRequest(), state))


@router.patch("/reset-messages", response_model=AgentReply)
async def reset(agent_id: AgentId, state: State, body: ResetMessages | None = None) -> Response:
    """Delete the messages of the agent's main conversation, all but its system message; a turn of it is cancelled."""
    await cancel_in_conversation(agent_id, state)

    async def write(transaction: Transaction) -> AgentView:
        await reset_conversation(transaction, agent_id)
        return await view_agent(transaction, agent_id, state)

    return json_response(show_agent(await state.store.write(write)))
