"""The types of the fixtures that are functions, and the providers that tests are run with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pytest
from letta_client.types import AgentState, BlockResponse

from support.server import ServerProcess

MODEL = "openai/gpt-4o-mini"
"""The handle under which the tests' agents reach the scripted model."""

MODELS = {"openai": MODEL, "anthropic": "anthropic/claude-haiku-4-5"}
"""The same by the API that it is asked by: the fixture `provider`, whose handle is the fixture `model`."""

each_provider = pytest.mark.parametrize(
    ("store", "provider"), [("postgres", "openai"), ("sqlite", "anthropic")], indirect=True
)
"""Run a test on both stores and with both APIs, one on each: a store knows nothing of who is asked."""

each_wire = pytest.mark.parametrize(
    ("store", "provider"), [("sqlite", "openai"), ("sqlite", "anthropic")], indirect=True
)
"""Run a test with OpenAI's API and with Anthropic's, for what is told to models and by them and no store sees."""

one_store = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""Run a test on one store, for what is refused before any is asked, or has nothing to do with it."""

thorough = pytest.mark.thorough
"""Run a case, which only tries more of the same, with `--thorough` alone."""

with_anthropic = pytest.mark.parametrize(("store", "provider"), [("sqlite", "anthropic")], indirect=True)
"""Run a test with Anthropic's API alone; its server knows OpenAI's models too."""


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
