"""What a turn needs of the server it runs in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from folkmoot.agents.agents import Agent
from folkmoot.agents.recent_contexts import RecentContexts
from folkmoot.agents.trace_keeping import TraceKeeping
from folkmoot.jobs.kinds import JobKinds
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.directory import Directory
from folkmoot.models.embeddings import EmbeddingClient
from folkmoot.models.prompt import Delta, Prompt, Reply
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.settings import Settings
from folkmoot.store.engine import Store
from folkmoot.store.sealing import Sealer
from folkmoot.tools.mcp.service import McpServers
from folkmoot.tools.registry import ToolRegistry
from folkmoot.tools.tool import Messenger, ToolContext


class Models(Protocol):
    """One way to ask any model; `models.requests.ModelClient` is the one that does."""

    async def ask(self, handle: str, prompt: Prompt) -> Reply:
        """Return the model's answer.

        Raises:
            ProviderError: the provider failed.
            NotFound: the handle names no configured provider.
        """

    def stream(self, handle: str, prompt: Prompt) -> AsyncGenerator[Delta | Reply, None]:
        """Yield the model's answer as it is written, and whole at the end; raises what `ask` raises."""

    def of(self, organization_id: str | None) -> Models:
        """Return the same with an organisation's models."""

    async def preview(self, handle: str, prompt: Prompt) -> Any:
        """Return the provider's request as it would be sent, as JSON values; raises what `ask` raises."""


@dataclass(frozen=True, slots=True)
class Services:
    """What rooms work with: an organisation's store, and the models, tools and settings of this process."""

    store: Store
    models: Models
    settings: Settings
    environ: Mapping[str, str]
    sealer: Sealer
    catalogue: Catalogue
    tools: ToolRegistry
    sandbox: Sandbox
    embeddings: EmbeddingClient
    job_kinds: JobKinds
    mcp: McpServers
    directory: Directory
    traces: TraceKeeping
    recent_contexts: RecentContexts = field(default_factory=RecentContexts)

    def of(self, organization_id: str) -> Services:
        """Return what an organisation's rooms work with: its rows, and its models."""
        return replace(
            self,
            store=self.store.of(organization_id),
            models=self.models.of(organization_id),
            catalogue=self.catalogue.of(organization_id),
            embeddings=self.embeddings.of(organization_id),
        )

    def tool_context(self, agent: Agent, messenger: Messenger, conversation_id: str) -> ToolContext:
        """Return what an agent's tools may use in a conversation, outside of any run and step.

        Args:
            agent: who calls them.
            messenger: the other agents.
            conversation_id: in which conversation.
        """
        return ToolContext(
            agent_id=agent.id,
            agent_name=agent.name,
            conversation_id=conversation_id,
            store=self.store,
            settings=self.settings,
            environ=self.environ,
            variables=self.sealer.unseal(agent.configuration.get("sealed_variables")),
            messenger=messenger,
            embeddings=self.embeddings,
            embedding=self.embeddings.usable(agent.named_embedding),
            sandbox=self.sandbox,
        )
