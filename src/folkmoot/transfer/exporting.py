"""An agent and all that belongs to it, as the content of an agent file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from folkmoot import __version__
from folkmoot.agents.agents import Agent, find_agent
from folkmoot.agents.services import Services
from folkmoot.store.engine import Transaction
from folkmoot.store.migrations import HEAD
from folkmoot.transfer.agent_file import LEFT_OUT, VERSION
from folkmoot.transfer.message_rows import OWN_KEY


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What of an agent is wanted."""

    conversation_id: str | None = None
    """Whose messages are the agent's in the file; its main conversation's when None."""

    scrub_messages: bool = False
    """Whether nothing that was said is in the file."""

    skills: Sequence[Mapping[str, Any]] = ()
    """Put into the file as they are."""


@dataclass(slots=True)
class FileIds:
    """The identifiers that things have in a file: `block-0`, `block-1`, in the order in which they are first named."""

    _names: dict[str, str] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def of(self, kind: str, identifier: str) -> str:
        """Return the identifier in the file of what is called `identifier` here."""
        if identifier not in self._names:
            number = self._counts.get(kind, 0)
            self._counts[kind] = number + 1
            self._names[identifier] = f"{kind}-{number}"
        return self._names[identifier]

    def known(self, identifier: str | None) -> str | None:
        """Return the identifier in the file of something that is in it, any other as it is."""
        return self._names.get(identifier, identifier) if identifier is not None else None


@dataclass(slots=True)
class Exporting:
    """A file that is being filled, in one transaction."""

    transaction: Transaction
    services: Services
    agents: Sequence[Agent]
    options: ExportOptions
    content: dict[str, Any]
    ids: FileIds = field(default_factory=FileIds)

    def entry(self, agent: Agent) -> dict[str, Any]:
        """Return what stands of an agent in the file."""
        entry: dict[str, Any] = self.content["agents"][self.agents.index(agent)]
        return entry

    def leave_out(self, line: str) -> None:
        """Say in the file what has no place in it; whoever takes the file in is told."""
        self.own.setdefault(LEFT_OUT, []).append(line)

    @property
    def own(self) -> dict[str, Any]:
        """What only this server knows."""
        own: dict[str, Any] = self.content[OWN_KEY]
        return own


class ExportedKind(Protocol):
    """Things of one kind, as they stand in a file."""

    async def export(self, exporting: Exporting) -> None:
        """Add those that belong to the file's agents, and name them where they belong."""


async def export_agents(
    transaction: Transaction,
    agent_ids: Sequence[str],
    services: Services,
    options: ExportOptions,
    kinds: Sequence[ExportedKind],
) -> dict[str, Any]:
    """Return the content of a file with these agents; of each what belongs to it, its own fields are the caller's.

    Raises:
        NotFound: there is no such agent or conversation.
        InvalidInput: more was said than one file takes.
    """
    agents = [await find_agent(transaction, agent_id) for agent_id in agent_ids]
    sections = ("groups", "blocks", "files", "sources", "tools", "mcp_servers")
    content: dict[str, Any] = {
        "agents": [],
        **{section: [] for section in sections},
        "skills": list(options.skills),
        "metadata": {"revision_id": HEAD, "made_by": f"folkmoot {__version__}"},
        OWN_KEY: {"version": VERSION},
    }
    exporting = Exporting(transaction, services, agents, options, content)
    content["agents"] = [
        {"id": exporting.ids.of("agent", agent.id), "source_ids": [], "files_agents": [], "group_ids": [], OWN_KEY: {}}
        for agent in agents
    ]
    for kind in kinds:
        await kind.export(exporting)
    return content
