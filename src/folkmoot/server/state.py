"""What the routes work with, kept on the application.

Every dependency of a route is `async def`, here and elsewhere: FastAPI sends any other to a thread, which costs more
than most requests do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from folkmoot.agents.services import Services
from folkmoot.memory.authors import Author
from folkmoot.runs.service import RunService
from folkmoot.store.engine import Store


@dataclass(frozen=True, slots=True)
class ServerState:
    """The parts of a running server."""

    services: Services
    runs: RunService
    author: Author
    """Who is named as the author of what comes through the API."""

    @property
    def store(self) -> Store:
        """The database."""
        return self.services.store


async def state_of(request: Request) -> ServerState:
    """Return the state of the application that handles `request`."""
    state: ServerState = request.app.state.server
    return state


State = Annotated[ServerState, Depends(state_of)]
