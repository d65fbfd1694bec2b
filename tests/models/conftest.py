from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from folkmoot.models.requests import ModelClient
from folkmoot.settings import Settings

KEY = "house-of-cards"


class Pauses:
    """Stands in for waiting, and remembers how long it would have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
async def client_for(pauses: Pauses) -> AsyncIterator[Callable[..., ModelClient]]:
    """Make clients whose every provider is at one address."""
    made: list[ModelClient] = []

    def make(address: str, also: Mapping[str, str] | None = None, **settings: Any) -> ModelClient:
        environ = {
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": f"{address}/v1",
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": address,
            "GEMINI_API_KEY": KEY,
            "GOOGLE_GEMINI_BASE_URL": address,
            "VLLM_BASE_URL": address,
            "MISTRAL_API_KEY": KEY,
            "MISTRAL_BASE_URL": f"{address}/v1",
            **(also or {}),
        }
        settings = {"model_timeout": 20, **settings}
        made.append(ModelClient(Settings(_env_file=None, **settings), environ, pause=pauses))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()
