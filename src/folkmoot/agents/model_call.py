"""One model call of a turn: the prompt that fits, the pieces of the reply, and the whole of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from folkmoot.agents.compaction import CompactionSettings
from folkmoot.agents.context import SeenBlock, build_prompt, read_blocks
from folkmoot.agents.context_state import Compaction, choose_leaving, make_room
from folkmoot.agents.context_window import clipped
from folkmoot.agents.events import CompactionBegun, Piece
from folkmoot.agents.replies import ReplyWriter
from folkmoot.agents.turn_state import TurnState
from folkmoot.conversations.conversations import Counted
from folkmoot.conversations.messages import Message
from folkmoot.errors import ContextOverflow
from folkmoot.identifiers import new_id
from folkmoot.models.prompt import Delta, Prompt, Reply
from folkmoot.store import clock


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One model call: what it was shown, what it answered, and under which ids that was streamed."""

    step_id: str
    seen: Sequence[SeenBlock]
    reply: Reply
    writer: ReplyWriter
    duration: int
    counted: Counted
    prompt: Prompt


async def ask(
    turn: TurnState, incoming: Sequence[Message]
) -> AsyncGenerator[Piece | CompactionBegun | Message | ModelCall, None]:
    """Ask the model for one reply: yield its pieces when they are wanted, then the whole call.

    When messages have to leave the context, that is said first, and then the summary of them. A provider that takes
    less than is known of it is asked again with less, down to the newest messages in short.
    """
    request, context_state = turn.request, turn.context_state
    seen = await look(turn)
    refused: tuple[int, ContextOverflow] | None = None
    while True:
        prompt = prompt_of(turn, incoming, seen)
        size = context_state.measure(prompt)
        if not context_state.fits(size):
            compaction = _compaction(turn, "context_window_exceeded" if refused else "pre_step_context_check")
            if leaving := choose_leaving(context_state, compaction, prompt, incoming):
                yield _begin_compaction(turn, compaction.trigger, size)
                summary, usage = await make_room(context_state, compaction, prompt, leaving)
                turn.usage += usage
                if summary is not None:
                    yield summary
            prompt = prompt_of(turn, incoming, seen)
            if context_state.refused and not context_state.fits(context_state.measure(prompt)):
                prompt = clipped(prompt, context_state.room(prompt))
            size = context_state.measure(prompt)
        if refused is not None and size >= refused[0]:
            raise refused[1]
        step_id, started, begun = new_id("step"), clock.now(), False
        writer = ReplyWriter(request.run_id, step_id, turn.awaited_now, parallel=turn.parallel)
        try:
            async with aclosing(_answer(turn, prompt)) as answer:
                async for part in answer:
                    begun = True
                    if isinstance(part, Reply):
                        counted = Counted(part.usage.prompt_tokens, size)
                        yield ModelCall(step_id, seen, part, writer, clock.now() - started, counted, prompt)
                    else:
                        yield writer.piece(part)
            return
        except ContextOverflow as error:
            if begun:
                raise
            refused = size, error
            context_state.tighten(prompt)


async def _answer(turn: TurnState, prompt: Prompt) -> AsyncGenerator[Delta | Reply, None]:
    """Yield the model's reply, with `request.stream` its pieces before."""
    models = turn.services.models
    if not turn.request.stream:
        yield await models.ask(turn.agent.model, prompt)
        return
    async with aclosing(models.stream(turn.agent.model, prompt)) as parts:
        async for part in parts:
            yield part


def _compaction(turn: TurnState, trigger: str) -> Compaction:
    settings = CompactionSettings.read(turn.agent.configuration.get("compaction_settings"))
    return Compaction(turn.services, turn.agent, settings, trigger, turn.request.run_id, turn.request.journal)


def _begin_compaction(turn: TurnState, trigger: str, size: int) -> CompactionBegun:
    context_state = turn.context_state
    data = {
        "trigger": trigger,
        "context_window": context_state.window,
        "context_tokens": context_state.scale.tokens(size),
        "messages_count": len(context_state.messages),
    }
    body = {"event_type": "compaction", "event_data": data}
    return CompactionBegun(Message("event_message", body, run_id=turn.request.run_id))


async def look(turn: TurnState) -> list[SeenBlock]:
    """Return the agent's blocks as they are now."""
    agent_id, conversation_id = turn.agent.id, turn.request.conversation_id
    return await turn.services.store.read(lambda transaction: read_blocks(transaction, agent_id, conversation_id))


def prompt_of(turn: TurnState, incoming: Sequence[Message], seen: Sequence[SeenBlock]) -> Prompt:
    """Return what the model is asked next."""
    turns = turn.context_state.shown(incoming)
    prompt = build_prompt(turn.agent, turn.request.instructions or turn.agent.system, turn.schemas, turns, seen)
    choice = turn.tool_choice
    return replace(prompt, options=replace(prompt.options, tool_choice=choice)) if choice else prompt
