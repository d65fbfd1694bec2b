"""A turn as it stands: what it was asked, what it has to go by, and what the agent's rules say of its next step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from folkmoot.agents.agents import Agent
from folkmoot.agents.approvals import Decisions
from folkmoot.agents.context import Seen, build_prompt, read_seen
from folkmoot.agents.context_state import ContextState
from folkmoot.agents.events import TurnSink
from folkmoot.agents.inner_calls import InnerCalls
from folkmoot.agents.services import Services
from folkmoot.agents.standing_approvals import approvals_of
from folkmoot.agents.tool_calls import Outcome, PlannedCall, inner_called, not_run, plan_calls
from folkmoot.agents.tool_rules import Called, ToolRules
from folkmoot.conversations.messages import Message, said_text
from folkmoot.errors import ToolFailed
from folkmoot.models.prompt import Prompt, Reply, ToolCall, ToolSchema, Usage
from folkmoot.store.engine import Transaction
from folkmoot.tools.builtin import RUN_CODE_WITH_TOOLS
from folkmoot.tools.builtin.proposed import arguments_of
from folkmoot.tools.tool import InnerCall, Tool, ToolContext

_YOURSELF = "Call it yourself instead."


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What somebody asks of an agent: messages or decisions, and how to answer them."""

    agent_id: str
    conversation_id: str
    messages: Sequence[Message] = ()
    max_steps: int = 1
    decisions: Decisions | None = None
    client_tools: Sequence[ToolSchema] = ()
    tools: Sequence[Tool] = ()
    """Tools for this turn only, which come before the agent's own of the same names."""

    model: str | None = None
    """A model for this turn only."""

    instructions: str | None = None
    """Instructions for this turn only."""

    response_format: Mapping[str, Any] | None = None
    """The form of the answer, as agents' settings have it, for this turn only."""

    tool_choice: str | None = None
    """What the model has to call in the first step, unless the agent's rules say something else: a tool's name, or
    `required` for any.
    """

    skills: str = ""
    """What the asking program's skills are, as the model reads them behind the instructions in this turn."""

    stream: bool = False
    """Whether pieces of the model's replies are wanted while it writes them."""

    background: bool = False
    chain: Sequence[str] = ()
    """The agents that wait for this answer, the first asker first."""

    hops: int = 0
    """How many messages between agents have set each other off up to this one."""

    asked_by: str | None = None
    """The conversation whose turn waits for this answer."""

    edits_as_read: bool = False
    """Whether blocks are only overwritten as the model was shown them: for work that others do not wait for."""

    details: Mapping[str, Any] = field(default_factory=dict)
    """What the run says of the request, as the wire format has it."""


@dataclass(slots=True)
class TurnState:
    """A turn under way: what stays the same, and what has been said so far."""

    request: TurnRequest
    services: Services
    agent: Agent
    tools: Sequence[Tool]
    context_state: ContextState
    rules: ToolRules
    called: list[Called] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    asked: Prompt | None = None
    """What the model was asked last."""

    steps_taken: int = 0

    begins_anew: bool = False
    """Whether what was said in turns before leaves the context, as the agent's `message_buffer_autoclear` says."""

    @property
    def schemas(self) -> list[ToolSchema]:
        """The tools as the model sees them; a client's own tool comes before one of the same name."""
        own = self._own
        return [*(tool.schema for tool in self.tools if tool.name not in own), *self.request.client_tools]

    @property
    def names(self) -> list[str]:
        """The tools' names."""
        return [schema.name for schema in self.schemas]

    @property
    def awaited(self) -> set[str]:
        """Names of the tools whose calls wait for somebody, unless they were approved beforehand."""
        return self._own | {tool.name for tool in self.tools if self.rules.needs_approval(tool.name)}

    @property
    def awaited_now(self) -> set[str]:
        """Those of them that the agent's rules allow in the next step."""
        return self.awaited.intersection(self.rules.allowed(self.names, self.called))

    @property
    def open_until_whole(self) -> set[str]:
        """Those of them whose calls wait or not by what their arguments say."""
        return {each.tool_name for each in approvals_of(self.agent)} - self._own

    @property
    def _own(self) -> set[str]:
        """Names of the client's own tools."""
        return {schema.name for schema in self.request.client_tools}

    @property
    def parallel(self) -> bool:
        """Whether a reply may have more than one call."""
        return self.agent.parallel_tool_calls and not self.rules.ordered

    @property
    def tool_choice(self) -> str | None:
        """What the model has to call next, by rules or request: a tool's name, `required`, or None when it is free."""
        if forced := self.rules.forced(self.names, self.called):
            return forced
        if self.rules.must_call(self.names, self.called):
            return "required"
        return None if self.steps_taken else self.request.tool_choice

    def waits(self, call: ToolCall, called: Sequence[Called] | None = None) -> bool:
        """Tell whether a call waits for somebody, with the arguments that it will be run with.

        Args:
            call: the call.
            called: what was called before it in this turn, when that is more than in the steps before.
        """
        if call.name not in self.awaited:
            return False
        arguments = arguments_of(call.arguments) if call.name in self.open_until_whole else None
        if arguments is None:
            return True
        whole = {**arguments, **self.rules.prefilled(call.name, self.called if called is None else called)}
        return not any(approval.covers(call.name, whole) for approval in approvals_of(self.agent))

    def plan(self, reply: Reply) -> list[PlannedCall]:
        """Find what each call runs; one that the agent's rules do not allow now gets told so."""
        clients = [schema.name for schema in self.request.client_tools]
        planned = plan_calls(reply.tool_calls, self.tools, self.waits, parallel=self.parallel, clients=clients)
        allowed = self.rules.allowed(self.names, self.called)
        return [
            replace(call, tool=None, outcome=not_run(self.rules.explain(call.call.name, self.names, self.called)))
            if call.outcome is None and call.call.name not in allowed
            else self._with_prefilled(call)
            for call in planned
        ]

    def check_inner(self, call: ToolCall, made: Sequence[InnerCall]) -> Mapping[str, Any]:
        """Return arguments that override those of a call that the agent's code makes, behind these others.

        Raises:
            ToolFailed: the agent may not make it now, or it waits for somebody, which code cannot.
        """
        called = [*self.called, Called(RUN_CODE_WITH_TOOLS, ""), *inner_called(made)]
        if call.name in self.names and call.name not in self.rules.allowed(self.names, called):
            raise ToolFailed(self.rules.explain(call.name, self.names, called))
        if call.name in self._own:
            raise ToolFailed(f"{call.name} was not run: the client runs it, and code cannot wait for that. {_YOURSELF}")
        if self.waits(call, called):
            raise ToolFailed(f"{call.name} was not run: it needs approval, and code cannot wait for that. {_YOURSELF}")
        return self.rules.prefilled(call.name, called)

    def demand(self, called: Sequence[Called], reply: Reply) -> str:
        """Return what the agent is told when its rules do not let it stop yet, or nothing."""
        ended = self.rules.ends_turn(called)
        if reply.tool_calls and not ended:
            return ""
        if missing := self.rules.missing_before_exit(self.names, called):
            return f"Before you end your turn you have to call: {', '.join(missing)}."
        if not ended and self.rules.must_call(self.names, called):
            return f"You have to call a tool now: {', '.join(self.rules.allowed(self.names, called))}."
        return ""

    def stop_reason(
        self,
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
        return "tool_rule" if self.ended_by_call(planned, outcomes, called) else ""

    def ended_by_call(
        self, planned: Sequence[PlannedCall], outcomes: Sequence[Outcome | None], called: Sequence[Called]
    ) -> bool:
        """Tell whether a call ends the turn: by the agent's rules, or as the agent's last word."""
        return self.rules.ends_turn(called) or any(
            call.tool is not None and call.tool.ends_turn and outcome is not None and not outcome.failed
            for call, outcome in zip(planned, outcomes, strict=True)
        )

    def prompt(self, seen: Seen, incoming: Sequence[Message] = ()) -> Prompt:
        """Return what the model is asked next: the context, what came in just now, and what it is shown beside it."""
        messages = self.context_state.shown(incoming)
        agent, request = self.agent, self.request
        instructions = request.instructions or agent.system
        if request.skills:
            instructions = f"{instructions}\n\n{request.skills}".lstrip()
        prompt = build_prompt(agent, request.conversation_id, instructions, self.schemas, messages, seen)
        options = replace(prompt.options, tool_choice=self.tool_choice)
        if request.response_format is not None:
            options = replace(options, response_format=request.response_format)
        return replace(prompt, options=options)

    async def look(self, transaction: Transaction) -> Seen:
        """Return what the agent is shown beside its messages, as it is now."""
        state = self.context_state
        return await read_seen(transaction, self.agent.id, self.request.conversation_id, state.window, state.counted)

    def tool_context(self, sink: TurnSink, step_id: str, seen: Seen) -> ToolContext:
        """Return what a step's tools may use; the model was shown `seen`."""
        request = self.request
        return replace(
            self.services.tool_context(self.agent, sink.messenger, request.conversation_id),
            run_id=sink.run_id,
            step_id=step_id,
            seen={block.id: block.version for block in seen.blocks},
            chain=request.chain,
            hops=request.hops,
            edits_as_read=request.edits_as_read,
            asked=[said_text(message) for message in request.messages],
            asked_by=next((message.sender_id for message in request.messages), None),
            own_tools=InnerCalls(self.tools, self.schemas, self.check_inner),
            overtaken=sum(each.overtaken for each in self.called),
        )

    def _with_prefilled(self, call: PlannedCall) -> PlannedCall:
        given = self.rules.prefilled(call.call.name, self.called)
        return replace(call, arguments={**(call.arguments or {}), **given}) if given and call.tool else call
