"""A tool that is a function of somebody's source code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from folkmoot.errors import InvalidInput, ToolFailed
from folkmoot.models.prompt import ToolSchema
from folkmoot.sandbox.calls import Network, check_limits
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.settings import Settings
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.sealing import Sealer
from folkmoot.tools.custom.agent_state import agent_shown, write_blocks
from folkmoot.tools.custom.configuration import SandboxConfig, SandboxVariable, find_settings, variables_of
from folkmoot.tools.custom.lending import Home, lent_key
from folkmoot.tools.custom.packages import Packages, packages_of, packages_of_tool
from folkmoot.tools.custom.running import Program, Returned, Surroundings, run_program
from folkmoot.tools.stored import RowTool, StoredTool
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
class CustomTool(RowTool):
    """A stored tool of the type `custom`; it runs in the sandbox."""

    sealer: Sealer

    @property
    def schema(self) -> ToolSchema:
        """What the model is told of it: it may leave out `agent_id`, which is then filled in."""
        told = super().schema
        required = told.parameters.get("required", ())
        if "agent_id" not in required:
            return told
        needed = [name for name in required if name != "agent_id"]
        return replace(told, parameters={**told.parameters, "required": needed})

    @property
    def runs_code(self) -> bool:
        """Always."""
        return True

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
        source = self.stored.source_code or ""
        described = self.schema.parameters.get("properties", {}) if self.stored.args_json_schema else {}

        async def look(transaction: Transaction) -> Mapping[str, Any] | None:
            return await agent_shown(transaction, context)

        shared = await read_shared(context.store, self.sealer)
        packages = packages_of_tool(self.stored, *shared.packages)
        program = Program(source, self.stored.function, self.name, described, packages, limits_of(self.stored))
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


def limits_of(stored: StoredTool) -> Mapping[str, float]:
    """Return what the calls of a tool alone may use: `limits` of its metadata.

    Raises:
        ToolFailed: they cannot be read, as those that came with an agent from elsewhere.
    """
    try:
        return check_limits((stored.metadata or {}).get("limits") or {})
    except InvalidInput as error:
        raise ToolFailed(f"{stored.name} could not be run: {error.message}") from error


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
    services: Running,
) -> Returned:
    """Run source that is no agent's tool.

    Args:
        program: the source, and which function of it.
        arguments: what to call it with.
        variables: environment variables, which come before those that all calls have.
        services: where it runs.

    Raises:
        ToolFailed: no code can be run here, or not now.
        InvalidInput: a package that all calls have cannot be read.
    """
    shared = await read_shared(services.store, services.sealer)
    if program.packages.language == "python":
        asked = {*program.packages.requirements, *packages_of("pip", shared.packages)}
        program = replace(program, packages=Packages("python", tuple(sorted(asked))))
    around = Surroundings({**shared.variables, **variables}, Network(hosts=tuple(shared.hosts)))
    return await run_program(program, arguments, around, services.sandbox, services.settings)
