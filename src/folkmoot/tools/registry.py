"""Where tools are found: each source knows tools of one kind, the registry asks them in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from folkmoot.errors import BadRequest, NotFound
from folkmoot.store.engine import Transaction
from folkmoot.tools.builtin import BUILTIN_TOOLS, BUILTIN_TOOLS_BY_ID
from folkmoot.tools.tool import Tool


class ToolSource(Protocol):
    """Tools of one kind, of the organisation that the transaction is of."""

    async def by_ids(self, transaction: Transaction, tool_ids: Sequence[str]) -> Mapping[str, Tool]:
        """Return those of these tools that it knows, by identifier."""

    async def by_names(self, transaction: Transaction, names: Sequence[str]) -> Mapping[str, Tool]:
        """Return those of these tools that it knows, by name."""

    async def all(self, transaction: Transaction) -> Sequence[Tool]:
        """Return every tool that it knows."""


class BuiltinTools:
    """The tools that come with Folkmoot."""

    async def by_ids(self, transaction: Transaction, tool_ids: Sequence[str]) -> Mapping[str, Tool]:
        """Return the built-in ones of these tools, by identifier."""
        return {tool_id: BUILTIN_TOOLS_BY_ID[tool_id] for tool_id in tool_ids if tool_id in BUILTIN_TOOLS_BY_ID}

    async def by_names(self, transaction: Transaction, names: Sequence[str]) -> Mapping[str, Tool]:
        """Return the built-in ones of these tools, by name."""
        return {name: BUILTIN_TOOLS[name] for name in names if name in BUILTIN_TOOLS}

    async def all(self, transaction: Transaction) -> Sequence[Tool]:
        """Return every built-in tool."""
        return list(BUILTIN_TOOLS.values())


class ToolRegistry:
    """All tools that agents can be given."""

    def __init__(self, sources: Sequence[ToolSource] = (BuiltinTools(),)) -> None:
        """Look in `sources`, whose earlier ones win."""
        self._sources = sources

    async def known(self, transaction: Transaction, tool_ids: Sequence[str]) -> Mapping[str, Tool]:
        """Return those of these tools that there are, by identifier."""
        found: dict[str, Tool] = {}
        for source in self._sources:
            missing = [tool_id for tool_id in tool_ids if tool_id not in found]
            if not missing:
                break
            found |= await source.by_ids(transaction, missing)
        return found

    async def find(self, transaction: Transaction, tool_ids: Sequence[str]) -> list[Tool]:
        """Return these tools, in their order, each once.

        Raises:
            NotFound: one of them does not exist.
        """
        found = await self.known(transaction, tool_ids)
        for tool_id in tool_ids:
            if tool_id not in found:
                raise NotFound(f"Tool with id {tool_id} not found")
        return [found[tool_id] for tool_id in dict.fromkeys(tool_ids)]

    async def named(self, transaction: Transaction, names: Sequence[str]) -> list[Tool]:
        """Return the tools of these names, in their order, each once.

        Raises:
            BadRequest: a name is not that of a tool.
        """
        found: dict[str, Tool] = {}
        for source in self._sources:
            found = {**await source.by_names(transaction, names), **found}
        unknown = [name for name in names if name not in found]
        if unknown:
            there = ", ".join(sorted(tool.name for tool in await self.all(transaction)))
            raise BadRequest(f"Tools not found by name: {set(unknown)}. Tools of this server: {there}.")
        return [found[name] for name in dict.fromkeys(names)]

    async def all(self, transaction: Transaction) -> list[Tool]:
        """Return every tool, by name; one that an earlier source has under the same name hides it."""
        found: dict[str, Tool] = {}
        for source in self._sources:
            found = {**{tool.name: tool for tool in await source.all(transaction)}, **found}
        return sorted(found.values(), key=lambda tool: tool.name)
