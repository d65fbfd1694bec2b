"""What a turn needs of the server it runs in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from folkmoot.agents.recent_contexts import RecentContexts
from folkmoot.jobs.kinds import JobKinds
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.prompt import Delta, Prompt, Reply
from folkmoot.sandbox.sandbox import Sandbox
from folkmoot.settings import Settings
from folkmoot.store.engine import Store
from folkmoot.store.sealing import Sealer
from folkmoot.tools.mcp.service import McpServers
from folkmoot.tools.registry import ToolRegistry


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
    job_kinds: JobKinds
    mcp: McpServers
    recent_contexts: RecentContexts = field(default_factory=RecentContexts)
