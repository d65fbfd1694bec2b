"""The one preparation: of a turn, of a preview of it, of a look into a context, and of a compaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from folkmoot.agents.agents import find_agent, tools_of
from folkmoot.agents.approvals import find_pending
from folkmoot.agents.compaction import CompactionSettings, Summary
from folkmoot.agents.context import Seen, for_conversation
from folkmoot.agents.context_state import Compaction, choose_leaving, make_room, read_context_state
from folkmoot.agents.services import Services
from folkmoot.agents.tool_rules import ToolRules
from folkmoot.agents.turn_state import TurnRequest, TurnState
from folkmoot.conversations.conversations import find_conversation
from folkmoot.errors import BadRequest
from folkmoot.models.prompt import Usage
from folkmoot.store.engine import Transaction


async def prepare_turn(transaction: Transaction, request: TurnRequest, services: Services) -> TurnState:
    """Read what a turn has to go by.

    Raises:
        NotFound: the agent or the conversation does not exist.
    """
    agent = await find_agent(transaction, request.agent_id)
    conversation = await find_conversation(transaction, request.conversation_id)
    agent = for_conversation(agent, conversation)
    agent = replace(agent, model=request.model or agent.model)
    context_state = await read_context_state(transaction, conversation, agent, services)
    given = {tool.name for tool in request.tools}
    own = await tools_of(transaction, agent.id, services.tools)
    tools = [*(tool for tool in own if tool.name not in given), *request.tools]
    rules = ToolRules.read(agent.configuration.get("tool_rules") or ())
    turn = TurnState(request, services, agent, tools, context_state, rules)
    if agent.configuration.get("message_buffer_autoclear") and request.messages:
        turn.begins_anew = find_pending(context_state.messages) is None
    if turn.begins_anew:
        context_state.take_over(Summary(), [])
    return turn


async def prepare_conversation(transaction: Transaction, conversation_id: str, services: Services) -> TurnState:
    """Read what the conversation's next turn would have to go by.

    Raises:
        NotFound: there is no such conversation.
    """
    conversation = await find_conversation(transaction, conversation_id)
    return await prepare_turn(transaction, TurnRequest(conversation.agent_id, conversation_id), services)


async def system_text(transaction: Transaction, conversation_id: str, services: Services) -> str:
    """Return the instructions and the memory as the model reads them now; the memory comes after the messages.

    Raises:
        NotFound: there is no such conversation.
    """
    turn = await prepare_conversation(transaction, conversation_id, services)
    prompt = turn.prompt(await turn.look(transaction))
    return f"{prompt.instructions}\n\n{prompt.memory}".strip()


async def count_tokens(
    transaction: Transaction, request: TurnRequest, services: Services, *, begins: bool = False
) -> int:
    """Return about how many tokens the prompt would have with which a turn begins; nobody is asked and nothing stored.

    Args:
        transaction: where to read.
        request: the turn.
        services: the tools and the models.
        begins: whether the turn begins a conversation, with nothing of the one that is named.

    Raises:
        NotFound: the agent or the conversation does not exist.
    """
    turn = await prepare_turn(transaction, request, services)
    if begins:
        turn.context_state.take_over(Summary(), [])
    prompt = turn.prompt(await turn.look(transaction), request.messages)
    return turn.context_state.scale.tokens(turn.context_state.measure(prompt))


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction came to: the summary, how many messages are in context, and what writing it took."""

    summary: str
    before: int
    after: int
    usage: Usage


async def compact_now(services: Services, conversation_id: str, settings: Mapping[str, Any] | None) -> Compacted:
    """Compact a conversation because somebody asked for it.

    Args:
        services: the store and the models.
        conversation_id: which conversation.
        settings: the wire format's settings; the agent's own when None.

    Raises:
        NotFound: there is no such conversation.
        BadRequest: no message can leave its context.
    """

    async def read(transaction: Transaction) -> tuple[TurnState, Seen]:
        turn = await prepare_conversation(transaction, conversation_id, services)
        return turn, await turn.look(transaction)

    turn, seen = await services.store.read(read)
    context_state, before = turn.context_state, turn.context_state.shown_count
    wanted = CompactionSettings.read(settings or turn.agent.configuration.get("compaction_settings"))
    compaction = Compaction(services, turn.agent, wanted, "requested")
    prompt = turn.prompt(seen)
    leaving = choose_leaving(context_state, compaction, prompt)
    if leaving is None:
        raise BadRequest(
            f"Nothing can be compacted in conversation {conversation_id}: {len(context_state.messages)} messages are "
            "in its context. Say something first."
        )
    usage = await make_room(context_state, compaction, prompt, leaving)
    return Compacted(context_state.summary.render(), before, context_state.shown_count, usage)
