"""Gathering what is shown of agents: each with what was asked for of what belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from fastapi import Depends, Query

from folkmoot.agents.agents import Agent, find_agent
from folkmoot.agents.listing import agents_of_ids, blocks_of_agents, last_run, tags_of_agents, tools_of_agents
from folkmoot.conversations.conversations import find_conversation
from folkmoot.conversations.messages import ids_in_context
from folkmoot.server.state import ServerState
from folkmoot.server.wire.agents import AgentView
from folkmoot.server.wire.blocks import BlockReply
from folkmoot.store.engine import Transaction

EVERYTHING = frozenset({"agent.blocks", "agent.secrets", "agent.tags", "agent.tools"})
"""What belongs to an agent and is shown when it is asked for."""

_OLDER_NAMES = {
    "memory": "agent.blocks",
    "blocks": "agent.blocks",
    "tools": "agent.tools",
    "tags": "agent.tags",
    "tool_exec_environment_variables": "agent.secrets",
    "secrets": "agent.secrets",
}


async def read_include(
    include: Annotated[list[str] | None, Query(description="What to show of what belongs to an agent.")] = None,
    include_relationships: Annotated[list[str] | None, Query(description="The older form of include.")] = None,
) -> frozenset[str] | None:
    """Read what is asked for of what belongs to an agent; None when the request does not say."""
    if include is None and include_relationships is None:
        return None
    older = (_OLDER_NAMES.get(name, name) for name in include_relationships or ())
    return frozenset(include or ()) | frozenset(older)


Include: TypeAlias = Annotated[frozenset[str] | None, Depends(read_include)]


async def view_agent(
    transaction: Transaction, agent_id: str, state: ServerState, include: frozenset[str] | None = None
) -> AgentView:
    """Return one agent with its messages in context and its last run; everything else too unless `include` says less.

    Raises:
        NotFound: there is no such agent.
    """
    agent = await find_agent(transaction, agent_id)
    view = (await _views(transaction, [agent], EVERYTHING if include is None else include, state))[0]
    conversation = await find_conversation(transaction, agent_id)
    message_ids = await ids_in_context(transaction, conversation.id, conversation.context_start)
    last = await last_run(transaction, agent_id)
    return AgentView(
        agent=agent,
        model=view.model,
        message_ids=message_ids,
        blocks=view.blocks,
        tools=view.tools,
        tags=view.tags,
        variables=view.variables,
        last_completion=last["completed_at"] if last else None,
        last_duration=last["completed_at"] - last["started_at"] if last else None,
        last_stop_reason=last["stop_reason"] if last else None,
    )


async def view_agents(
    transaction: Transaction, agent_ids: Sequence[str], include: frozenset[str] | None, state: ServerState
) -> list[AgentView]:
    """Return these agents, each with what is asked for."""
    return await _views(transaction, await agents_of_ids(transaction, agent_ids), include or frozenset(), state)


async def view_listed(
    transaction: Transaction, agents: Sequence[Agent], include: frozenset[str] | None, state: ServerState
) -> list[AgentView]:
    """Return a list's agents, each with what is asked for."""
    return await _views(transaction, agents, include or frozenset(), state)


async def _views(
    transaction: Transaction, agents: Sequence[Agent], include: frozenset[str], state: ServerState
) -> list[AgentView]:
    ids = [agent.id for agent in agents]
    blocks = await blocks_of_agents(transaction, ids) if "agent.blocks" in include else {}
    tools = await tools_of_agents(transaction, ids, state.services.tools) if "agent.tools" in include else {}
    tags = await tags_of_agents(transaction, ids) if "agent.tags" in include else {}
    unseal = state.services.sealer.unseal if "agent.secrets" in include and state.shows_secrets else lambda _: {}
    return [
        AgentView(
            agent=agent,
            model=state.services.catalogue.describe(agent.model),
            blocks=[BlockReply.of(block, access) for block, access in blocks.get(agent.id, ())],
            tools=tools.get(agent.id, ()),
            tags=tags.get(agent.id, ()),
            variables=unseal(agent.configuration.get("sealed_variables")),
        )
        for agent in agents
    ]
