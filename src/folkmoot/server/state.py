"""What the routes work with, kept on the application.

Every dependency of a route is `async def`, here and elsewhere: FastAPI sends any other to a thread, which costs more
than most requests do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from folkmoot.agents.services import Services
from folkmoot.errors import NotFound
from folkmoot.memory.authors import Author
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.listing import ModelDescription, described
from folkmoot.models.providers import PROVIDERS, Provider, resolve
from folkmoot.runs.service import RunService
from folkmoot.store.engine import Store


@dataclass(frozen=True, slots=True)
class ServerState:
    """The parts of a running server."""

    services: Services
    runs: RunService
    catalogue: Catalogue
    author: Author
    """Who is named as the author of what comes through the API."""

    @property
    def store(self) -> Store:
        """The database."""
        return self.services.store

    def describe_model(self, handle: str) -> ModelDescription:
        """Return what is known of a model without waiting, also when its provider is no longer configured."""
        try:
            resolved = resolve(handle, self.services.environ)
        except NotFound:
            name, _, model = handle.partition("/")
            known = next((provider for provider in PROVIDERS if provider.name == name), Provider(name, name, "openai"))
            return described(known, model, "", self.services.settings.context_window)
        self.catalogue.known_context_window(resolved)
        return self.catalogue.description(resolved)


async def state_of(request: Request) -> ServerState:
    """Return the state of the application that handles `request`."""
    state: ServerState = request.app.state.server
    return state


State = Annotated[ServerState, Depends(state_of)]
