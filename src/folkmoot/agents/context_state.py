"""What of a conversation is in context: the summary of what left, and the messages since, within the model's window.

So many messages are in context at most, however short they are, that a turn costs the same after a hundred thousand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from folkmoot.agents.agents import Agent
from folkmoot.agents.archiving import keep_passages, passages_of
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
from folkmoot.agents.context import model_options, to_prompt_messages
from folkmoot.agents.context_window import (
    SHORTEST,
    Scale,
    limit_of,
    size_of,
    size_of_messages,
    size_of_tools,
    window_of,
)
from folkmoot.agents.events import Recorded, TurnSink
from folkmoot.agents.services import Services
from folkmoot.conversations.conversations import Conversation, Counted, move_context
from folkmoot.conversations.messages import Message
from folkmoot.models.prompt import Prompt, PromptMessage, Usage
from folkmoot.store.engine import Transaction

_SHARE_OF_SUMMARY = 5


@dataclass(slots=True)
class ContextState:
    """A conversation's context while somebody works with it. `limit` is the tokens that a prompt may have."""

    conversation_id: str
    summary: Summary
    messages: list[Message]
    counted: Counted
    window: int
    limit: int
    most_messages: int
    prompt_messages: list[PromptMessage] = field(default_factory=list)
    refused: bool = False
    """Whether a provider refused a prompt as too long; only then is what was said just now cut, not on an estimate."""

    tools_size: int | None = None
    """Size of the tools, which stay the same for a turn; measured when first needed."""

    @property
    def scale(self) -> Scale:
        """How many bytes make a token."""
        return Scale.of(self.counted)

    @property
    def shown_count(self) -> int:
        """How many messages a model sees, the system message and the summary among them."""
        return 1 + bool(self.summary.render()) + len(self.messages)

    def shown(self, incoming: Sequence[Message] = ()) -> list[PromptMessage]:
        """Return the context, and behind it what came in just now, as a model sees them."""
        return [*self.summary.to_prompt_messages(), *self.prompt_messages, *to_prompt_messages(incoming)]

    def add(self, stored: Sequence[Message], counted: Counted | None = None) -> None:
        """Take in messages that were stored at the conversation's end."""
        self.messages += stored
        self.prompt_messages += to_prompt_messages(stored)
        self.counted = counted or self.counted

    def take_over(self, summary: Summary, messages: list[Message]) -> None:
        """Go on with this summary, and only these messages behind it."""
        self.summary, self.messages, self.prompt_messages = summary, messages, to_prompt_messages(messages)

    def fixed(self, prompt: Prompt) -> int:
        """Return the size of what no compaction makes smaller: the instructions, the tools and the memory."""
        if self.tools_size is None:
            self.tools_size = size_of_tools(prompt.tools)
        return size_of(prompt.instructions) + self.tools_size + size_of(prompt.memory)

    def measure(self, prompt: Prompt) -> int:
        """Return the prompt's size."""
        return self.fixed(prompt) + size_of_messages(prompt.messages)

    def fits(self, size: int) -> bool:
        """Tell whether the context is not too long, and the model will probably take a prompt of this size."""
        return len(self.messages) <= self.most_messages and self.scale.tokens(size) <= self.limit

    def room(self, prompt: Prompt) -> int:
        """Return the bytes that the prompt's messages may have."""
        return max(self.scale.size(self.limit) - self.fixed(prompt), 0)

    def tighten(self, prompt: Prompt) -> None:
        """Learn from a prompt that was too long for its model, whatever is known of its window."""
        self.limit = self.scale.tokens(self.fixed(prompt) + size_of_messages(prompt.messages) // 3)
        self.refused = True


async def read_context_state(
    transaction: Transaction, conversation: Conversation, agent: Agent, services: Services
) -> ContextState:
    """Return the conversation's context; nothing before it is read."""
    stored, turns = await services.recent_contexts.read(transaction, conversation)
    window = window_of(agent, services.catalogue.window_of(agent.model))
    return ContextState(
        conversation_id=conversation.id,
        summary=Summary.parse(conversation.context_summary),
        messages=stored,
        counted=conversation.counted,
        window=window,
        limit=limit_of(window, model_options(agent.configuration).max_output_tokens),
        most_messages=services.settings.context_messages,
        prompt_messages=turns,
    )


@dataclass(frozen=True, slots=True)
class Compaction:
    """How room is made: for which agent, by which settings, and in which turn if there is one under way."""

    services: Services
    agent: Agent
    settings: CompactionSettings
    trigger: str
    sink: TurnSink | None = None

    @property
    def run_id(self) -> str | None:
        """The run of that turn."""
        return self.sink.run_id if self.sink is not None else None


@dataclass(frozen=True, slots=True)
class Leaving:
    """What leaves a context: the oldest messages and their size, and the bytes that the summary of them may have."""

    messages: Sequence[Message]
    size: int
    longest_summary: int
    with_request: bool
    """Whether what the turn under way was asked is among them."""


def choose_leaving(
    context_state: ContextState, compaction: Compaction, prompt: Prompt, incoming: Sequence[Message] = ()
) -> Leaving | None:
    """Return what has to leave so that the prompt fits, or None when no message can leave."""
    settings, run_id = compaction.settings, compaction.run_id
    units = units_of(context_state.messages)
    room = context_state.room(prompt)
    longest = min(settings.longest or room, max(room // _SHARE_OF_SUMMARY, 2 * SHORTEST))
    total = sum(unit.size for unit in units)
    of_turn = (place for place, unit in enumerate(units) if run_id and unit.messages[0].run_id == run_id)
    current = next(of_turn, len(units))
    left = max(room - longest - size_of_messages(to_prompt_messages(incoming)), 0)
    cut = choose_cut(
        units,
        Extent(min(total, left), context_state.most_messages).part(0.0 if settings.everything else settings.keep),
        Extent(left, context_state.most_messages),
        current=current,
        spare_last=not incoming and not (settings.everything and run_id is None),
    )
    if cut == 0:
        return None
    messages = [message for unit in units[:cut] for message in unit.messages]
    return Leaving(messages, sum(unit.size for unit in units[:cut]), longest, run_id is not None and cut > current)


async def make_room(context_state: ContextState, compaction: Compaction, prompt: Prompt, leaving: Leaving) -> Usage:
    """Let the oldest messages leave the context, in the store too, and return what the summary of them took."""
    run_id, sink = compaction.run_id, compaction.sink
    staying = context_state.messages[len(leaving.messages) :]
    longest_text = context_state.scale.size(context_state.limit) // 2
    task = Task(context_state.summary, leaving.messages, longest_text, leaving.longest_summary)
    summary, usage = await summarise(compaction.services, compaction.agent, compaction.settings, task)
    if leaving.with_request and run_id is not None:
        summary = replace(summary, request=context_state.summary.request or words_of_request(leaving.messages, run_id))
    note = _note(context_state, compaction, summary, prompt, cut_size=leaving.size, staying=staying)

    kept = await asyncio.to_thread(passages_of, leaving.messages) if compaction.settings.archive else []
    agent = compaction.agent
    embedding = compaction.services.embeddings.usable(agent.named_embedding)

    async def store(transaction: Transaction) -> Recorded[None]:
        stored = await move_context(transaction, context_state.conversation_id, leaving.messages[-1].sequence + 1, note)
        if stored is not None:
            await keep_passages(transaction, agent, embedding, kept, run_id)
        return Recorded(None, [stored] if stored is not None else [])  # none when another compaction came first

    await (sink.commit(store) if sink is not None else compaction.services.store.write(store))
    context_state.take_over(summary, staying)
    return usage


def _note(
    context_state: ContextState,
    compaction: Compaction,
    summary: Summary,
    prompt: Prompt,
    *,
    cut_size: int,
    staying: Sequence[Message],
) -> Message:
    """Return the message that holds the summary and says what was done."""
    scale, before = context_state.scale, context_state.measure(prompt)
    before_messages = context_state.summary.to_prompt_messages()
    grown = size_of_messages(summary.to_prompt_messages()) - size_of_messages(before_messages)
    stats = {
        "trigger": compaction.trigger,
        "context_window": context_state.window,
        "context_tokens_before": scale.tokens(before),
        "context_tokens_after": scale.tokens(before - cut_size + grown),
        "messages_count_before": context_state.shown_count,
        "messages_count_after": 2 + len(staying),
    }
    body = {"summary": summary.render(), "compaction_stats": stats}
    return Message("summary_message", body, run_id=compaction.run_id)
