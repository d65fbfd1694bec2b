"""The tutorial on a server that is empty: two agents research into one block while the visitor watches."""

from __future__ import annotations

import asyncio
import logging

from fastapi import Response

from folkmoot.agents.creation import AgentPlan, choose_model, create_agent
from folkmoot.agents.listing import AgentFilter, count_agents
from folkmoot.errors import FolkmootError
from folkmoot.memory.attachments import attach
from folkmoot.memory.blocks import create_block
from folkmoot.memory.listing import BlockFilter, count_blocks
from folkmoot.server.sending import start_in_background
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.sending import SendMessages
from folkmoot.store.engine import Transaction
from folkmoot.web.responses import page_router, redirect

logger = logging.getLogger(__name__)
router = page_router()

QUESTIONS = (
    ("agent1", "Agent1: ", "the connection between memory blocks and Letta"),
    ("agent2", "Agent2: ", "the origin of Letta"),
)
OPENING_SECONDS = 1.5
"""How long the first question waits, so that the page is open when the offline model answers at once."""

_questions: set[asyncio.Task[None]] = set()


@router.post("/start")
async def start(state: State) -> Response:
    """Make the tutorial's blocks and agents, and ask the agents."""
    if not await state.store.read(_is_empty):
        return redirect("/")
    author = state.author
    block = await state.store.write(
        lambda transaction: create_block(
            transaction, {"label": "organization", "value": "Organization: Letta", "limit": 4000}, author
        )
    )
    agent_ids = [await _create_agent(name, ["web_search"], block.id, state) for name, _, _ in QUESTIONS]
    policies = {"label": "policies", "value": "Company Policy: Always be helpful and respectful.", "read_only": True}
    policy = await state.store.write(lambda transaction: create_block(transaction, policies, author))
    reader = await _create_agent("policy_agent", [], policy.id, state)
    await state.store.write(lambda transaction: attach(transaction, reader, policy.id, "read"))
    task = asyncio.create_task(_ask(agent_ids, state))
    _questions.add(task)
    task.add_done_callback(_questions.discard)
    return redirect("/")


async def _is_empty(transaction: Transaction) -> bool:
    return not await count_agents(transaction, AgentFilter()) and not await count_blocks(transaction, BlockFilter())


async def _create_agent(name: str, tools: list[str], block_id: str, state: ServerState) -> str:
    plan = AgentPlan(name=name, tools=tools, block_ids=[block_id])
    model = await choose_model(plan, state.services)
    agent = await state.store.write(
        lambda transaction: create_agent(transaction, plan, model, state.services, state.author)
    )
    return agent.id


async def _ask(agent_ids: list[str], state: ServerState) -> None:
    """Ask one agent after the other."""
    for agent_id, (_, prefix, topic) in zip(agent_ids, QUESTIONS, strict=True):
        await asyncio.sleep(OPENING_SECONDS)
        if state.runs.supervisor.is_stopping:
            return
        question = (
            f'Find information about {topic}.\nInsert what you learn into the memory block, prepended with "{prefix}".'
        )
        try:
            await start_in_background(agent_id, agent_id, SendMessages(input=question, stream_tokens=True), state)
        except FolkmootError as error:
            logger.warning("The tutorial could not ask %s: %s", agent_id, error.message)
