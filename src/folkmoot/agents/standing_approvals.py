"""Approvals given beforehand: which calls of a tool that asks first need not wait for anybody.

An approval is of one agent and one tool, and names arguments that a call has to have, as they are. When it is exact a
call may have no others; else the others are free. So "calls like this one" are, for a call that edits a block, those of
the same tool that edit the same block, and for any other call those with the very same arguments. They are kept with
the agent, and go with it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select

from folkmoot.agents.agents import Agent, find_agent, update_agent
from folkmoot.errors import Conflict, InvalidInput, NotFound
from folkmoot.identifiers import new_id
from folkmoot.models.prompt import ToolCall
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agents
from folkmoot.tools.builtin.proposed import arguments_of, shared_arguments

KEY = "standing_approvals"
"""Where an agent's configuration has them."""

MOST = 100
"""Standing approvals of an agent."""

LONGEST_ARGUMENTS = 10_000
"""Characters, as JSON, of the arguments that one names."""


@dataclass(frozen=True, slots=True)
class StandingApproval:
    """Calls of `tool_name` that have these `arguments` need not wait; with `exact` if they have no others."""

    tool_name: str
    arguments: Mapping[str, Any]
    exact: bool
    given_by: str = ""
    """The name of who gave it."""

    id: str = field(default_factory=lambda: new_id("approval"))
    created_at: int = field(default_factory=clock.now)

    def covers(self, tool_name: str, arguments: Mapping[str, Any]) -> bool:
        """Tell whether a call need not wait."""
        if tool_name != self.tool_name or (self.exact and len(arguments) != len(self.arguments)):
            return False
        return all(name in arguments and _same(arguments[name], value) for name, value in self.arguments.items())


def approval_like(call: ToolCall, given_by: str) -> StandingApproval | None:
    """Return the approval of calls like this one; None when its arguments cannot be read."""
    arguments = arguments_of(call.arguments)
    if arguments is None:
        return None
    shared = shared_arguments(call.name, arguments)
    return StandingApproval(call.name, arguments if shared is None else shared, shared is None, given_by)


def approvals_of(agent: Agent) -> list[StandingApproval]:
    """Return the agent's standing approvals, the oldest first."""
    return [StandingApproval(**each) for each in agent.configuration.get(KEY) or ()]


async def agents_with_approvals(transaction: Transaction, limit: int) -> list[Agent]:
    """Return agents that have standing approvals, by name."""
    named = agents.c.configuration.contains(f'"{KEY}": [{{', autoescape=True)
    rows = await transaction.all(select(agents).where(named).order_by(agents.c.name, agents.c.id).limit(limit))
    return [Agent.from_row(row) for row in rows]


async def give_approval(transaction: Transaction, agent_id: str, approval: StandingApproval) -> StandingApproval:
    """Keep a standing approval; return the one there is when that says the same already.

    Raises:
        NotFound: there is no such agent.
        InvalidInput: it names no argument and is not exact, or its arguments are too long.
        Conflict: the agent has as many as it may have.
    """
    if not approval.arguments and not approval.exact:
        raise InvalidInput(
            "arguments: name at least one, so that not every call is approved; to approve every call of the tool, "
            "let it not ask first."
        )
    if len(json.dumps(approval.arguments)) > LONGEST_ARGUMENTS:
        raise InvalidInput(f"arguments: have more than {LONGEST_ARGUMENTS:,} characters as JSON; approve such a call.")
    known = approvals_of(await find_agent(transaction, agent_id, lock=True))
    for each in known:
        if (each.tool_name, each.exact) == (approval.tool_name, approval.exact) and _same(
            each.arguments, approval.arguments
        ):
            return each
    if len(known) >= MOST:
        raise Conflict(f"The agent has {MOST} standing approvals, and may have no more; revoke one first.")
    await _keep(transaction, agent_id, [*known, approval])
    return approval


async def revoke_approval(transaction: Transaction, agent_id: str, approval_id: str) -> None:
    """Let calls wait again that this approval covered.

    Raises:
        NotFound: there is no such agent, or it has no such approval.
    """
    known = approvals_of(await find_agent(transaction, agent_id, lock=True))
    kept = [each for each in known if each.id != approval_id]
    if len(kept) == len(known):
        raise NotFound(f"Agent {agent_id} has no standing approval '{approval_id}'.")
    await _keep(transaction, agent_id, kept)


async def _keep(transaction: Transaction, agent_id: str, approvals: Sequence[StandingApproval]) -> None:
    await update_agent(transaction, agent_id, {}, {KEY: [asdict(each) for each in approvals]})


def _same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same as JSON, where true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
