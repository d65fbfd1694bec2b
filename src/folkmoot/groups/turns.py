"""A turn of a group: some of its agents speak, one by one, each in a turn of the one loop and as a run of its own.

    round_robin   the members, in their order, `max_turns` times in all; each once when nothing is said
    supervisor    the manager, who may ask the members with a tool
    dynamic       the manager says who speaks next, until it ends the turn or `max_turns` have spoken

The turn ends with its last speaker; when one fails, is cancelled or waits for an approval; or when who asked goes away,
behind the one who speaks just then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from folkmoot.agents.agents import Agent
from folkmoot.agents.events import Event, TurnEnd, TurnFailed
from folkmoot.agents.listing import agents_of_ids
from folkmoot.agents.replies import words_of
from folkmoot.agents.turn_state import TurnRequest
from folkmoot.conversations.messages import Message
from folkmoot.errors import BadRequest, FolkmootError, ToolFailed
from folkmoot.groups.conversations import hear
from folkmoot.groups.groups import LAST_WORD, SLEEPTIME, Group, find_group
from folkmoot.groups.instructions import choosing, supervising
from folkmoot.memory.authors import Author
from folkmoot.models.prompt import Usage
from folkmoot.runs.service import RunService
from folkmoot.store.engine import Store, Transaction
from folkmoot.tools.builtin.builtin_tool import BuiltinTool
from folkmoot.tools.tool import Tool, ToolContext

SPEAKERS = 10
"""How many speak in a turn of a dynamic group, unless it says otherwise."""

TOOL_TYPE = "letta_multi_agent_core"


@dataclass(frozen=True, slots=True)
class Said:
    """Something that happens in a group's turn, and whose turn it is part of."""

    agent: Agent
    event: Event


class GroupTurn:
    """One turn of a group, on behalf of who began it."""

    def __init__(self, runs: RunService, store: Store, author: Author, group_id: str, request: TurnRequest) -> None:
        """Prepare a turn.

        Args:
            runs: what takes the speakers' turns.
            store: the database as the group's organisation sees it.
            author: for whom conversations are begun.
            group_id: which group.
            request: what is said, and how it is to be answered; whose it is, and where, is put in for each speaker.
        """
        self._runs = runs
        self._store = store
        self._author = author
        self._group_id = group_id
        self._request = request
        self._unsaid = list(request.messages)
        self._ends: list[TurnEnd] = []
        self._run_ids: list[str] = []

    async def open(self) -> None:
        """Read who is in the group; before this, nothing can be said.

        Raises:
            NotFound: there is no such group.
            BadRequest: nobody in it answers.
        """

        async def read(transaction: Transaction) -> tuple[Group, list[Agent]]:
            group = await find_group(transaction, self._group_id)
            return group, await agents_of_ids(transaction, group.everybody)

        self._group, everybody = await self._store.read(read)
        known = {agent.id: agent for agent in everybody}
        self._members = [known[agent_id] for agent_id in self._group.agent_ids if agent_id in known]
        self._manager = known.get(self._group.manager_agent_id or "")
        if self._group.manager_type in SLEEPTIME:
            raise BadRequest(
                f"The members of group {self._group_id} tend an agent's memory and answer nobody; talk to that agent: "
                f"POST /v1/agents/{self._group.manager_agent_id}/messages"
            )
        if not self._members:
            raise BadRequest(f"agent_ids: group {self._group_id} has no members who could answer. Add some.")

    async def take(self, *, streamed: bool) -> AsyncGenerator[Said, None]:
        """Yield what happens, with the end of the whole turn as the last event.

        Args:
            streamed: whether a speaker's failure is an event; else it is raised, as that of an agent's turn is.
        """
        speaking = {"round_robin": self._in_order, "supervisor": self._led}.get(self._group.manager_type, self._chosen)
        last: Said | None = None
        async with aclosing(speaking(streamed=streamed)) as events:
            async for said in events:
                if isinstance(said.event, TurnFailed):
                    yield said
                    return
                if isinstance(said.event, TurnEnd):
                    self._ends.append(said.event)
                    last = said
                    if said.event.stop_reason in ("requires_approval", "cancelled"):
                        break
                else:
                    yield said
        assert last is not None, "there is a member, or a manager"
        yield replace(last, event=self._end())

    # -- who speaks ------------------------------------------------------------------------------------------

    async def _in_order(self, *, streamed: bool) -> AsyncGenerator[Said, None]:
        for turn in range(self._group.max_turns or len(self._members)):
            async for said in self._speak(self._members[turn % len(self._members)], streamed=streamed):
                yield said

    async def _led(self, *, streamed: bool) -> AsyncGenerator[Said, None]:
        assert self._manager is not None
        words = supervising(self._group.description, [agent.name for agent in self._members])
        tool = BuiltinTool(self._asking(), TOOL_TYPE, asks_agents=True)
        async for said in self._speak(self._manager, words, [tool], streamed=streamed):
            yield said

    async def _chosen(self, *, streamed: bool) -> AsyncGenerator[Said, None]:
        assert self._manager is not None
        token = self._group.termination_token or LAST_WORD
        words = choosing(self._group.description, [agent.name for agent in self._members], token)
        for _ in range(self._group.max_turns or SPEAKERS):
            chosen: list[Agent] = []
            tool = BuiltinTool(self._choosing(chosen), TOOL_TYPE, in_step=True, ends_turn=True)
            async for said in self._speak(self._manager, words, [tool], streamed=streamed):
                yield said
                if isinstance(said.event, Message) and token in words_of(said.event):
                    return
            if not chosen:  # it spoke itself, and that was the last word
                return
            async for said in self._speak(chosen[-1], streamed=streamed):
                yield said

    # -- one who speaks --------------------------------------------------------------------------------------

    async def _speak(
        self, agent: Agent, words: str = "", tools: Sequence[Tool] = (), *, streamed: bool
    ) -> AsyncGenerator[Said, None]:
        """Yield an agent's turn in its conversation of the group."""
        request = await self._request_for(agent, words, tools)
        if not streamed:
            answer = await self._runs.answer(request)
            self._run_ids.append(answer.run.id)
            for message in answer.messages:
                yield Said(agent, message)
            yield Said(agent, answer.end)
        else:
            run = await self._runs.start(request)
            self._run_ids.append(run.id)
            async with aclosing(self._runs.follow(run.id)) as events:
                async for _, event in events:
                    yield Said(agent, event)
        self._unsaid = []

    async def _request_for(
        self, agent: Agent, words: str, tools: Sequence[Tool], messages: Sequence[Message] | None = None
    ) -> TurnRequest:
        said = self._unsaid if messages is None else []
        heard = await self._store.write(lambda each: hear(each, self._group_id, agent.id, self._author))
        about = {"group_id": self._group_id, "said": [message.id for message in said], "heard_to": heard.to}
        metadata = {**self._request.details.get("metadata", {}), "group_id": self._group_id}
        told = [*heard.messages, *said, *(messages or ())]
        # A manager who is asked again, and has heard nothing new, still has to be told what it is to do.
        lead = [Message("system_message", {"content": words})] if words else []
        return replace(
            self._request,
            agent_id=agent.id,
            conversation_id=heard.conversation_id,
            messages=[*told, *lead] if told or lead else [Message("user_message", {"content": "(It is your turn.)"})],
            tools=tools,
            details={**self._request.details, "metadata": metadata, "group": about},
        )

    def _asking(self) -> Any:
        async def ask_members(context: ToolContext, message: str, names: list[str]) -> str:
            """Ask members of the group, and wait for their answers.

            Args:
                message: What to ask. Say what it is about: they have heard what was said in the group before, not now.
                names: Names of the members to ask; an empty list asks all of them.
            """
            asked = [agent for agent in self._members if not names or agent.name in names]
            if not asked:
                known = ", ".join(repr(agent.name) for agent in self._members)
                raise ToolFailed(f"names: none of them is a member. The members: {known}.")
            answers = await asyncio.gather(*(self._ask(agent, message, context) for agent in asked))
            return "\n\n".join(f"{agent.name}: {said}" for agent, said in zip(asked, answers, strict=True))

        return ask_members

    async def _ask(self, agent: Agent, text: str, context: ToolContext) -> str:
        question = Message("user_message", {"content": text}, name=context.agent_name, sender_id=context.agent_id)
        request = await self._request_for(agent, "", (), [question])
        asked = replace(
            request,
            chain=(*context.chain, context.agent_id),
            asked_by=context.conversation_id,
            hops=context.hops + 1,
            stream=False,
        )
        try:
            answer = await self._runs.answer(asked)
        except FolkmootError as error:
            return f"(could not answer: {error.message})"
        self._run_ids.append(answer.run.id)
        return answer.words or f"(said nothing; the turn ended with {answer.end.stop_reason})"

    def _choosing(self, chosen: list[Agent]) -> Any:
        async def choose_speaker(context: ToolContext, name: str) -> str:
            """Say which member of the group speaks next.

            Args:
                name: The member's name.
            """
            found = next((agent for agent in self._members if name in (agent.name, agent.id)), None)
            if found is None:
                known = ", ".join(repr(agent.name) for agent in self._members)
                raise ToolFailed(f"name: {name!r} is no member. The members: {known}.")
            chosen.append(found)
            return f"{found.name} speaks next."

        return choose_speaker

    def _end(self) -> TurnEnd:
        usage = sum((end.usage for end in self._ends), Usage())
        set_off = [run_id for end in self._ends for run_id in end.run_ids]
        last = self._ends[-1]
        steps = sum(end.step_count for end in self._ends)
        return TurnEnd(last.stop_reason, usage, steps, last.context_tokens, [*self._run_ids, *set_off])
