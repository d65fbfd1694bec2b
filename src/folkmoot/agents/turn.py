"""THE loop. A turn is one async generator: build the context, ask the model, run its tools, store, yield, repeat.

Every kind of agent and every way to call one goes through `take_turn`; whoever reads its events decides what becomes of
them. A step commits as a whole: the messages that started it, the model's reply, the tools' returns, the memory edits
among them, the usage and, in the last step, the end of the run. Until then nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from folkmoot.agents.agents import Agent, find_agent, tools_of
from folkmoot.agents.approvals import Decisions, called_since_asked, decide, denial, find_pending, refuse_while_pending
from folkmoot.agents.compaction import CompactionSettings
from folkmoot.agents.context import SeenBlock, build_prompt, for_conversation, read_blocks
from folkmoot.agents.context_window import clipped
from folkmoot.agents.events import Event, Piece, TurnEnd
from folkmoot.agents.history import Compaction, History, make_room, read_history
from folkmoot.agents.journal import Journal
from folkmoot.agents.replies import ReplyWriter, reply_messages
from folkmoot.agents.services import Services
from folkmoot.agents.steps import Step, store_step, trace_of
from folkmoot.agents.tool_calls import (
    Outcome,
    PlannedCall,
    not_run,
    plan_call,
    plan_calls,
    return_message,
    run_in_step,
    run_outside,
)
from folkmoot.agents.tool_rules import Called, ToolRules
from folkmoot.conversations.conversations import Counted, append_messages, find_conversation
from folkmoot.conversations.messages import Message
from folkmoot.errors import ContextOverflow
from folkmoot.identifiers import new_id
from folkmoot.models.prompt import Delta, Prompt, Reply, ToolSchema, Turn, Usage
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.tools.tool import Colleagues, Tool, ToolContext


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What starts a turn, and how it is taken."""

    agent_id: str
    conversation_id: str
    run_id: str
    messages: Sequence[Message]
    max_steps: int
    journal: Journal
    colleagues: Colleagues
    decisions: Decisions | None = None
    client_tools: Sequence[ToolSchema] = ()
    stream: bool = False
    chain: Sequence[str] = ()
    hops: int = 0
    model: str | None = None
    instructions: str | None = None


@dataclass(slots=True)
class _Turn:
    """A turn under way: what stays the same, and what has been said so far."""

    request: TurnRequest
    services: Services
    agent: Agent
    tools: Sequence[Tool]
    history: History
    rules: ToolRules
    called: list[Called] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    @property
    def schemas(self) -> list[ToolSchema]:
        """The tools as the model sees them; a client's own tool comes before one of the same name."""
        own = {schema.name for schema in self.request.client_tools}
        return [*(tool.schema for tool in self.tools if tool.name not in own), *self.request.client_tools]

    @property
    def names(self) -> list[str]:
        """The tools' names."""
        return [schema.name for schema in self.schemas]

    @property
    def awaited(self) -> set[str]:
        """Names of the tools whose calls wait for somebody."""
        own = {schema.name for schema in self.request.client_tools}
        return own | {tool.name for tool in self.tools if self.rules.needs_approval(tool.name)}

    @property
    def tool_choice(self) -> str | None:
        """What the rules make the model call next: a tool's name, `required`, or None when it is free."""
        if forced := self.rules.forced(self.names, self.called):
            return forced
        return "required" if self.rules.must_call(self.names, self.called) else None


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One model call: what it was shown, what it answered, and under which ids that was streamed."""

    step_id: str
    seen: Sequence[SeenBlock]
    reply: Reply
    writer: ReplyWriter
    duration: int
    counted: Counted
    prompt: Prompt


async def take_turn(request: TurnRequest, services: Services) -> AsyncGenerator[Event, None]:
    """Let the agent answer `request.messages`; the caller holds the conversation's turn.

    Yields:
        With `request.stream`, pieces of a reply while it is written; each message of a step once the step is stored;
        a summary when messages had to leave the context; and a `TurnEnd` last.

    Raises:
        NotFound: the agent, the conversation or the model does not exist.
        Conflict: a tool call waits for approval, and the request brings none.
        BadRequest: the request brings decisions that nothing waits for.
        ProviderError: the model's provider failed; the steps stored before stand.
        StoreError: the database failed; the steps stored before stand.
    """
    turn = await _prepare(request, services)
    if request.decisions is not None:
        settled, end = await _settle(turn, request.decisions)
        for message in settled:
            yield message
        if end is not None:
            yield end
            return
    elif pending := find_pending(turn.history.messages):
        raise refuse_while_pending(pending)
    incoming = request.messages
    for number in range(1, request.max_steps + 1):
        exchange: _Exchange | None = None
        async with aclosing(_ask(turn, incoming)) as answering:
            async for item in answering:
                if isinstance(item, _Exchange):
                    exchange = item
                else:
                    yield item
        assert exchange is not None
        added, end = await _take_step(turn, exchange, incoming, number)
        for message in added:
            yield message
        if end is not None:
            yield end
            return
        incoming = ()


async def _prepare(request: TurnRequest, services: Services) -> _Turn:
    async def read(transaction: Transaction) -> _Turn:
        agent = await find_agent(transaction, request.agent_id)
        conversation = await find_conversation(transaction, request.conversation_id)
        agent = for_conversation(agent, conversation)
        agent = replace(agent, model=request.model or agent.model)
        history = await read_history(transaction, conversation, agent, services)
        tools = await tools_of(transaction, agent.id)
        rules = ToolRules.read(agent.configuration.get("tool_rules") or ())
        return _Turn(request, services, agent, tools, history, rules)

    return await services.store.read(read)


async def _ask(turn: _Turn, incoming: Sequence[Message]) -> AsyncGenerator[Piece | Message | _Exchange, None]:
    """Ask the model for one reply: yield its pieces when they are wanted, then the whole exchange.

    A summary comes first when messages had to leave the context. A provider that takes less than is known of it is
    asked again with less, down to the newest messages in short.
    """
    request, conversation_id = turn.request, turn.request.conversation_id
    seen = await turn.services.store.read(lambda transaction: read_blocks(transaction, turn.agent.id, conversation_id))
    refused: tuple[int, ContextOverflow] | None = None
    while True:
        prompt, size, summary = await _fitting(turn, incoming, seen, overflown=refused is not None)
        if summary is not None:
            yield summary
        if refused is not None and size >= refused[0]:
            raise refused[1]
        step_id, started, begun = new_id("step"), clock.now(), False
        writer = ReplyWriter(request.run_id, step_id, turn.awaited)
        try:
            async with aclosing(_answer(turn, prompt)) as answer:
                async for part in answer:
                    begun = True
                    if isinstance(part, Reply):
                        counted = Counted(part.usage.prompt_tokens, size)
                        yield _Exchange(step_id, seen, part, writer, clock.now() - started, counted, prompt)
                    else:
                        yield writer.piece(part)
            return
        except ContextOverflow as error:
            if begun:
                raise
            refused = size, error
            turn.history.tighten(prompt)


async def _answer(turn: _Turn, prompt: Prompt) -> AsyncGenerator[Delta | Reply, None]:
    """Yield the model's reply, with `request.stream` its pieces before."""
    models = turn.services.models
    if not turn.request.stream:
        yield await models.ask(turn.agent.model, prompt)
        return
    async for part in models.stream(turn.agent.model, prompt):
        yield part


async def _fitting(
    turn: _Turn, incoming: Sequence[Message], seen: Sequence[SeenBlock], *, overflown: bool
) -> tuple[Prompt, int, Message | None]:
    """Return the prompt with what fits into the model's window, its size, and the summary of what had to leave."""
    request, history = turn.request, turn.history
    prompt = _prompt(turn, history.shown(incoming), seen)
    size = history.measure(prompt)
    if history.fits(size):
        return prompt, size, None
    settings = CompactionSettings.read(turn.agent.configuration.get("compaction_settings"))
    trigger = "context_window_exceeded" if overflown else "pre_step_context_check"
    compaction = Compaction(turn.services, turn.agent, settings, trigger, request.run_id, request.journal)
    summary, usage = await make_room(history, compaction, prompt, incoming)
    turn.usage += usage
    prompt = _prompt(turn, history.shown(incoming), seen)
    if history.refused and not history.fits(history.measure(prompt)):
        prompt = clipped(prompt, history.room(prompt))
    return prompt, history.measure(prompt), summary


def _prompt(turn: _Turn, turns: Sequence[Turn], seen: Sequence[SeenBlock]) -> Prompt:
    prompt = build_prompt(turn.agent, turn.request.instructions or turn.agent.system, turn.schemas, turns, seen)
    choice = turn.tool_choice
    return replace(prompt, options=replace(prompt.options, tool_choice=choice)) if choice else prompt


async def _take_step(
    turn: _Turn, exchange: _Exchange, incoming: Sequence[Message], number: int
) -> tuple[list[Message], TurnEnd | None]:
    """Run the reply's tools and store the step; return what it adds to the conversation, and the end in the last."""
    reply, request = exchange.reply, turn.request
    turn.usage += reply.usage
    planned = _plan(turn, reply)
    context = _tool_context(turn, exchange.step_id, exchange.seen)
    planned = await run_outside(planned, context)

    async def store(transaction: Transaction) -> tuple[list[Message], TurnEnd | None, list[Called]]:
        outcomes = await run_in_step(planned, replace(context, transaction=transaction))
        called = [*turn.called, *_called(planned, outcomes)]
        demand = "" if any(call.waits for call in planned) else _demand(turn, called, reply)
        reason = _stop_reason(turn, reply, planned, outcomes, called) if not demand else ""
        if not reason and number >= request.max_steps:
            reason = "max_steps"
        said = [replace(message, run_id=request.run_id, step_id=exchange.step_id) for message in incoming]
        answered = reply_messages(reply, planned, outcomes, exchange.writer)
        if demand and not reason:
            body = {"content": demand}
            answered.append(Message("system_message", body, run_id=request.run_id, step_id=exchange.step_id))
        new = [*said, *answered]
        stored = await append_messages(transaction, request.conversation_id, new, request.run_id, exchange.counted)
        await store_step(transaction, _step(turn, exchange, reason), exchange.seen)
        filled = reply.usage.prompt_tokens + reply.usage.completion_tokens
        end = TurnEnd(reason, turn.usage, number, filled) if reason else None
        await request.journal.record(transaction, stored[len(said) :], end)
        return stored, end, called

    stored, end, turn.called = await request.journal.write(store)
    turn.history.add(stored, exchange.counted)
    return stored[len(incoming) :], end


async def _settle(turn: _Turn, decisions: Decisions) -> tuple[list[Message], TurnEnd | None]:
    """Run what was approved and store what came of every open call; return that, and the end if the rules end it."""
    request = turn.request
    pending = find_pending(turn.history.messages)
    decided = decide(pending, decisions)
    assert pending is not None
    step_id = pending.request.step_id or new_id("step")
    known = {tool.name: tool for tool in turn.tools}
    planned = [
        plan_call(call, known)
        if decision.approve and decision.outcome is None
        else PlannedCall(call, outcome=decision.outcome or denial(decision))
        for call, decision in decided
    ]
    context = _tool_context(turn, step_id, ())
    planned = await run_outside(planned, context)

    async def store(transaction: Transaction) -> tuple[list[Message], TurnEnd | None]:
        outcomes = await run_in_step(planned, replace(context, transaction=transaction))
        returns = [
            return_message(call.call, outcome, request.run_id, step_id)
            for call, outcome in zip(planned, outcomes, strict=True)
            if outcome is not None
        ]
        answer = replace(decisions.message, run_id=request.run_id, step_id=step_id)
        stored = await append_messages(transaction, request.conversation_id, [answer, *returns], request.run_id)
        called = called_since_asked([*turn.history.messages, *stored])
        ends = _ended_by_tool(planned, outcomes) or turn.rules.ends_turn(called)
        end = TurnEnd("tool_rule") if ends and not turn.rules.missing_before_exit(turn.names, called) else None
        await request.journal.record(transaction, stored[1:], end)
        return stored, end

    stored, end = await request.journal.write(store)
    turn.history.add(stored)
    turn.called = called_since_asked(turn.history.messages)
    return stored[1:], end


def _tool_context(turn: _Turn, step_id: str, seen: Sequence[SeenBlock]) -> ToolContext:
    services = turn.services
    return ToolContext(
        agent_id=turn.agent.id,
        agent_name=turn.agent.name,
        conversation_id=turn.request.conversation_id,
        run_id=turn.request.run_id,
        step_id=step_id,
        store=services.store,
        settings=services.settings,
        environ=services.environ,
        variables=services.sealer.unseal(turn.agent.configuration.get("sealed_variables")),
        seen={block.id: block.version for block in seen},
        colleagues=turn.request.colleagues,
        chain=turn.request.chain,
        hops=turn.request.hops,
    )


def _step(turn: _Turn, exchange: _Exchange, reason: str) -> Step:
    return Step(
        id=exchange.step_id,
        run_id=turn.request.run_id,
        agent_id=turn.agent.id,
        model=turn.agent.model,
        usage=exchange.reply.usage,
        stop_reason=reason or None,
        finish_reason=exchange.reply.finish_reason,
        duration=exchange.duration,
        trace=trace_of(exchange.prompt, exchange.reply) if turn.services.settings.trace else None,
    )


def _plan(turn: _Turn, reply: Reply) -> list[PlannedCall]:
    """Find what each call runs; one that the agent's rules do not allow now gets told so."""
    parallel = turn.agent.parallel_tool_calls and not turn.rules.ordered
    planned = plan_calls(reply.tool_calls, turn.tools, turn.awaited, parallel=parallel)
    allowed = turn.rules.allowed(turn.names, turn.called)
    return [
        replace(call, tool=None, outcome=not_run(turn.rules.explain(call.call.name, turn.names, turn.called)))
        if call.outcome is None and call.call.name not in allowed
        else _with_prefilled(turn, call)
        for call in planned
    ]


def _with_prefilled(turn: _Turn, call: PlannedCall) -> PlannedCall:
    given = turn.rules.prefilled(call.call.name, turn.called)
    return replace(call, arguments={**(call.arguments or {}), **given}) if given and call.tool else call


def _called(planned: Sequence[PlannedCall], outcomes: Sequence[Outcome | None]) -> list[Called]:
    """Return the calls that were run, as the agent's rules see them."""
    return [
        Called(call.call.name, outcome.text, outcome.failed)
        for call, outcome in zip(planned, outcomes, strict=True)
        if outcome is not None and outcome.ran
    ]


def _demand(turn: _Turn, called: Sequence[Called], reply: Reply) -> str:
    """Return what the agent is told when its rules do not let it stop yet, or nothing."""
    ended = turn.rules.ends_turn(called)
    if reply.tool_calls and not ended:
        return ""
    if missing := turn.rules.missing_before_exit(turn.names, called):
        return f"Before you end your turn you have to call: {', '.join(missing)}."
    if not ended and turn.rules.must_call(turn.names, called):
        return f"You have to call a tool now: {', '.join(turn.rules.allowed(turn.names, called))}."
    return ""


def _stop_reason(
    turn: _Turn,
    reply: Reply,
    planned: Sequence[PlannedCall],
    outcomes: Sequence[Outcome | None],
    called: Sequence[Called],
) -> str:
    """Return why the turn ends with this step, or nothing when it goes on."""
    if not reply.tool_calls:
        return "max_tokens_exceeded" if reply.finish_reason == "length" else "end_turn"
    if any(call.waits for call in planned):
        return "requires_approval"
    return "tool_rule" if _ended_by_tool(planned, outcomes) or turn.rules.ends_turn(called) else ""


def _ended_by_tool(planned: Sequence[PlannedCall], outcomes: Sequence[Outcome | None]) -> bool:
    """Tell whether a tool was run that ends the turn, such as one that says the agent's last word."""
    return any(
        call.tool is not None and call.tool.ends_turn and outcome is not None and not outcome.failed
        for call, outcome in zip(planned, outcomes, strict=True)
    )
