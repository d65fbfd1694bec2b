"""What a tool is, and what it gets to work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Concatenate, Protocol, TypeAlias
from uuid import UUID

from folkmoot.models.prompt import ToolSchema
from folkmoot.settings import Settings
from folkmoot.store.engine import Store, Transaction
from folkmoot.tools.schema import tool_schema


class Messenger(Protocol):
    """The other agents of this server, whom a tool can talk to; every method raises ToolFailed."""

    async def ask(self, agent_id: str, text: str, context: ToolContext) -> str:
        """Return the other agent's answer."""

    async def tell(self, agent_id: str, text: str, context: ToolContext) -> None:
        """Say something to the other agent, which answers in its own time."""

    async def ask_tagged(
        self, match_all: Sequence[str], match_some: Sequence[str], text: str, context: ToolContext
    ) -> list[dict[str, str]]:
        """Return the answers of every other agent with these tags."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Who calls a tool, and what it may use.

    `transaction` is that of the step, for a tool that runs in it, and None for every other. `seen` tells which version
    of each block the step's model was shown.
    """

    agent_id: str
    agent_name: str
    conversation_id: str
    run_id: str
    step_id: str
    store: Store
    settings: Settings
    environ: Mapping[str, str]
    messenger: Messenger
    variables: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    transaction: Transaction | None = None
    chain: Sequence[str] = ()
    """The agents that wait for this turn's answer."""

    hops: int = 0
    """How many messages between agents have set each other off up to this turn."""

    @property
    def step_transaction(self) -> Transaction:
        """The step's transaction, for a tool that is part of the step."""
        assert self.transaction is not None, "only a tool that is in_step has the step's transaction"
        return self.transaction


ToolFunction: TypeAlias = Callable[Concatenate[ToolContext, ...], Awaitable[str]]


@dataclass(frozen=True)
class Tool:
    """A tool that agents can be given.

    A tool that is `in_step` only uses the step's transaction: its effect commits with the step that called it or not at
    all. Every other runs before, on its own, beside the other calls of the same reply.
    """

    function: ToolFunction
    tool_type: str
    in_step: bool = False
    ends_turn: bool = False
    asks_agents: bool = False
    """Whether it waits for other agents' turns, which may take longer than a tool may."""

    return_limit: int = 50_000

    @property
    def name(self) -> str:
        """The function's own name."""
        return self.schema.name

    @cached_property
    def schema(self) -> ToolSchema:
        """What the model is told of the tool."""
        return tool_schema(self.function)

    @cached_property
    def id(self) -> str:
        """`tool-<uuid4>`, told from the name, so that every server gives the same."""
        digest = sha256(f"folkmoot {self.name}".encode()).digest()
        return f"tool-{UUID(bytes=digest[:16], version=4)}"

    @property
    def tags(self) -> Sequence[str]:
        """The wire format tags a built-in tool with its type."""
        return [self.tool_type]
