"""What code that calls its agent's tools finds inside the sandbox: a function for each. Its text goes with the call."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    def ask(question: Any) -> Any:
        """Return the server's answer; the sandbox puts it here."""


class ToolError(Exception):
    """A tool could not do what was asked, or may not be called; the reason is its text."""

    __module__ = "__main__"


def call_tool(name: str, /, **arguments: Any) -> Any:
    """Call a tool by its name, which may be one that no function can have.

    Raises:
        ToolError: it failed, or may not be called.
    """
    answer = ask({"name": name, "arguments": arguments})
    if "error" in answer:
        raise ToolError(answer["error"])
    return answer["value"]


def functions(tools: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return what the code finds.

    Args:
        tools: the names of the parameters of each tool, by its name.
    """
    first_wins = reversed(list(tools.items()))
    named = {re.sub(r"\W", "_", name): _function(name, parameters) for name, parameters in first_wins}
    return {**named, "call_tool": call_tool, "ToolError": ToolError}


def _function(name: str, parameters: Sequence[str]) -> Callable[..., Any]:
    def call(*given: Any, **arguments: Any) -> Any:
        if len(given) > len(parameters):
            raise TypeError(f"{name} takes {len(parameters)} arguments ({', '.join(parameters)}), not {len(given)}")
        placed = dict(zip(parameters, given, strict=False))
        if twice := placed.keys() & arguments:
            raise TypeError(f"{name} got {sorted(twice)[0]} twice")
        return call_tool(name, **placed, **arguments)

    return call
