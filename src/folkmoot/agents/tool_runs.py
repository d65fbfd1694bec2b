"""Running one of an agent's tools because somebody asked for it, outside of any turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from folkmoot.agents.agents import Agent, find_agent, tools_of
from folkmoot.agents.inner_calls import InnerCalls
from folkmoot.agents.services import Services
from folkmoot.agents.tool_calls import run_alone
from folkmoot.errors import InvalidInput, NotFound, ToolFailed
from folkmoot.store.engine import Transaction
from folkmoot.tools.schema import read_arguments
from folkmoot.tools.tool import Messenger, Tool, ToolResult


async def run_tool(
    services: Services, messenger: Messenger, agent_id: str, name: str, arguments: Mapping[str, Any]
) -> ToolResult:
    """Run a tool as the agent would, whatever the agent's rules say; what goes wrong in it is its result.

    Args:
        services: of the agent's organisation.
        messenger: whom the tool may ask.
        agent_id: whose tool.
        name: the tool's.
        arguments: what to call it with.

    Raises:
        NotFound: there is no such agent, or it has no such tool.
        StoreError: the database failed.
    """

    async def read(transaction: Transaction) -> tuple[Agent, Mapping[str, Tool]]:
        agent = await find_agent(transaction, agent_id)
        return agent, {tool.name: tool for tool in await tools_of(transaction, agent_id, services.tools)}

    agent, tools = await services.store.read(read)
    tool = tools.get(name)
    if tool is None:
        raise NotFound(f"Tool '{name}' not found or not attached to agent '{agent_id}'")
    own = InnerCalls(list(tools.values()), [each.schema for each in tools.values()], lambda _call, _made: {})
    context = replace(services.tool_context(agent, messenger, agent_id), own_tools=own)
    try:
        given = read_arguments(tool.schema, arguments)
        if not tool.in_step:
            return await run_alone(tool, given, context)
        return await services.store.write(
            lambda transaction: tool.run(replace(context, transaction=transaction), given)
        )
    except (ToolFailed, InvalidInput, NotFound) as error:
        return ToolResult(error.message, failed=True)
