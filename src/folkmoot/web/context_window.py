"""How full an agent's context window is, and with what. The parts are estimates; the sum is what was counted last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.agents.agents import Agent
from folkmoot.agents.context import memory_text, read_seen
from folkmoot.conversations.conversations import Conversation
from folkmoot.conversations.messages import messages_in_context, text_in
from folkmoot.store.engine import Transaction
from folkmoot.tools.tool import Tool
from folkmoot.web.diagrams import Part, parts_of
from folkmoot.web.pictures import parts_with_pictures

CHARACTERS_A_TOKEN = 4
TOKENS_A_PICTURE = 1_000
"""About; providers count by a picture's width and height, and not by its bytes."""


@dataclass(frozen=True, slots=True)
class ContextUse:
    """What the next step's context holds, in tokens; `counted` is what the provider counted in the last one."""

    parts: Sequence[Part]
    window: int
    counted: int | None

    @property
    def total(self) -> int:
        """The parts together."""
        return sum(part.tokens for part in self.parts)


async def read_context(
    transaction: Transaction,
    agent: Agent,
    conversation: Conversation,
    tools: Sequence[Tool],
    window: int,
    counted: int | None,
) -> ContextUse:
    """Return how full the agent's context window is in a conversation of its."""
    messages = await messages_in_context(transaction, conversation.id, conversation.context_start)
    seen = await read_seen(transaction, agent.id, conversation.id, window, conversation.counted)
    memory = memory_text(agent, conversation.id, seen)
    schemas = sum(len(tool.schema.description) + len(json.dumps(tool.schema.parameters)) for tool in tools)
    sizes = (
        ("system", len(agent.system)),
        ("tools", schemas),
        ("messages", sum(_size(message.body) for message in messages)),
        ("memory", len(memory)),
    )
    parts = parts_of(window, [(name, size // CHARACTERS_A_TOKEN) for name, size in sizes])
    return ContextUse(parts, window, counted)


def _size(body: Mapping[str, Any]) -> int:
    """Return about how many characters a message has in a prompt."""
    content = body.get("content", "")
    if pictures := parts_with_pictures(content):
        return len(text_in(content)) + len(pictures) * TOKENS_A_PICTURE * CHARACTERS_A_TOKEN
    return len(json.dumps(body, ensure_ascii=False))
