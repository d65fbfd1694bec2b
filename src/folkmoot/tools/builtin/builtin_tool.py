"""A tool that is a function of this server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Concatenate, TypeAlias
from uuid import UUID

from folkmoot.models.prompt import ToolSchema
from folkmoot.tools.schema import tool_schema
from folkmoot.tools.tool import ToolContext, ToolResult

ToolFunction: TypeAlias = Callable[Concatenate[ToolContext, ...], Awaitable[str | ToolResult]]


@dataclass(frozen=True)
class BuiltinTool:
    """A tool whose name, description and parameters are those of a function of this server."""

    function: ToolFunction
    tool_type: str
    in_step: bool = False
    ends_turn: bool = False
    asks_agents: bool = False
    return_limit: int = 50_000
    runs_code: bool = False
    runs_beside_others: bool = True
    stored: None = None

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

    async def run(self, context: ToolContext, arguments: Mapping[str, Any]) -> ToolResult:
        """Call the function.

        Raises:
            ToolFailed: it could not do what was asked.
        """
        returned = await self.function(context, **arguments)
        return returned if isinstance(returned, ToolResult) else ToolResult(returned)
