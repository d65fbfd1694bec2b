"""Asking an agent of this server: a turn on the member's behalf, which ends when the member gives up."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from pydantic import Field

from folkmoot.agents.events import Event, TurnEnd, TurnFailed
from folkmoot.agents.replies import words_of
from folkmoot.conversations.messages import Message
from folkmoot.errors import ToolFailed
from folkmoot.mcp_server.member import Member
from folkmoot.mcp_server.tool import Answer, Arguments, Report
from folkmoot.server.sending import check_request, read_request
from folkmoot.server.wire.common import Text
from folkmoot.server.wire.sending import SendMessages


class AskAgent(Arguments):
    """Whom to ask, and what."""

    agent: Text = Field(description="The agent's name, or its identifier.")
    message: Text = Field(min_length=1, description="What to say to it.")


async def ask_agent(member: Member, wanted: AskAgent, report: Report) -> Answer:
    """Take a turn of the agent and return what it said; cancelled when the caller is.

    Raises:
        NotReached: there is no such agent that the member may ask.
        ToolFailed: the turn failed or was cancelled.
    """
    state = member.state
    agent = await state.store.read(lambda transaction: member.agent(transaction, wanted.agent))
    message = {"role": "user", "content": wanted.message, "name": member.name}
    request = read_request(agent.id, agent.id, SendMessages.model_validate({"messages": [message]}), state)
    await check_request(request, state)
    run = await state.runs.start(request)
    words: list[str] = []
    try:
        async with aclosing(state.runs.follow(run.id)) as events:
            async for number, event in events:
                if isinstance(event, Message) and (said := words_of(event)):
                    words.append(said)
                if doing := _doing(event):
                    await report(number, doing)
                if isinstance(event, TurnFailed):
                    raise ToolFailed(f"Agent {agent.name!r} did not answer: {event.message or event.stop_reason}")
                if isinstance(event, TurnEnd) and not words:
                    words.append(f"(It said nothing; its turn ended with {event.stop_reason}.)")
    except asyncio.CancelledError:
        await asyncio.shield(state.runs.cancel(run.id))
        raise
    return Answer("\n".join(words), {"agent_id": agent.id, "run_id": run.id})


def _doing(event: Event) -> str | None:
    """Return what an event shows the agent doing, in words."""
    if isinstance(event, Message):
        return event.message_type.removesuffix("_message").replace("_", " ")
    return None
