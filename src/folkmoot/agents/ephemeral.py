"""Conversations without an agent that anybody knows: each has one of its own, and both are deleted behind it."""

from __future__ import annotations

from contextlib import suppress

from folkmoot.agents.conversations import create_conversation
from folkmoot.agents.creation import AgentPlan, create_agent
from folkmoot.agents.deletion import remove_agent
from folkmoot.agents.listing import DELETE_EPHEMERAL
from folkmoot.agents.services import Services
from folkmoot.conversations.conversations import Conversation
from folkmoot.errors import NotFound
from folkmoot.jobs.jobs import add_job
from folkmoot.jobs.kinds import ActiveJob, JobKind
from folkmoot.memory.authors import Author
from folkmoot.store import clock
from folkmoot.store.engine import Transaction

LIFETIME = 24 * 60 * 60 * 1_000_000
"""Microseconds from an ephemeral conversation's beginning to its end."""


async def create_ephemeral_conversation(
    transaction: Transaction, plan: AgentPlan, model: str, services: Services, author: Author
) -> Conversation:
    """Begin a conversation with a hidden agent of its own, and have both deleted when their time is over.

    Args:
        transaction: where to write.
        plan: what the agent shall be.
        model: what `choose_model` returned.
        services: what the agent is made with.
        author: who asks for it.
    """
    agent = await create_agent(transaction, plan, model, services, author)
    await add_job(transaction, DELETE_EPHEMERAL, agent.id, parent_id=agent.id, due_at=clock.now() + LIFETIME)
    return await create_conversation(transaction, agent.id, author, hidden=True)


def ephemeral_kind() -> JobKind:
    """Return what a process does for such jobs."""

    async def work(active: ActiveJob) -> None:
        with suppress(NotFound):  # somebody has deleted it before, or a process that died behind that
            await remove_agent(active.store, active.job.subject_id, Author("system"))

    return JobKind(DELETE_EPHEMERAL, work)
