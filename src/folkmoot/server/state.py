"""What the routes work with: the parts of the server, as the principal of a request may use them.

Every dependency of a route is `async def`, here and elsewhere: FastAPI sends any other to a thread, which costs more
than most requests do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from folkmoot.access.principals import Errand, Principal
from folkmoot.agents.services import Services
from folkmoot.memory.attachments import Access
from folkmoot.memory.authors import Author
from folkmoot.runs.service import RunService
from folkmoot.runs.supervisor import RunSupervisor
from folkmoot.store.engine import Store
from folkmoot.tools.mcp.service import McpServers

LONGEST_CLIENT = 200
"""Characters of a program's own name that histories keep."""


@dataclass(frozen=True)
class ServerState:
    """The parts of a running server, bound to one principal and its organisation; each is made when it is used."""

    shared: Services
    """The parts as the whole process has them."""

    supervisor: RunSupervisor
    principal: Principal
    user_agent: str = ""

    @cached_property
    def store(self) -> Store:
        """The database as the principal's organisation sees it."""
        return self.shared.store.of(self.principal.organization_id)

    @cached_property
    def services(self) -> Services:
        """What rooms work with, for the principal's organisation."""
        return self.shared.of(self.principal.organization_id)

    @cached_property
    def runs(self) -> RunService:
        """What takes turns on the principal's behalf."""
        return RunService(self.services, self.supervisor, self.principal)

    @property
    def mcp(self) -> McpServers:
        """The servers of tools, and this process's connections to them."""
        return self.shared.mcp

    @property
    def author(self) -> Author:
        """Who is named as the author of what comes through the API."""
        if self.errand is not None:
            errand = self.errand
            return Author("agent", errand.agent_id, errand.agent_name, errand.run_id, errand.step_id)
        client = self.user_agent[:LONGEST_CLIENT] or None
        member = self.principal.grants is not None
        return Author("member" if member else "api", self.principal.id, self.principal.name, client=client)

    @property
    def errand(self) -> Errand | None:
        """On which errand of an agent the principal is; None for everybody but tools with a key that was lent."""
        return self.principal.grants.errand if self.principal.grants is not None else None

    @property
    def shows_secrets(self) -> bool:
        """Whether the principal is shown the values of agents' secrets: who may set them is, by no scoped key."""
        return self.principal.role != "reader" and not self.principal.is_scoped

    def access_to(self, block_id: str) -> Access | None:
        """Return what the principal may do with a block as a member; None where its role alone decides."""
        grants = self.principal.grants
        return grants.blocks.get(block_id, "read") if grants is not None else None

    @property
    def wants_embedding(self) -> bool:
        """Whether the client, TypeScript's of the 0.x line, takes no null for the embedding of an agent."""
        return self.user_agent.startswith("@letta-ai/letta-client/0.")

    def of(self, principal: Principal, user_agent: str) -> ServerState:
        """Return the same server's parts for another principal and its program."""
        return ServerState(self.shared, self.supervisor, principal, user_agent)


async def state_of(request: Request) -> ServerState:
    """Return the server's parts for who sends `request`."""
    server: ServerState = request.app.state.server
    principal: Principal = request.scope["principal"]
    return server.of(principal, request.headers.get("user-agent", ""))


async def store_of(request: Request) -> Store:
    """Return the database as the server itself sees it, for the open paths, where nobody need be known."""
    server: ServerState = request.app.state.server
    return server.store.everywhere


State = Annotated[ServerState, Depends(state_of)]
ServersStore = Annotated[Store, Depends(store_of)]
