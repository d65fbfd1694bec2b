"""The models, loaded when first asked: the providers' packages take a second that a start need not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from folkmoot.models.prompt import Prompt, Reply
from folkmoot.models.providers import OFFLINE, configured
from folkmoot.settings import Settings

if TYPE_CHECKING:
    from folkmoot.models.requests import ModelClient


class LazyModels:
    """A `ModelClient` that is made at its first use, or by `warm_up` before."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """Load nothing yet."""
        self._settings = settings
        self._environ = environ
        self._client: ModelClient | None = None
        self._loading = threading.Lock()

    async def warm_up(self) -> None:
        """Load the packages in a thread when a real provider is configured, so that the first turn need not wait."""
        if configured(self._environ) != [OFFLINE]:
            await asyncio.to_thread(self._load)

    async def ask(self, handle: str, prompt: Prompt) -> Reply:
        """Return the model's answer; see `ModelClient.ask`."""
        if self._client is None:
            await asyncio.to_thread(self._load)
        return await self._load().ask(handle, prompt)

    async def aclose(self) -> None:
        """Close the connections to providers."""
        if self._client is not None:
            await self._client.aclose()

    def _load(self) -> ModelClient:
        with self._loading:
            if self._client is None:
                from folkmoot.models.requests import ModelClient

                self._client = ModelClient(self._settings, self._environ)
        return self._client
