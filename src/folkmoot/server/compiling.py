"""What an agent's model would be sent now: the parts that do not depend on what somebody says next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from folkmoot.agents.agents import Agent, find_agent, tools_of
from folkmoot.agents.context import SeenBlock, build_prompt, for_conversation, read_blocks
from folkmoot.agents.context_state import ContextState
from folkmoot.conversations.conversations import find_conversation
from folkmoot.models.prompt import Prompt
from folkmoot.store.engine import Transaction
from folkmoot.tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Parts:
    """An agent as its model sees it in one conversation."""

    agent: Agent
    tools: Sequence[Tool]
    blocks: Sequence[SeenBlock]

    def prompt(self, history: ContextState | None = None) -> Prompt:
        """Return the prompt with which the next turn begins."""
        schemas = [tool.schema for tool in self.tools]
        turns = history.shown() if history is not None else []
        return build_prompt(self.agent, self.agent.system, schemas, turns, self.blocks)


async def read_parts(transaction: Transaction, conversation_id: str) -> Parts:
    """Return the agent of a conversation as its model sees it there.

    Raises:
        NotFound: there is no such conversation.
    """
    conversation = await find_conversation(transaction, conversation_id)
    agent = for_conversation(await find_agent(transaction, conversation.agent_id), conversation)
    tools = await tools_of(transaction, agent.id)
    return Parts(agent, tools, await read_blocks(transaction, agent.id, conversation_id))


async def begin_prompt(transaction: Transaction, conversation_id: str) -> Callable[[ContextState], Prompt]:
    """Return how the conversation's next prompt is made from its history."""
    parts = await read_parts(transaction, conversation_id)
    return parts.prompt


async def system_text(transaction: Transaction, conversation_id: str) -> str:
    """Return the instructions and the memory as the model reads them now; the memory comes after the messages."""
    prompt = (await read_parts(transaction, conversation_id)).prompt()
    return f"{prompt.instructions}\n\n{prompt.memory}".strip()
