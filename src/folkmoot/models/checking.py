"""A look at whether a model can be asked: one tiny question, with a tool beside it as agents' questions have."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from folkmoot.errors import ProviderTimeout
from folkmoot.models.prompt import ModelOptions, Prompt, Reply, ToolSchema, UserMessage

PATIENCE = 30.0
"""Seconds that a model has to answer the question."""

LONGEST_ANSWER = 256
"""Tokens that the answer may have; a model that thinks first needs some for that."""

_NOTE = ToolSchema(
    "keep_note",
    "Keeps a note.",
    {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
)
_QUESTION = Prompt(
    "Answer in one word, without a tool.",
    [UserMessage("Are you there?")],
    tools=[_NOTE],
    options=ModelOptions(max_output_tokens=LONGEST_ANSWER),
)


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """What a model made of the question, and after how many milliseconds."""

    answer: str
    milliseconds: int


async def check_model(ask: Callable[[str, Prompt], Awaitable[Reply]], handle: str) -> CheckedModel:
    """Ask a model a tiny question.

    Args:
        ask: asks a model, such as `ModelClient.ask`.
        handle: which model.

    Raises:
        InvalidInput: the handle cannot be used.
        NotFound: the handle's provider is not configured.
        ProviderError: the provider failed or took too long; its subclasses say how.
    """
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            reply = await ask(handle, _QUESTION)
    except TimeoutError as error:
        raise ProviderTimeout(f"{handle} did not answer a question of one line within {PATIENCE:g} s.") from error
    return CheckedModel(reply.text.strip(), round((time.monotonic() - began) * 1000))
