"""A tool that is a function of somebody's source code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from folkmoot.errors import ToolFailed
from folkmoot.models.prompt import ToolSchema
from folkmoot.sandbox.calls import Network
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.settings import Settings
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.sealing import Sealer
from folkmoot.tools.custom.agent_state import agent_shown, write_blocks
from folkmoot.tools.custom.configuration import SandboxConfig, SandboxVariable, find_settings, variables_of
from folkmoot.tools.custom.lending import Home, lent_key
from folkmoot.tools.custom.packages import packages_of
from folkmoot.tools.custom.running import Program, Returned, Surroundings, run_program
from folkmoot.tools.stored import StoredTool
from folkmoot.tools.tool import ToolContext, ToolResult


class Running(Protocol):
    """What running source needs of the server."""

    @property
    def store(self) -> Store:
        """Where the organisation's variables are."""

    @property
    def sealer(self) -> Sealer:
        """What they are sealed with."""

    @property
    def sandbox(self) -> Sandbox:
        """Where it runs."""

    @property
    def settings(self) -> Settings:
        """How long it may."""


@dataclass(frozen=True)
class CustomTool:
    """A stored tool of the type `custom`; it runs in the sandbox."""

    stored: StoredTool
    sealer: Sealer
    in_step: bool = False
    ends_turn: bool = False
    asks_agents: bool = False

    @property
    def id(self) -> str:
        """The row's identifier."""
        return self.stored.id

    @property
    def name(self) -> str:
        """The row's name."""
        return self.stored.name

    @property
    def schema(self) -> ToolSchema:
        """What the model is told of it."""
        return self.stored.schema

    @property
    def tool_type(self) -> str:
        """`custom`."""
        return self.stored.tool_type

    @property
    def tags(self) -> Sequence[str]:
        """The row's tags."""
        return self.stored.tags

    @property
    def runs_beside_others(self) -> bool:
        """Only where its maker allows it."""
        return self.stored.enable_parallel_execution

    @property
    def return_limit(self) -> int:
        """The row's limit."""
        return self.stored.return_char_limit

    @property
    def _hosts(self) -> Sequence[str]:
        """The hosts that the tool alone may reach: `allowed_hosts` of its metadata."""
        return (self.stored.metadata or {}).get("allowed_hosts") or ()

    async def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> ToolResult:
        """Call the function for a turn.

        Raises:
            ToolFailed: no code can be run here, or not now.
        """
        returned = await self.call(context, arguments)
        return ToolResult(
            returned.text,
            stdout=returned.stdout,
            stderr=returned.stderr,
            failed=returned.error is not None,
            length=returned.length,
            pictures=returned.pictures,
            value=returned.value,
        )

    async def call(self, context: ToolContext, arguments: Mapping[str, Any]) -> Returned:
        """Call the function, and write what it changed of the agent's memory.

        Raises:
            ToolFailed: no code can be run here, or not now; or the agent may not change its memory so.
        """
        if context.sandbox is None:
            raise ToolFailed(f"{self.name} could not be run: there is no sandbox.")
        if self.stored.source_type != "python":
            raise ToolFailed(f"{self.name} could not be run: it is written in {self.stored.source_type}.")
        source = self.stored.source_code or ""
        described = self.schema.parameters.get("properties", {}) if self.stored.args_json_schema else {}

        async def look(transaction: Transaction) -> Mapping[str, Any] | None:
            return await agent_shown(transaction, context)

        shared = await read_shared(context.store, self.sealer)
        packages = packages_of("pip", shared.packages, self.stored.pip_requirements)
        program = Program(source, self.stored.function, self.name, described, packages)
        home = Home.of(context.settings)
        reached = home.address if home.knows_code or context.settings.api_key is not None else None
        async with lent_key(context) as key:
            around = Surroundings(
                variables={
                    "LETTA_API_KEY": key,
                    "LETTA_BASE_URL": home.url,
                    **shared.variables,
                    **context.variables,
                    "LETTA_AGENT_ID": context.agent_id,
                    "LETTA_TOOL_ID": self.id,
                },
                network=Network(hosts=(*shared.hosts, *self._hosts), server=reached),
                agent=await context.store.read(look) if "agent_state" in source else None,
                agent_id=context.agent_id,
            )
            returned = await run_program(program, arguments, around, context.sandbox, context.settings)
        if not returned.blocks:
            return returned
        said = await write_blocks(context, returned.blocks)
        return returned if not said else replace(returned, stderr=[*returned.stderr, *said])


@dataclass(frozen=True, slots=True)
class Shared:
    """What every call of an organisation's own tools has."""

    variables: Mapping[str, str]
    hosts: Sequence[str]
    packages: Sequence[Mapping[str, Any]]


async def read_shared(store: Store, sealer: Sealer) -> Shared:
    """Return what every call of the organisation's own tools has.

    Raises:
        StoreUnavailable: variables were sealed with another key.
    """

    async def read(transaction: Transaction) -> tuple[SandboxConfig | None, list[SandboxVariable]]:
        return await find_settings(transaction), await variables_of(transaction)

    settings, variables = await store.read(read)
    config = settings.config if settings is not None else {}
    return Shared(
        variables={variable.name: variable.value(sealer) for variable in variables},
        hosts=config.get("allowed_hosts") or (),
        packages=config.get("pip_requirements") or (),
    )


async def run_source(
    program: Program,
    arguments: Mapping[str, Any],
    variables: Mapping[str, str],
    requirements: Sequence[Mapping[str, Any]] | None,
    services: Running,
) -> Returned:
    """Run source that is no agent's tool.

    Args:
        program: the source, and which function of it.
        arguments: what to call it with.
        variables: environment variables, which come before those that all calls have.
        requirements: packages that it asks for.
        services: where it runs.

    Raises:
        ToolFailed: no code can be run here, or not now.
        InvalidInput: a package cannot be read.
    """
    shared = await read_shared(services.store, services.sealer)
    program = replace(program, packages=packages_of("pip", shared.packages, requirements))
    around = Surroundings({**shared.variables, **variables}, Network(hosts=tuple(shared.hosts)))
    return await run_program(program, arguments, around, services.sandbox, services.settings)
