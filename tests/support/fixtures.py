"""The types of the fixtures that are functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from letta_client.types import AgentState, BlockResponse

from support.server import ServerProcess

MODEL = "openai/gpt-4o-mini"
"""The handle under which the tests' agents reach the scripted model."""


class StartServer(Protocol):
    """Starts a server of the test's own, stopped when the test ends."""

    def __call__(
        self, *, database: str | None = None, env: Mapping[str, str] | None = None, args: Sequence[str] = ()
    ) -> ServerProcess:
        """Start one over `database`, by default the test's `database_url`; again for a second process."""
        ...


class NewBlock(Protocol):
    """Makes a block on the shared server."""

    def __call__(self, **fields: Any) -> BlockResponse:
        """Make one; label and value are filled in where `fields` do not say them."""
        ...


class NewAgent(Protocol):
    """Makes an agent on the shared server."""

    def __call__(self, **fields: Any) -> AgentState:
        """Make one; name and model are filled in where `fields` do not say them."""
        ...
