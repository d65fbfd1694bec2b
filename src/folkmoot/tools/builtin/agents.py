"""Tools by which agents talk to each other."""

from __future__ import annotations

import json

from folkmoot.tools.tool import ToolContext


async def send_message_to_agent_and_wait_for_reply(context: ToolContext, message: str, other_agent_id: str) -> str:
    """Say something to another agent and wait for its answer.

    Args:
        message: What to say. Say who you are and what you want, since the other agent sees only this.
        other_agent_id: The other agent's identifier, agent- and a UUID.
    """
    return await context.messenger.ask(other_agent_id, _from(context, message), context)


async def send_message_to_agent_async(context: ToolContext, message: str, other_agent_id: str) -> str:
    """Say something to another agent without waiting; it will see your message, and may write to you later.

    Args:
        message: What to say. Say who you are and what you want, since the other agent sees only this.
        other_agent_id: The other agent's identifier, agent- and a UUID.
    """
    await context.messenger.tell(other_agent_id, _from(context, message), context)
    return "The message was sent."


async def send_message_to_agents_matching_tags(
    context: ToolContext, message: str, match_all: list[str], match_some: list[str]
) -> str:
    """Say something to every agent that has certain tags, and wait for their answers.

    Args:
        message: What to say to each of them.
        match_all: Tags that an agent must all have; an empty list if it does not matter.
        match_some: Tags of which an agent must have at least one; an empty list if it does not matter.
    """
    text = _from(context, message)
    answers = await context.messenger.ask_tagged(match_all, match_some, text, context)
    return json.dumps(answers, ensure_ascii=False)


def _from(context: ToolContext, message: str) -> str:
    return f"[Message from agent {context.agent_name} ({context.agent_id})]\n{message}"
