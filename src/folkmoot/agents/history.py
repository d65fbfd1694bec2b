"""What of a conversation is in context: the summary of what left, and the messages since, within the model's window.

So many messages are in context at most, however short they are, that a turn costs the same after a hundred thousand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from folkmoot.agents.agents import Agent, find_agent
from folkmoot.agents.compaction import (
    CompactionSettings,
    Extent,
    Summary,
    Task,
    choose_cut,
    summarise,
    units_of,
    words_of_request,
)
from folkmoot.agents.context import for_conversation, model_options, to_turns
from folkmoot.agents.context_window import (
    SHORTEST,
    Scale,
    limit_of,
    size_of,
    size_of_tools,
    size_of_turns,
    window_of,
)
from folkmoot.agents.journal import Journal
from folkmoot.agents.services import Services
from folkmoot.conversations.conversations import Conversation, Counted, find_conversation, move_context
from folkmoot.conversations.messages import Message, messages_in_context
from folkmoot.errors import BadRequest
from folkmoot.models.prompt import Prompt, Turn, Usage
from folkmoot.store.engine import Transaction

_SHARE_OF_SUMMARY = 5


@dataclass(slots=True)
class History:
    """A conversation's context while somebody works with it. `limit` is the tokens that a prompt may have."""

    conversation_id: str
    summary: Summary
    messages: list[Message]
    counted: Counted
    window: int
    limit: int
    most_messages: int
    turns: list[Turn] = field(default_factory=list)
    refused: bool = False
    """Whether a provider refused a prompt as too long; only then is what was said just now cut, not on an estimate."""

    tools_size: int | None = None
    """Size of the tools, which stay the same for a turn; measured when first needed."""

    @property
    def scale(self) -> Scale:
        """How many bytes make a token."""
        return Scale.of(self.counted)

    def shown(self, incoming: Sequence[Message] = ()) -> list[Turn]:
        """Return the context, and behind it what came in just now, as a model sees them."""
        return [*self.summary.to_turns(), *self.turns, *to_turns(incoming)]

    def add(self, stored: Sequence[Message], counted: Counted | None = None) -> None:
        """Take in messages that were stored at the conversation's end."""
        self.messages += stored
        self.turns += to_turns(stored)
        self.counted = counted or self.counted

    def fixed(self, prompt: Prompt) -> int:
        """Return the size of what no compaction makes smaller: the instructions, the tools and the memory."""
        if self.tools_size is None:
            self.tools_size = size_of_tools(prompt.tools)
        return size_of(prompt.instructions) + self.tools_size + size_of(prompt.memory)

    def measure(self, prompt: Prompt) -> int:
        """Return the prompt's size."""
        return self.fixed(prompt) + size_of_turns(prompt.turns)

    def fits(self, size: int) -> bool:
        """Tell whether the context is not too long, and the model will probably take a prompt of this size."""
        return len(self.messages) <= self.most_messages and self.scale.tokens(size) <= self.limit

    def room(self, prompt: Prompt) -> int:
        """Return the bytes that the prompt's turns may have."""
        return max(self.scale.size(self.limit) - self.fixed(prompt), 0)

    def tighten(self, prompt: Prompt) -> None:
        """Learn from a prompt that was too long for its model, whatever is known of its window."""
        self.limit = self.scale.tokens(self.fixed(prompt) + size_of_turns(prompt.turns) // 3)
        self.refused = True


async def read_history(
    transaction: Transaction, conversation: Conversation, agent: Agent, services: Services
) -> History:
    """Return the conversation's context; nothing before it is read."""
    stored = await messages_in_context(transaction, conversation.id, conversation.context_start)
    window = window_of(agent, services.context_window(agent.model))
    return History(
        conversation_id=conversation.id,
        summary=Summary.parse(conversation.context_summary),
        messages=stored,
        counted=conversation.counted,
        window=window,
        limit=limit_of(window, model_options(agent.configuration).max_output_tokens),
        most_messages=services.settings.context_messages,
        turns=to_turns(stored),
    )


@dataclass(frozen=True, slots=True)
class Compaction:
    """How room is made: for which agent, by which settings, and in which turn if there is one under way."""

    services: Services
    agent: Agent
    settings: CompactionSettings
    trigger: str
    run_id: str | None = None
    journal: Journal | None = None


@dataclass(frozen=True, slots=True)
class Leaving:
    """What leaves a context: the oldest messages and their size, and the bytes that the summary of them may have."""

    messages: Sequence[Message]
    size: int
    longest_summary: int
    with_request: bool
    """Whether what the turn under way was asked is among them."""


def choose_leaving(
    history: History, compaction: Compaction, prompt: Prompt, incoming: Sequence[Message] = ()
) -> Leaving | None:
    """Return what has to leave so that the prompt fits, or None when no message can leave."""
    settings, run_id = compaction.settings, compaction.run_id
    units = units_of(history.messages)
    room = history.room(prompt)
    longest = min(settings.longest or room, max(room // _SHARE_OF_SUMMARY, 2 * SHORTEST))
    total = sum(unit.size for unit in units)
    of_turn = (place for place, unit in enumerate(units) if run_id and unit.messages[0].run_id == run_id)
    current = next(of_turn, len(units))
    cut = choose_cut(
        units,
        Extent(total, history.most_messages).part(0.0 if settings.everything else settings.keep),
        Extent(max(room - longest - size_of_turns(to_turns(incoming)), 0), history.most_messages),
        current=current,
        spare_last=not incoming and not (settings.everything and run_id is None),
    )
    if cut == 0:
        return None
    messages = [message for unit in units[:cut] for message in unit.messages]
    return Leaving(messages, sum(unit.size for unit in units[:cut]), longest, run_id is not None and cut > current)


async def make_room(
    history: History, compaction: Compaction, prompt: Prompt, leaving: Leaving
) -> tuple[Message | None, Usage]:
    """Let the oldest messages leave the context, in the store too.

    Returns:
        The summary message that was stored, and what the summary took. None when another compaction came first.
    """
    run_id, journal = compaction.run_id, compaction.journal
    staying = history.messages[len(leaving.messages) :]
    task = Task(history.summary, leaving.messages, history.scale.size(history.limit) // 2, leaving.longest_summary)
    summary, usage = await summarise(compaction.services, compaction.agent, compaction.settings, task)
    if leaving.with_request and run_id is not None:
        summary = replace(summary, request=history.summary.request or words_of_request(leaving.messages, run_id))
    note = _note(history, compaction, summary, prompt, cut_size=leaving.size, staying=staying)

    async def store(transaction: Transaction) -> Message | None:
        stored = await move_context(transaction, history.conversation_id, leaving.messages[-1].sequence + 1, note)
        if stored is not None and journal is not None:
            await journal.record(transaction, [stored], None)
        return stored

    stored = await (journal or compaction.services.store).write(store)
    history.summary, history.messages, history.turns = summary, staying, to_turns(staying)
    return stored, usage


def _note(
    history: History,
    compaction: Compaction,
    summary: Summary,
    prompt: Prompt,
    *,
    cut_size: int,
    staying: Sequence[Message],
) -> Message:
    """Return the message that holds the summary and says what was done."""
    scale, before = history.scale, history.measure(prompt)
    grown = size_of_turns(summary.to_turns()) - size_of_turns(history.summary.to_turns())
    stats = {
        "trigger": compaction.trigger,
        "context_window": history.window,
        "context_tokens_before": scale.tokens(before),
        "context_tokens_after": scale.tokens(before - cut_size + grown),
        "messages_count_before": _shown_count(history),
        "messages_count_after": 2 + len(staying),
    }
    body = {"summary": summary.render(), "compaction_stats": stats}
    return Message("summary_message", body, run_id=compaction.run_id)


def _shown_count(history: History) -> int:
    """Return how many messages a model sees, the system message and the summary among them."""
    return 1 + bool(history.summary.render()) + len(history.messages)


async def compact_now(
    services: Services,
    conversation_id: str,
    prompt_of: Callable[[History], Prompt],
    settings: Mapping[str, Any] | None,
) -> tuple[str, int, int]:
    """Compact a conversation because somebody asked for it.

    Args:
        services: the store and the models.
        conversation_id: which conversation.
        prompt_of: returns the prompt as the conversation's next turn would begin with it.
        settings: the wire format's settings; the agent's own when None.

    Returns:
        The summary, and how many messages were in context before and are after.

    Raises:
        NotFound: there is no such conversation.
        BadRequest: no message can leave its context.
    """

    async def read(transaction: Transaction) -> tuple[Agent, History]:
        conversation = await find_conversation(transaction, conversation_id)
        agent = for_conversation(await find_agent(transaction, conversation.agent_id), conversation)
        return agent, await read_history(transaction, conversation, agent, services)

    agent, history = await services.store.read(read)
    before = _shown_count(history)
    wanted = CompactionSettings.read(settings or agent.configuration.get("compaction_settings"))
    compaction = Compaction(services, agent, wanted, "requested")
    prompt = prompt_of(history)
    leaving = choose_leaving(history, compaction, prompt)
    if leaving is None:
        raise BadRequest(
            f"Nothing can be compacted in conversation {conversation_id}: {len(history.messages)} messages are in its "
            "context. Say something first."
        )
    await make_room(history, compaction, prompt, leaving)
    return history.summary.render(), before, _shown_count(history)
