"""Asking a model: one way for every provider, whole or as a stream.

    async with aclosing(client.stream(handle, prompt)) as stream:
        async for item in stream: ...      # deltas, and the whole Reply last

Retries happen here and nowhere below. One deadline, `settings.model_timeout`, covers a whole `ask` with its
retries; in a stream it is the longest silence between two pieces. pydantic-ai is imported when the first
real model is asked.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Any, TypeVar

from folkmoot.errors import FolkmootError, ProviderTimeout
from folkmoot.models import offline
from folkmoot.models.connections import Connection, Connections
from folkmoot.models.directory import Directory
from folkmoot.models.observing import observed
from folkmoot.models.prompt import AssistantMessage, Delta, Prompt, Reply, ToolReturn
from folkmoot.models.providers import OFFLINE, ResolvedModel
from folkmoot.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 20.0
"""Seconds. A provider that wants a longer pause than this is not asked again in the same call."""


class ModelClient:
    """Asks models by their handles, and keeps the connections to their providers."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        *,
        directory: Directory | None = None,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Keep the settings and the variables that configure providers.

        Args:
            settings: for `model_timeout` and `model_retries`.
            environ: the providers' variables, usually `os.environ`.
            directory: whom handles name; the providers of `environ` when None.
            pause: waits some seconds before a retry; tests pass one that does not.
        """
        self._settings = settings
        self._directory = directory or Directory(environ)
        self._pause = pause
        self._connections = Connections(
            settings.model_timeout, traced=settings.trace != "off", allow_private=settings.private_providers
        )

    def of(self, organization_id: str | None) -> ModelClient:
        """Return what asks the models of an organisation, over the same connections."""
        found = copy.copy(self)
        found._directory = self._directory.of(organization_id)
        return found

    async def ask(self, handle: str, prompt: Prompt) -> Reply:
        """Return a model's whole answer; an empty one is an answer too.

        Raises:
            InvalidInput: the handle or an option of the prompt cannot be used.
            NotFound: the handle's provider is not configured.
            ProviderError: the provider failed; its subclasses say how.
        """
        with observed(handle, prompt) as call:
            call.reply = await self._ask(handle, prompt)
            return call.reply

    async def _ask(self, handle: str, prompt: Prompt) -> Reply:
        resolved = await self._resolve(handle)
        if resolved.provider is OFFLINE:
            return offline.answer(prompt)
        await self._connection(resolved)
        from folkmoot.models.calls import whole

        try:
            async with asyncio.timeout(self._settings.model_timeout):
                return await self._retrying(whole, resolved, prompt)
        except TimeoutError as exc:
            raise self._too_late(resolved) from exc

    async def stream(self, handle: str, prompt: Prompt) -> AsyncGenerator[Delta | Reply, None]:
        """Yield a model's answer piece by piece, and the whole `Reply` as the last item.

        A call that fails before its first piece is retried; one that fails later is not. Raises what `ask`
        raises.
        """
        with observed(handle, prompt) as call:
            async with aclosing(self._stream(handle, prompt)) as parts:
                async for part in parts:
                    if isinstance(part, Reply):
                        call.reply = part
                    yield part

    async def _stream(self, handle: str, prompt: Prompt) -> AsyncGenerator[Delta | Reply, None]:
        resolved = await self._resolve(handle)
        if resolved.provider is OFFLINE:
            reply = offline.answer(prompt)
            for piece in offline.pieces(reply):
                yield piece
            yield reply
            return
        await self._connection(resolved)
        from folkmoot.models.calls import started

        patience = self._settings.model_timeout
        try:
            async with asyncio.timeout(patience):
                stream = await self._retrying(started, resolved, prompt)
        except TimeoutError as exc:
            raise self._too_late(resolved) from exc
        try:
            while True:
                async with asyncio.timeout(patience):
                    delta = await stream.next()
                if delta is None:
                    break
                yield delta
            yield stream.reply()
        except TimeoutError as exc:
            raise self._too_late(resolved) from exc
        except Exception as exc:
            raise _translated(exc, resolved) from exc
        finally:
            await stream.aclose()

    async def preview(self, handle: str, prompt: Prompt) -> Any:
        """Return the request that a model's provider would be sent, as JSON values; nobody is asked.

        Raises what `ask` raises before it asks.
        """
        resolved = await self._resolve(handle)
        if resolved.provider is OFFLINE or resolved.dialect == "bedrock":  # whose package lets nobody look before
            return asdict(prompt)
        connection = await self._connection(resolved)
        from folkmoot.models.calls import seen

        try:
            return await seen(connection, prompt)
        except Exception as exc:
            raise _translated(exc, resolved) from exc

    async def prepare(self, handle: str) -> None:
        """Import a provider's package and build its client, so that the first question need not wait."""
        resolved = await self._resolve(handle)
        if resolved.provider is not OFFLINE:
            await self._connection(resolved)

    async def aclose(self) -> None:
        """Close the connections to all providers."""
        await self._connections.aclose()

    async def _resolve(self, handle: str) -> ResolvedModel:
        if not self._directory.is_added(handle) and (kept := self._connections.kept_of(handle)):
            return kept.resolved
        await self._directory.look_for(handle)
        return self._directory.resolve(handle)

    async def _connection(self, resolved: ResolvedModel) -> Connection:
        if kept := self._connections.kept(resolved):
            return kept
        try:
            return await self._connections.open(resolved)
        except Exception as exc:
            raise _translated(exc, resolved) from exc

    async def _retrying(
        self, call: Callable[[Connection, Prompt], Awaitable[T]], resolved: ResolvedModel, prompt: Prompt
    ) -> T:
        attempt = 0
        while True:
            connection = await self._connection(resolved)
            if connection.habits.forgets_thoughts:
                prompt = _without_reasoning(prompt) or prompt
            try:
                return await call(connection, prompt)
            except FolkmootError as exc:
                raise _translated(exc, resolved) from exc
            except Exception as exc:
                if (again := self._as_taken(exc, connection, prompt)) is not None:
                    prompt = again
                    continue
                wait = self._wait(exc, attempt)
                if wait is None:
                    raise _translated(exc, resolved) from exc
                log.info("asking %s again in %.1f s: %s", resolved.handle, wait, type(exc).__name__)
            await self._pause(wait)
            attempt += 1

    def _as_taken(self, exc: Exception, connection: Connection, prompt: Prompt) -> Prompt | None:
        """Return the prompt with which a server that has refused one is asked at once again; None when nothing helps.

        What goes for all prompts is learnt: the server is asked in that way from now on.
        """
        from folkmoot.models.failures import (
            forgets_reasoning,
            refused_parameter,
            refuses_late_system_message,
            refuses_null,
            refuses_pictures,
            refuses_reasoning,
        )

        resolved, habits = connection.resolved, connection.habits
        if refuses_pictures(exc) and (told := _without_pictures(prompt)):
            log.info("%s cannot see what tools returned; asking without their pictures", resolved.handle)
            return told
        if refuses_late_system_message(exc) and self._connections.avoid_late_system(resolved):
            log.info("%s takes a system message only first; sending memory as user text", resolved.handle)
            return prompt
        if refuses_reasoning(exc) and (bare := _without_reasoning(prompt)):
            log.info("%s cannot use earlier reasoning; asking without it", resolved.handle)
            return bare
        if forgets_reasoning(exc) and (bare := _without_reasoning(prompt)):
            log.info("%s does not take earlier reasoning; asking without it from now on", resolved.handle)
            habits.forgets_thoughts = True
            return bare
        if refuses_null(exc) and _has_calls_alone(prompt, connection):
            log.info("%s wants a text in every message; sending empty ones from now on", resolved.handle)
            habits.wants_texts = True
            return prompt
        if unknown := refused_parameter(exc, habits):
            log.info("%s does not know %s; asking without it from now on", resolved.handle, unknown)
            habits.refused.add(unknown)
            return prompt
        return None

    def _wait(self, exc: Exception, attempt: int) -> float | None:
        """Return the seconds until the next attempt; None when there is to be none."""
        from folkmoot.models.failures import is_passing, retry_after

        asked: float = retry_after(exc) or 0.0
        if attempt >= self._settings.model_retries or not is_passing(exc) or asked > LONGEST_PAUSE:
            return None
        backoff: float = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1)
        return max(backoff, asked)

    def _too_late(self, resolved: ResolvedModel) -> ProviderTimeout:
        return ProviderTimeout(
            f"{resolved.provider.title} did not answer for {resolved.handle} within "
            f"{self._settings.model_timeout:g} s. FOLKMOOT_MODEL_TIMEOUT sets how long to wait."
        )


def _translated(exc: Exception, resolved: ResolvedModel) -> FolkmootError:
    """Return the error to raise in place of what a model call raised; who tells them apart knows pydantic-ai's."""
    from folkmoot.models.failures import translated

    return translated(exc, resolved)


def _without_reasoning(prompt: Prompt) -> Prompt | None:
    """Return the prompt without what the model thought; None when there is nothing of it."""
    if not any(isinstance(turn, AssistantMessage) and turn.reasoning for turn in prompt.messages):
        return None
    turns = [replace(turn, reasoning=()) if isinstance(turn, AssistantMessage) else turn for turn in prompt.messages]
    return replace(prompt, messages=turns)


def _has_calls_alone(prompt: Prompt, connection: Connection) -> bool:
    """Tell whether a chat's server was sent calls with null for a text."""
    if connection.manner.dialect != "openai" or connection.habits.wants_texts:
        return False
    return any(isinstance(turn, AssistantMessage) and turn.tool_calls and not turn.text for turn in prompt.messages)


def _without_pictures(prompt: Prompt) -> Prompt | None:
    """Return the prompt without the pictures that tools returned, whose texts name them; None when there are none.

    A user's pictures stay: who sends one is told that the model cannot see it.
    """
    if not any(isinstance(turn, ToolReturn) and turn.pictures for turn in prompt.messages):
        return None
    turns = [replace(turn, pictures=()) if isinstance(turn, ToolReturn) else turn for turn in prompt.messages]
    return replace(prompt, messages=turns)
