"""A model's answer in Folkmoot's terms, from the messages and events of pydantic-ai."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_ai.messages import (
    ModelResponse,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)

from folkmoot.models.part_order import OrderKeeper
from folkmoot.models.prompt import Delta, Reasoning, ReasoningDelta, Reply, TextDelta, ToolCall, ToolCallDelta, Usage
from folkmoot.models.tool_call_ids import CallIds, mended_name
from folkmoot.models.translation import Manner


def reply_of(response: ModelResponse, manner: Manner, ids: CallIds | None = None) -> Reply:
    """Return a model's whole answer; `ids` are those under which its calls were streamed."""
    ids = ids or CallIds()
    texts: list[str] = []
    reasoning: list[Reasoning] = []
    calls: list[ToolCall] = []
    keeper = OrderKeeper()
    for part in response.parts:
        if isinstance(part, TextPart):
            texts.append(part.content)
            keeper.text(len(part.content), part.id, part.provider_details)
            # Of a text only a signature must go back; what else is known of it (citations) stays behind.
            if "thought_signature" in (part.provider_details or {}):
                reasoning.append(_attachment(None, part, response))
        elif isinstance(part, ThinkingPart):
            keeper.thought()
            origin = {**_origin(part, response, manner), "id": part.id, "details": part.provider_details}
            kept = {key: value for key, value in origin.items() if value}
            reasoning.append(Reasoning(part.content, part.signature, kept))
        elif isinstance(part, ToolCallPart):
            call_id = ids.nth(len(calls), part.tool_call_id)
            calls.append(ToolCall(call_id, mended_name(part.tool_name), _arguments(part.args)))
            keeper.call(call_id, part.id)
            if part.provider_details and manner.dialect != "responses":
                reasoning.append(_attachment(call_id, part, response))
    refusal = (response.provider_details or {}).get("refusal")
    if isinstance(refusal, str) and not texts:
        texts.append(refusal)
    return Reply(
        text="".join(texts),
        reasoning=tuple(_with_order(reasoning, keeper, manner)),
        tool_calls=tuple(calls),
        usage=_usage(response),
        finish_reason=response.finish_reason or ("tool_call" if calls else "stop"),
    )


def _origin(part: TextPart | ThinkingPart | ToolCallPart, response: ModelResponse, manner: Manner) -> dict[str, Any]:
    """Return what tells whether reasoning can go back: the provider that signed it, and by which API."""
    origin: dict[str, Any] = {"system": part.provider_name or response.provider_name}
    if response.canonical_system:
        origin["canonical"] = response.canonical_system
    if manner.dialect == "responses":
        origin["api"] = manner.dialect
    return origin


def _attachment(call: str | None, part: TextPart | ToolCallPart, response: ModelResponse) -> Reasoning:
    """Keep what a provider wants back beside a tool call or the text, such as Gemini's thought signatures."""
    origin: dict[str, Any] = {
        "system": part.provider_name or response.provider_name,
        "attached_to": call,
        "details": part.provider_details,
    }
    if response.canonical_system:
        origin["canonical"] = response.canonical_system
    return Reasoning("", provider=origin)


def _with_order(reasoning: list[Reasoning], keeper: OrderKeeper, manner: Manner) -> list[Reasoning]:
    """Return the reasoning, its first piece with the order of the reply where that has to be kept."""
    wanted = manner.dialect == "responses" or (manner.dialect == "anthropic" and keeper.telling)
    if not reasoning or not wanted:
        return reasoning
    first, *rest = reasoning
    return [Reasoning(first.text, first.signature, {**first.provider, "order": keeper.order}), *rest]


def _arguments(given: str | Mapping[str, Any] | None) -> str:
    if isinstance(given, str):
        return given or "{}"
    return json.dumps(given or {}, ensure_ascii=False)


def _usage(response: ModelResponse) -> Usage:
    usage = response.usage
    return Usage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        cached_input_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=int(usage.details.get("reasoning_tokens", 0) or usage.details.get("thoughts_tokens", 0)),
    )


class DeltaReader:
    """Turns the events of one stream into deltas; a call has the id that it has in the whole reply."""

    def __init__(self, ids: CallIds) -> None:
        """Give the calls their ids."""
        self._ids = ids

    def read(self, event: ModelResponseStreamEvent) -> Iterator[Delta]:
        """Yield what an event adds; most add one delta, some none."""
        if isinstance(event, PartStartEvent):
            part = event.part
            if isinstance(part, TextPart) and part.content:
                yield TextDelta(part.content)
            elif isinstance(part, ThinkingPart) and part.content:
                yield ReasoningDelta(part.content, event.index)
            elif isinstance(part, ToolCallPart):
                call_id = self._ids.at(event.index, part.tool_call_id)
                yield ToolCallDelta(call_id, mended_name(part.tool_name), _piece(part.args))
        elif isinstance(event, PartDeltaEvent):
            delta = event.delta
            if isinstance(delta, TextPartDelta) and delta.content_delta:
                yield TextDelta(delta.content_delta)
            elif isinstance(delta, ThinkingPartDelta) and delta.content_delta:
                yield ReasoningDelta(delta.content_delta, event.index)
            elif isinstance(delta, ToolCallPartDelta) and delta.args_delta:
                known = self._ids.known(event.index)
                if known is not None:
                    yield ToolCallDelta(known, None, _piece(delta.args_delta))


def _piece(given: str | Mapping[str, Any] | None) -> str:
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False) if given else ""
