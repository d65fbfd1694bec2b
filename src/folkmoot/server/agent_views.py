"""Gathering what is shown of agents: each with what was asked for of what belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, TypeAlias

from fastapi import Depends, Query, Request, Response

from folkmoot.agents.abandoned_calls import pending_in
from folkmoot.agents.agents import Agent, find_agent
from folkmoot.agents.folders import folders_of_agents
from folkmoot.agents.identities import identities_of_agents
from folkmoot.agents.listing import agents_of_ids, blocks_of_agents, last_runs, tags_of_agents, tools_of_agents
from folkmoot.conversations.conversations import find_conversation
from folkmoot.conversations.messages import Message, ids_in_context
from folkmoot.files.shown import files_at_hand
from folkmoot.groups.groups import managed_groups
from folkmoot.server.state import ServerState
from folkmoot.server.wire.agent_replies import AgentView, show_agent
from folkmoot.server.wire.blocks import BlockReply
from folkmoot.server.wire.common import json_response
from folkmoot.server.wire.groups import GroupReply
from folkmoot.store.engine import Transaction, Work

EVERYTHING = frozenset(
    {
        "agent.blocks",
        "agent.identities",
        "agent.managed_group",
        "agent.secrets",
        "agent.sources",
        "agent.tags",
        "agent.tools",
    }
)
"""What belongs to an agent and is shown when it is asked for."""

_OLDER_NAMES = {
    "memory": "agent.blocks",
    "blocks": "agent.blocks",
    "tools": "agent.tools",
    "tags": "agent.tags",
    "sources": "agent.sources",
    "identity_ids": "agent.identities",
    "identities": "agent.identities",
    "tool_exec_environment_variables": "agent.secrets",
    "secrets": "agent.secrets",
    "multi_agent_group": "agent.managed_group",
    "managed_group": "agent.managed_group",
}


_OF_LISTS = EVERYTHING - {"agent.secrets"}
"""What each agent of a list is shown with to older clients; nobody gets secrets that were not asked for."""


@dataclass(frozen=True)
class Parts:
    """What is to be shown of what belongs to an agent: to one that is read alone, and to each of a list."""

    of_one: frozenset[str]
    of_listed: frozenset[str]


async def read_include(
    request: Request,
    include: Annotated[list[str] | None, Query(description="What to show besides of what belongs to an agent.")] = None,
    include_relationships: Annotated[
        list[str] | None, Query(description="The older form: show this of what belongs to an agent, and no more.")
    ] = None,
) -> Parts:
    """Read what is asked for of what belongs to an agent, beyond what the client gets without asking."""
    added = frozenset(include or ())
    if include_relationships is not None:
        chosen = added | {_OLDER_NAMES.get(name, name) for name in include_relationships}
        return Parts(of_one=chosen, of_listed=chosen)
    plain = frozenset() if _is_newer_client(request) else _OF_LISTS
    return Parts(of_one=EVERYTHING | added, of_listed=plain | added)


def _is_newer_client(request: Request) -> bool:
    """Tell whether a client of the 1.x line asks, or one that does not say what it is."""
    agent = request.headers.get("user-agent", "")
    return "x-stainless-package-version" in request.headers or not agent or agent.startswith("letta-client/1.")


Include: TypeAlias = Annotated[Parts, Depends(read_include)]


async def view_agent(
    transaction: Transaction, agent_id: str, state: ServerState, parts: frozenset[str] = EVERYTHING
) -> AgentView:
    """Return one agent with those parts that belong to it, the files at hand among its blocks.

    Raises:
        NotFound: there is no such agent.
    """
    agent = await find_agent(transaction, agent_id)
    view = (await view_listed(transaction, [agent], parts, state))[0]
    has_files = "agent.blocks" in parts and ("agent.sources" not in parts or view.folders)
    return replace(view, files=await files_at_hand(transaction, agent_id)) if has_files else view


async def view_agents(
    transaction: Transaction, agent_ids: Sequence[str], parts: frozenset[str], state: ServerState
) -> list[AgentView]:
    """Return these agents, each with those parts."""
    return await view_listed(transaction, await agents_of_ids(transaction, agent_ids), parts, state)


async def view_listed(
    transaction: Transaction, agents: Sequence[Agent], parts: frozenset[str], state: ServerState
) -> list[AgentView]:
    """Return a list's agents, each with those parts."""
    ids = [agent.id for agent in agents]
    blocks = await blocks_of_agents(transaction, ids) if "agent.blocks" in parts else {}
    tools = await tools_of_agents(transaction, ids, state.services.tools) if "agent.tools" in parts else {}
    tags = await tags_of_agents(transaction, ids) if "agent.tags" in parts else {}
    folders = await folders_of_agents(transaction, ids) if "agent.sources" in parts else {}
    identities = await identities_of_agents(transaction, ids) if "agent.identities" in parts else {}
    managed = await managed_groups(transaction, ids) if "agent.managed_group" in parts else {}
    unseal = state.services.sealer.unseal if "agent.secrets" in parts and state.shows_secrets else lambda _: {}
    message_ids, ended = await ids_in_context(transaction, ids), await last_runs(transaction, ids)
    waiting = await _waiting(transaction, ids) if "agent.pending_approval" in parts else {}
    return [
        AgentView(
            always_embedding=state.wants_embedding,
            agent=agent,
            model=state.services.catalogue.describe(agent.model),
            message_ids=message_ids[agent.id],
            blocks=[BlockReply.of(block, access) for block, access in blocks.get(agent.id, ())],
            tools=tools.get(agent.id, ()),
            tags=tags.get(agent.id, ()),
            folders=folders.get(agent.id, ()),
            identities=identities.get(agent.id, ()),
            managed_group=next((GroupReply.of(group) for group in managed.get(agent.id, ())), None),
            variables=unseal(agent.configuration.get("sealed_variables")),
            last_run=ended.get(agent.id),
            pending_approval=waiting.get(agent.id),
        )
        for agent in agents
    ]


async def changed_agent(agent_id: str, state: ServerState, change: Work[object]) -> Response:
    """Make a change, and answer with the agent as it is then."""

    async def write(transaction: Transaction) -> AgentView:
        await change(transaction)
        return await view_agent(transaction, agent_id, state)

    return json_response(show_agent(await state.store.write(write)))


async def _waiting(transaction: Transaction, agent_ids: Sequence[str]) -> dict[str, Message]:
    """Return the request for approval that each agent's own conversation waits with."""
    conversations = [await find_conversation(transaction, agent_id) for agent_id in agent_ids]
    pending = [await pending_in(transaction, conversation) for conversation in conversations]
    return {one.agent_id: found.request for one, found in zip(conversations, pending, strict=True) if found}
