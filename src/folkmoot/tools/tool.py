"""What a tool is, and what it gets to work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from folkmoot.models.embeddings import EmbeddingClient
from folkmoot.models.prompt import Image, ToolSchema
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.settings import Settings
from folkmoot.store.engine import Store, Transaction
from folkmoot.tools.stored import StoredTool


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
class InnerCall:
    """A call that an agent's code made of one of the agent's tools, and what came of it."""

    name: str
    arguments: Mapping[str, Any]
    text: str
    failed: bool = False
    overtaken: bool = False
    """Whether it was to overwrite a block that others had changed since it was read."""


class OwnTools(Protocol):
    """The calling agent's tools, for code of the agent's that calls them in its turn."""

    @property
    def schemas(self) -> Sequence[ToolSchema]:
        """What can be called."""

    @property
    def made(self) -> Sequence[InnerCall]:
        """The calls that were run so far."""

    def afresh(self) -> OwnTools:
        """Return the same tools for another piece of code."""

    async def call(self, name: str, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        """Carry a call out as if the agent had made it, and return what came of it, as JSON has it.

        Raises:
            ToolFailed: it could not, or the agent may not make it now.
        """


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Who calls a tool, and what it may use.

    `transaction` is that of the step, for a tool that runs in it, and None for every other. `seen` tells which version
    of each block the step's model was shown. Outside of any turn there is no run, no step, and nobody who asked.
    """

    agent_id: str
    agent_name: str
    conversation_id: str
    store: Store
    settings: Settings
    environ: Mapping[str, str]
    messenger: Messenger
    embeddings: EmbeddingClient
    embedding: str | None = None
    """Handle of the agent's embedding model, for an archive that is made for it."""

    run_id: str = ""
    step_id: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    seen: Mapping[str, int] = field(default_factory=dict)
    transaction: Transaction | None = None
    sandbox: Sandbox | None = None
    chain: Sequence[str] = ()
    """The agents that wait for this turn's answer."""

    hops: int = 0
    """How many messages between agents have set each other off up to this turn."""

    edits_as_read: bool = False
    """Whether a block is only overwritten as the step's model was shown it, and not when others changed it since."""

    asked: Sequence[str] = ()
    """What the turn was asked: the texts of its messages."""

    asked_by: str | None = None
    """The agent whose messages those are; None for anybody else."""

    own_tools: OwnTools | None = None
    """What code may call; None for what code has called."""

    overtaken: int = 0
    """How many edits of this turn's steps before came to nothing because of that."""

    @property
    def step_transaction(self) -> Transaction:
        """The step's transaction, for a tool that is part of the step."""
        assert self.transaction is not None, "only a tool that is in_step has the step's transaction"
        return self.transaction


class Tool(Protocol):
    """A tool that agents can be given: how it is described, how it runs, and where it may run.

    A tool that is `in_step` only uses the step's transaction: its effect commits with the step that called it or not at
    all. Every other runs before, on its own, beside the other calls of the same reply.
    """

    @property
    def id(self) -> str:
        """`tool-<uuid4>`."""

    @property
    def name(self) -> str:
        """What a model calls it by."""

    @property
    def schema(self) -> ToolSchema:
        """What a model is told of it."""

    @property
    def tool_type(self) -> str:
        """The wire format's kind of tool."""

    @property
    def tags(self) -> Sequence[str]:
        """What it is listed under."""

    @property
    def in_step(self) -> bool:
        """Whether it is part of the step's transaction."""

    @property
    def ends_turn(self) -> bool:
        """Whether a call that succeeds is the agent's last word."""

    @property
    def asks_agents(self) -> bool:
        """Whether it waits for other agents' turns, which may take longer than a tool may."""

    @property
    def runs_code(self) -> bool:
        """Whether its calls go to the sandbox."""

    @property
    def runs_beside_others(self) -> bool:
        """Whether its calls run at the same time as others of the same reply, not one after the other."""

    @property
    def return_limit(self) -> int:
        """Characters of a return that a model is shown."""

    @property
    def stored(self) -> StoredTool | None:
        """Its row; None for what comes with the server."""

    async def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> ToolResult:
        """Carry a call out.

        Raises:
            ToolFailed: it could not; the error is written for the model.
        """


TEXT_ALONE: Any = object()


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call returned: text for the model, and what the tool printed, if it ran as a program."""

    text: str
    stdout: Sequence[str] | None = None
    stderr: Sequence[str] | None = None
    failed: bool = False
    length: int = 0
    """Characters of a text that was too long to come whole, of which `text` is the beginning."""

    pictures: Sequence[Image] = ()
    """What a model that sees is shown beside the text, which names them (`pictures.pictured`)."""

    value: Any = TEXT_ALONE
    """What was returned, as JSON has it; TEXT_ALONE where that is the text."""
