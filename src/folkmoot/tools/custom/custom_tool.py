"""A tool that is a function of somebody's source code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from folkmoot.errors import ToolFailed
from folkmoot.models.prompt import ToolSchema
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.sealing import Sealer
from folkmoot.tools.custom.agent_state import agent_shown, write_blocks
from folkmoot.tools.custom.configuration import variables_of
from folkmoot.tools.custom.running import Program, Returned, Surroundings, run_program
from folkmoot.tools.stored import StoredTool
from folkmoot.tools.tool import ToolContext, ToolResult


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
        program = Program(source, self.stored.function, self.name, self.stored.args_json_schema or {})

        async def look(transaction: Transaction) -> Mapping[str, Any] | None:
            return await agent_shown(transaction, context)

        around = Surroundings(
            variables={
                **await shared_variables(context.store, self.sealer),
                **context.variables,
                "LETTA_AGENT_ID": context.agent_id,
                "LETTA_TOOL_ID": self.id,
            },
            agent=await context.store.read(look) if "agent_state" in source else None,
            agent_id=context.agent_id,
        )
        returned = await run_program(program, arguments, around, context.sandbox, context.settings)
        if not returned.blocks:
            return returned
        said = await write_blocks(context, returned.blocks)
        return returned if not said else replace(returned, stderr=[*returned.stderr, *said])


async def shared_variables(store: Store, sealer: Sealer) -> dict[str, str]:
    """Return the variables that every call of the organisation's own tools has.

    Raises:
        StoreUnavailable: they were sealed with another key.
    """
    return {variable.name: variable.value(sealer) for variable in await store.read(variables_of)}
