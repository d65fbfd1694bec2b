"""What is noted of each model call: how long it took, what came of it, its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from folkmoot.metrics import MODEL_CALLS, MODEL_SECONDS, TOKENS
from folkmoot.models.prompt import Reply


class Observed:
    """A model call that is being observed."""

    def __init__(self) -> None:
        """Begin without a reply."""
        self.reply: Reply | None = None


@contextmanager
def observed(handle: str) -> Iterator[Observed]:
    """Observe a call of a model; the caller gives it the reply when it is whole."""
    call, begun = Observed(), perf_counter()
    outcome = "failed"
    try:
        yield call
        outcome = "succeeded"
    except (GeneratorExit, KeyboardInterrupt):  # its reader has gone
        outcome = "left"
        raise
    finally:
        MODEL_CALLS.add(handle, outcome)
        if call.reply is not None:
            MODEL_SECONDS.observe(perf_counter() - begun, handle)
            usage = call.reply.usage
            TOKENS.add(handle, "prompt", by=usage.prompt_tokens)
            TOKENS.add(handle, "completion", by=usage.completion_tokens)
            TOKENS.add(handle, "cached_input", by=usage.cached_input_tokens)
            TOKENS.add(handle, "reasoning", by=usage.reasoning_tokens)
