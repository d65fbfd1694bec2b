"""What a tool is shown of the agent that calls it, and writing what it changed of the agent's memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, select

from folkmoot.errors import ToolFailed
from folkmoot.memory.attachments import attached_rows
from folkmoot.memory.edits import Rethink
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import agents
from folkmoot.tools.builtin.memory import edit_labelled
from folkmoot.tools.tool import ToolContext

_agent = select(agents.c.name, agents.c.description, agents.c.agent_type, agents.c.system, agents.c.model).where(
    agents.c.id == bindparam("agent_id")
)


async def agent_shown(transaction: Transaction, context: ToolContext) -> dict[str, Any] | None:
    """Return the calling agent as JSON: what it is and its blocks, without its tools; None when it is gone."""
    row = await transaction.first(_agent, agent_id=context.agent_id)
    if row is None:
        return None
    blocks = [
        {
            "id": block["id"],
            "label": block["label"],
            "value": block["value"],
            "limit": block["character_limit"],
            "description": block["description"],
            "read_only": bool(block["read_only"]) or block["access"] == "read",
        }
        for block in await attached_rows(transaction, context.agent_id, context.conversation_id)
    ]
    about = {name: row[name] for name in ("name", "description", "agent_type", "system", "model")}
    return {"id": context.agent_id, **about, "memory": {"blocks": blocks}, "tools": [], "tool_rules": []}


async def write_blocks(context: ToolContext, blocks: Mapping[str, str]) -> list[str]:
    """Give the agent's blocks the texts that a tool gave them, as the agent's own edits, all of them or none.

    Returns:
        What is to be said of those that overwrote what others had written.

    Raises:
        ToolFailed: the agent may not write one of them, or there is no such block.
    """

    async def write(transaction: Transaction) -> list[str]:
        inside = replace(context, transaction=transaction)
        return [await edit_labelled(inside, label, Rethink(text)) for label, text in sorted(blocks.items())]

    try:
        said = await context.store.write(write)
    except ToolFailed as error:
        raise ToolFailed(f"The tool's changes of your memory were not written: {error.message}") from error
    return [each for each in said if "overwrote" in each]
