"""One model call of a turn: the prompt that fits, the pieces of the reply, and the whole of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from folkmoot.agents.compaction import CompactionSettings
from folkmoot.agents.context import Seen
from folkmoot.agents.context_state import Compaction, choose_leaving, make_room
from folkmoot.agents.context_window import clipped
from folkmoot.agents.events import CompactionBegun, TurnSink
from folkmoot.agents.replies import ReplyWriter
from folkmoot.agents.turn_state import TurnState
from folkmoot.conversations.conversations import Counted
from folkmoot.conversations.messages import Message
from folkmoot.errors import ContextOverflow
from folkmoot.models.prompt import Delta, Prompt, Reply
from folkmoot.store import clock


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One model call: what it was shown, what it answered, and under which ids that was streamed."""

    step_id: str
    seen: Seen
    reply: Reply
    writer: ReplyWriter
    duration: int
    counted: Counted
    prompt: Prompt


async def call_model(turn: TurnState, sink: TurnSink, step_id: str, incoming: Sequence[Message]) -> ModelCall:
    """Ask the model for one reply, the step `step_id`, and publish its pieces when they are wanted.

    When messages have to leave the context, that is published first, and then the summary of them. A provider that
    takes less than is known of it is asked again with less, down to the newest messages in short.
    """
    context_state = turn.context_state
    seen = await turn.services.store.read(turn.look)
    refused: tuple[int, ContextOverflow] | None = None
    while True:
        prompt = turn.prompt(seen, incoming)
        size = context_state.measure(prompt)
        if not context_state.fits(size):
            prompt = await _made_to_fit(turn, sink, prompt, seen, incoming, refused=refused is not None)
            size = context_state.measure(prompt)
        if refused is not None and size >= refused[0]:
            raise refused[1]
        turn.asked = prompt
        started, begun = clock.now(), False
        writer = ReplyWriter(
            sink.run_id,
            step_id,
            turn.awaited_now,
            parallel=turn.parallel,
            open_until_whole=turn.open_until_whole,
        )
        try:
            async with aclosing(_answer(turn, prompt)) as answer:
                async for part in answer:
                    begun = True
                    if isinstance(part, Reply):
                        for piece in writer.held_back(part, turn.waits):
                            sink.publish(piece)
                        counted = Counted(part.usage.prompt_tokens, size)
                        return ModelCall(step_id, seen, part, writer, clock.now() - started, counted, prompt)
                    if (written := writer.piece(part)) is not None:
                        sink.publish(written)
            raise AssertionError("a model's answer ends with the whole reply")
        except ContextOverflow as error:
            if begun:
                raise
            refused = size, error
            context_state.tighten(prompt)


async def _made_to_fit(
    turn: TurnState,
    sink: TurnSink,
    prompt: Prompt,
    seen: Seen,
    incoming: Sequence[Message],
    *,
    refused: bool,
) -> Prompt:
    """Let the oldest messages leave the context, and return the prompt that is left; with what is new in short if
    even that was refused.
    """
    context_state = turn.context_state
    trigger = "context_window_exceeded" if refused else "pre_step_context_check"
    settings = CompactionSettings.read(turn.agent.configuration.get("compaction_settings"))
    compaction = Compaction(turn.services, turn.agent, settings, trigger, sink)
    if leaving := choose_leaving(context_state, compaction, prompt, incoming):
        sink.publish(_begin_compaction(turn, sink.run_id, trigger, context_state.measure(prompt)))
        turn.usage += await make_room(context_state, compaction, prompt, leaving)
    prompt = turn.prompt(seen, incoming)
    if context_state.refused and not context_state.fits(context_state.measure(prompt)):
        prompt = clipped(prompt, context_state.room(prompt))
    return prompt


async def _answer(turn: TurnState, prompt: Prompt) -> AsyncGenerator[Delta | Reply, None]:
    """Yield the model's reply, with `request.stream` its pieces before."""
    models = turn.services.models
    if not turn.request.stream:
        yield await models.ask(turn.agent.model, prompt)
        return
    async with aclosing(models.stream(turn.agent.model, prompt)) as parts:
        async for part in parts:
            yield part


def _begin_compaction(turn: TurnState, run_id: str, trigger: str, size: int) -> CompactionBegun:
    context_state = turn.context_state
    data = {
        "trigger": trigger,
        "context_window": context_state.window,
        "context_tokens": context_state.scale.tokens(size),
        "messages_count": len(context_state.messages),
    }
    body = {"event_type": "compaction", "event_data": data}
    return CompactionBegun(Message("event_message", body, run_id=run_id))
