"""Where tools are found: each source knows tools of one kind, the registry asks them in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from folkmoot.errors import BadRequest, NotFound
from folkmoot.store.engine import Transaction
from folkmoot.tools.builtin import BUILTIN_TOOLS, BUILTIN_TOOLS_BY_ID
from folkmoot.tools.stored import StoredTool, ToolEntry, list_entries, tools_of_ids, tools_of_names
from folkmoot.tools.tool import Tool


class ToolSource(Protocol):
    """Tools of one kind, of the organisation that the transaction is of."""

    async def by_ids(self, transaction: Transaction, tool_ids: Sequence[str]) -> Mapping[str, Tool]:
        """Return those of these tools that it knows, by identifier."""

    async def by_names(self, transaction: Transaction, names: Sequence[str]) -> Mapping[str, Tool]:
        """Return those of these tools that it knows, by name."""

    async def entries(self, transaction: Transaction) -> Sequence[ToolEntry]:
        """Return every tool that it knows, in the order of lists."""


class BuiltinTools:
    """The tools that come with Folkmoot."""

    async def by_ids(self, transaction: Transaction, tool_ids: Sequence[str]) -> Mapping[str, Tool]:
        """Return the built-in ones of these tools, by identifier."""
        return {tool_id: BUILTIN_TOOLS_BY_ID[tool_id] for tool_id in tool_ids if tool_id in BUILTIN_TOOLS_BY_ID}

    async def by_names(self, transaction: Transaction, names: Sequence[str]) -> Mapping[str, Tool]:
        """Return the built-in ones of these tools, by name."""
        return {name: BUILTIN_TOOLS[name] for name in names if name in BUILTIN_TOOLS}

    async def entries(self, transaction: Transaction) -> Sequence[ToolEntry]:
        """Return every built-in tool, by name."""
        return [
            ToolEntry(tool.id, name, tool.tool_type, tool.schema.description)
            for name, tool in sorted(BUILTIN_TOOLS.items())
        ]


class StoredTools:
    """The tools that stand in the database, each of a type."""

    def __init__(self, types: Mapping[str, Callable[[StoredTool], Tool]]) -> None:
        """Know the tools of these types; each makes the tool that a row is of."""
        self._types = types

    async def by_ids(self, transaction: Transaction, tool_ids: Sequence[str]) -> Mapping[str, Tool]:
        """Return the stored ones of these tools, by identifier."""
        return {stored.id: self._tool(stored) for stored in await tools_of_ids(transaction, tool_ids)}

    async def by_names(self, transaction: Transaction, names: Sequence[str]) -> Mapping[str, Tool]:
        """Return the stored ones of these tools, by name; of several one's own, then the oldest."""
        found = await tools_of_names(transaction, names)
        return {stored.name: self._tool(stored) for stored in reversed(found)}

    async def entries(self, transaction: Transaction) -> Sequence[ToolEntry]:
        """Return every stored tool, the newest first."""
        return await list_entries(transaction)

    def _tool(self, stored: StoredTool) -> Tool:
        return self._types[stored.tool_type](stored)


class ToolRegistry:
    """All tools that agents can be given."""

    def __init__(self, sources: Sequence[ToolSource]) -> None:
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
            there = ", ".join(sorted(entry.name for entry in await self.entries(transaction)))
            raise BadRequest(f"Tools not found by name: {set(unknown)}. Tools of this server: {there}.")
        return [found[name] for name in dict.fromkeys(names)]

    async def entries(self, transaction: Transaction) -> list[ToolEntry]:
        """Return every tool in the order of lists: what was made here first, the newest in front of all."""
        return [entry for source in reversed(self._sources) for entry in await source.entries(transaction)]
