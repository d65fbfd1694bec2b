"""What is noted of each model call: how long it took, what came of it, its tokens; and its span."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from folkmoot import tracing
from folkmoot.metrics import MODEL_CALLS, MODEL_SECONDS, MODELS, TOKENS
from folkmoot.models.prompt import AssistantMessage, Prompt, PromptMessage, Reply, SystemMessage, ToolReturn

PROVIDER_NAMES: Mapping[str, str] = {"google_ai": "gcp.gemini", "bedrock": "aws.bedrock", "azure": "azure.ai.openai"}
"""What OpenTelemetry's conventions call providers, where that is not the first part of their handles."""


class Observed:
    """A model call that is being observed."""

    def __init__(self) -> None:
        """Begin without a reply."""
        self.reply: Reply | None = None


@contextmanager
def observed(handle: str, prompt: Prompt) -> Iterator[Observed]:
    """Observe a call of a model; the caller gives it the reply when it is whole."""
    call, begun = Observed(), perf_counter()
    outcome = "failed"
    # A stream's reader works while the call goes on: nothing of that hangs under it.
    with _span(handle, prompt) as span:
        try:
            yield call
            outcome = "succeeded"
        except (GeneratorExit, KeyboardInterrupt):  # its reader has gone
            outcome = "left"
            raise
        finally:
            model = MODELS.label(handle)
            MODEL_CALLS.add(model, outcome)
            if call.reply is not None:
                MODEL_SECONDS.observe(perf_counter() - begun, model)
                usage = call.reply.usage
                TOKENS.add(model, "prompt", by=usage.prompt_tokens)
                TOKENS.add(model, "completion", by=usage.completion_tokens)
                TOKENS.add(model, "cached_input", by=usage.cached_input_tokens)
                TOKENS.add(model, "reasoning", by=usage.reasoning_tokens)
                _tell(span, call.reply)


def model_attributes(handle: str) -> Mapping[str, str]:
    """Return what a span says of the model that a handle names."""
    provider, _, model = handle.partition("/")
    return {"gen_ai.provider.name": PROVIDER_NAMES.get(provider, provider), "gen_ai.request.model": model or handle}


def _span(handle: str, prompt: Prompt) -> tracing.Span:
    if not tracing.is_on():
        return tracing.NO_SPAN
    model = model_attributes(handle)
    known = {
        "gen_ai.operation.name": "chat",
        "gen_ai.conversation.id": prompt.conversation_id or None,
        "gen_ai.request.max_tokens": prompt.options.max_output_tokens,
        **model,
    }
    span = tracing.span(f"chat {model['gen_ai.request.model']}", known, kind="client", current=False)
    if span.shows_content:
        instructions = [_text(prompt.instructions), *([_text(prompt.memory)] if prompt.memory else [])]
        said = [_message(each) for each in prompt.messages]
        span.tell({"gen_ai.system_instructions": _json(instructions), "gen_ai.input.messages": _json(said)})
    return span


def _tell(span: tracing.Span, reply: Reply) -> None:
    usage = reply.usage
    span.tell(
        {
            "gen_ai.usage.input_tokens": usage.prompt_tokens,
            "gen_ai.usage.output_tokens": usage.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
            "gen_ai.response.finish_reasons": [reply.finish_reason],
        }
    )
    if span.shows_content:
        span.tell({"gen_ai.output.messages": _json([_message(reply) | {"finish_reason": reply.finish_reason}])})


def _message(message: PromptMessage) -> dict[str, Any]:
    """Return a message as the conventions write it; pictures are only named."""
    if isinstance(message, SystemMessage):
        return {"role": "system", "parts": [_text(message.content)]}
    if isinstance(message, ToolReturn):
        part = {"type": "tool_call_response", "id": message.call_id, "response": message.content}
        return {"role": "tool", "parts": [part]}
    if isinstance(message, AssistantMessage):
        parts = [{"type": "reasoning", "content": each.text} for each in message.reasoning if each.text]
        parts += [_text(message.text)] if message.text else []
        parts += [
            {"type": "tool_call", "id": each.id, "name": each.name, "arguments": each.arguments}
            for each in message.tool_calls
        ]
        return {"role": "assistant", "parts": parts}
    content = [message.content] if isinstance(message.content, str) else message.content
    return {"role": "user", "parts": [_text(part if isinstance(part, str) else "(a picture)") for part in content]}


def _text(content: str) -> dict[str, str]:
    return {"type": "text", "content": content}


def _json(value: Sequence[Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
