"""How one agent's turn asks another agent: a turn of the other's main conversation, as a run of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from folkmoot.agents.agents import find_agent
from folkmoot.agents.listing import agents_tagged
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.messages import Message
from folkmoot.errors import FolkmootError, MalformedId, NotFound, ToolFailed
from folkmoot.identifiers import check_id
from folkmoot.runs.active import Answer
from folkmoot.tools.tool import ToolContext

DEEPEST = 5
"""How many agents may wait for each other in a row."""

FARTHEST = 25
"""How many messages between agents may each be set off by the one before."""

MOST_ASKED = 50
"""How many agents one message may go to."""


class AgentMessenger:
    """Asks agents on behalf of others, and refuses what would wait on itself."""

    def __init__(
        self, answer: Callable[[TurnRequest], Awaitable[Answer]], background: Callable[[TurnRequest], Awaitable[None]]
    ) -> None:
        """Ask through these.

        Args:
            answer: takes a whole turn and returns it.
            background: begins a turn, whose run is stored then, and leaves it to itself.
        """
        self._answer = answer
        self._background = background

    async def ask(self, agent_id: str, text: str, context: ToolContext) -> str:
        """Return the other agent's answer.

        Raises:
            ToolFailed: there is no such agent, it cannot answer, or the wait would never end.
        """
        await self._check(agent_id, context)
        waiting = (*context.chain, context.agent_id)
        request = replace(self._request(agent_id, text, context), chain=waiting, asked_by=context.conversation_id)
        try:
            answer = await self._answer(request)
        except FolkmootError as error:
            raise ToolFailed(f"Agent {agent_id} could not answer: {error.message}") from error
        return answer.words or f"(Agent {agent_id} said nothing; its turn ended with {answer.end.stop_reason}.)"

    async def tell(self, agent_id: str, text: str, context: ToolContext) -> None:
        """Say something to the other agent, which answers in its own time.

        Raises:
            ToolFailed: there is no such agent, or too many messages have set each other off.
        """
        await self._reachable(agent_id, context)
        await self._background(self._request(agent_id, text, context))

    async def ask_tagged(
        self, match_all: Sequence[str], match_some: Sequence[str], text: str, context: ToolContext
    ) -> list[dict[str, str]]:
        """Return the answers of every other agent with these tags.

        Raises:
            ToolFailed: no tag is named, or too many agents have them.
        """
        if not match_all and not match_some:
            raise ToolFailed("match_all, match_some: name at least one tag.")
        found = await context.store.read(lambda transaction: agents_tagged(transaction, match_all, match_some))
        others = [agent_id for agent_id in found if agent_id != context.agent_id]
        if len(others) > MOST_ASKED:
            raise ToolFailed(f"{len(others)} agents have these tags, more than {MOST_ASKED}; name more tags.")
        answers = await asyncio.gather(*(self._try(agent_id, text, context) for agent_id in others))
        return [{"agent_id": agent_id, "answer": said} for agent_id, said in zip(others, answers, strict=True)]

    async def _try(self, agent_id: str, text: str, context: ToolContext) -> str:
        try:
            return await self.ask(agent_id, text, context)
        except ToolFailed as error:
            return error.message

    async def _check(self, agent_id: str, context: ToolContext) -> None:
        await self._reachable(agent_id, context)
        if agent_id == context.agent_id or agent_id in context.chain:
            raise ToolFailed(f"Agent {agent_id} is waiting for your own answer; it cannot answer you now.")
        if len(context.chain) >= DEEPEST:
            raise ToolFailed(f"{DEEPEST} agents wait for each other already; answer without asking another one.")

    async def _reachable(self, agent_id: str, context: ToolContext) -> None:
        if context.hops >= FARTHEST:
            raise ToolFailed(f"{FARTHEST} messages between agents have set each other off; tell your user instead.")
        try:
            check_id("agent", agent_id, "other_agent_id")
            await context.store.read(lambda transaction: find_agent(transaction, agent_id))
        except (MalformedId, NotFound) as error:
            raise ToolFailed(error.message) from error

    def _request(self, agent_id: str, text: str, context: ToolContext) -> TurnRequest:
        return TurnRequest(
            agent_id=agent_id,
            conversation_id=agent_id,
            messages=[Message("user_message", {"content": text}, sender_id=context.agent_id)],
            max_steps=context.settings.max_steps,
            hops=context.hops + 1,
        )
