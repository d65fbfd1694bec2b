"""Between Folkmoot's `Prompt` and `Reply` and the messages of pydantic-ai.

What is sent before the memory depends on the turns alone, so that a later step repeats it byte for byte and
the provider's prompt cache hits. A tool call whose arguments are not a JSON object goes out as
`{"INVALID_JSON": …}` with the text the model wrote (pydantic-ai does this), because providers refuse a
request that repeats broken JSON.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydantic_ai.messages import (
    BinaryContent,
    CachePoint,
    ImageUrl,
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from folkmoot.errors import InvalidInput
from folkmoot.models.pairing import paired
from folkmoot.models.prompt import (
    AssistantTurn,
    Delta,
    Image,
    Prompt,
    Reasoning,
    ReasoningDelta,
    Reply,
    SystemTurn,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolReturn,
    Turn,
    Usage,
    UserTurn,
)
from folkmoot.models.providers import Dialect

_SURROGATE = re.compile("[\ud800-\udfff]")
_NOTHING = "(empty message)"
_EARLIER = "(the conversation continues)"


@dataclass(frozen=True, slots=True)
class Manner:
    """How one model wants its request."""

    dialect: Dialect
    #: pydantic-ai's name of the provider; signed reasoning goes back only to the provider it came from.
    system: str
    #: The memory, and system messages amid the turns, are sent as user text: the API knows no system
    #: message there.
    system_as_user: bool
    #: Tool call ids that the provider accepts; others are replaced by a digest of the same form.
    call_id: re.Pattern[str] | None = None
    call_id_length: int = 40


def messages_of(prompt: Prompt, manner: Manner) -> list[ModelMessage]:
    """Return the turns and the memory; the instructions travel with `parameters_of`."""
    messages: list[ModelMessage] = []
    parts: list[ModelRequestPart] = []
    for turn in paired(prompt.turns):
        if isinstance(turn, AssistantTurn):
            if parts:
                messages.append(ModelRequest(parts=parts))
                parts = []
            elif not messages and manner.system_as_user:
                messages.append(ModelRequest(parts=[UserPromptPart(_EARLIER)]))
            messages.append(_response(turn, manner))
        else:
            parts.append(_request_part(turn, manner))
    if manner.dialect == "anthropic" and (parts or messages):
        parts.append(UserPromptPart([CachePoint()]))
    if prompt.memory:
        _add_memory(parts, prompt.memory, manner)
    if parts:
        messages.append(ModelRequest(parts=parts))
    return messages


def parameters_of(prompt: Prompt) -> ModelRequestParameters:
    """Return the instructions and the tools."""
    return ModelRequestParameters(
        function_tools=[
            ToolDefinition(
                name=tool.name,
                description=clean(tool.description),
                parameters_json_schema=_clean_json(tool.parameters),
                strict=False,
            )
            for tool in prompt.tools
        ],
        instruction_parts=[InstructionPart(clean(prompt.instructions))] if prompt.instructions else None,
    )


def settings_of(prompt: Prompt, manner: Manner) -> ModelSettings | None:
    """Return the options in pydantic-ai's terms; None when there are none."""
    options, settings = prompt.options, ModelSettings()
    if options.temperature is not None:
        settings["temperature"] = options.temperature
    if options.max_output_tokens is not None:
        settings["max_tokens"] = options.max_output_tokens
    if options.parallel_tool_calls is not None and prompt.tools:
        settings["parallel_tool_calls"] = options.parallel_tool_calls
    if options.reasoning_effort is not None:
        settings["thinking"] = _thinking(options.reasoning_effort)
    if options.tool_choice is not None and prompt.tools:
        choice: Any = options.tool_choice
        settings["tool_choice"] = choice if choice in ("auto", "none", "required") else [choice]
    if options.response_format is not None and manner.dialect == "openai":
        settings["extra_body"] = {"response_format": dict(options.response_format)}
    if manner.dialect == "anthropic":
        caching = {
            "anthropic_cache_instructions": True,
            "anthropic_cache_tool_definitions": bool(prompt.tools),
        }
        return cast("ModelSettings", {**settings, **caching})
    return settings or None


def _thinking(effort: str) -> Any:
    if effort not in ("none", "minimal", "low", "medium", "high", "xhigh", "max"):
        raise InvalidInput(f"The reasoning effort {effort!r} is none of none, minimal, low, medium, high, xhigh, max.")
    return False if effort == "none" else effort


def _request_part(turn: Turn, manner: Manner) -> ModelRequestPart:
    if isinstance(turn, UserTurn):
        return UserPromptPart(_user_content(turn, manner))
    if isinstance(turn, SystemTurn):
        return _system_part(turn.content, manner, tagged=True)
    assert isinstance(turn, ToolReturn)
    # Chat Completions has no mark for a failed tool; pydantic-ai would wrap the text in JSON there.
    failed = turn.failed and manner.dialect != "openai"
    return ToolReturnPart(
        turn.name,
        clean(turn.content),
        tool_call_id=_call_id(turn.call_id, manner),
        outcome="failed" if failed else "success",
    )


def _system_part(text: str, manner: Manner, *, tagged: bool = False) -> ModelRequestPart:
    text = clean(text)
    if not manner.system_as_user:
        return SystemPromptPart(text)
    return UserPromptPart(f"<system>\n{text}\n</system>" if tagged else text)


def _add_memory(parts: list[ModelRequestPart], memory: str, manner: Manner) -> None:
    last = parts[-1] if parts else None
    if manner.dialect == "openai" and manner.system_as_user and isinstance(last, UserPromptPart):
        # Such servers want user and assistant to take turns: the memory joins the message before it.
        before = [last.content] if isinstance(last.content, str) else last.content
        parts[-1] = UserPromptPart([*before, clean(memory)])
    else:
        parts.append(_system_part(memory, manner))


def _user_content(turn: UserTurn, manner: Manner) -> str | Sequence[UserContent]:
    if isinstance(turn.content, str):
        return _some_text(turn.content, manner)
    items = [_image(item) if isinstance(item, Image) else _some_text(item, manner) for item in turn.content]
    return items or _some_text("", manner)


def _some_text(text: str, manner: Manner) -> str:
    """Return the text, or a few words instead of none: Anthropic and Google refuse a blank message."""
    return clean(text) if manner.dialect == "openai" or text.strip() else _NOTHING


def _image(image: Image) -> ImageUrl | BinaryContent:
    url, data, media_type = image.url, image.data, image.media_type
    if url and url.startswith("data:"):
        head, _, data = url.partition(",")
        media_type = head.removeprefix("data:").removesuffix(";base64")
    elif url:
        return ImageUrl(clean(url))
    try:
        return BinaryContent(base64.b64decode(data or "", validate=True), media_type=media_type or "image/png")
    except binascii.Error as exc:
        raise InvalidInput("The data of an image is not base64.") from exc


def _response(turn: AssistantTurn, manner: Manner) -> ModelResponse:
    parts: list[ModelResponsePart] = []
    extras: dict[str | None, dict[str, Any]] = {}
    canonical: str | None = None
    for thought in turn.reasoning:
        origin = thought.provider
        if origin.get("system") != manner.system:
            continue  # what another provider's model thought is of no use to this one
        canonical = origin.get("canonical") or canonical
        if "attached_to" in origin:
            extras[origin["attached_to"]] = origin.get("details") or {}
            continue
        parts.append(
            ThinkingPart(
                clean(thought.text),
                id=origin.get("id"),
                signature=thought.signature,
                provider_name=manner.system,
                provider_details=origin.get("details"),
            )
        )
    if turn.text:
        parts.append(TextPart(clean(turn.text), **_extra(extras.get(None), manner)))
    parts += [
        ToolCallPart(
            call.name,
            clean(call.arguments),
            tool_call_id=_call_id(call.id, manner),
            **_extra(extras.get(call.id), manner),
        )
        for call in turn.tool_calls
    ]
    return ModelResponse(parts=parts, provider_name=manner.system, canonical_system=canonical)


def _extra(details: dict[str, Any] | None, manner: Manner) -> dict[str, Any]:
    return {"provider_name": manner.system, "provider_details": details} if details else {}


def _call_id(given: str, manner: Manner) -> str:
    if manner.call_id is None or manner.call_id.fullmatch(given):
        return given
    return hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()[: manner.call_id_length]


def reply_of(response: ModelResponse) -> Reply:
    """Return a model's answer in Folkmoot's terms."""
    texts: list[str] = []
    reasoning: list[Reasoning] = []
    calls: list[ToolCall] = []
    for part in response.parts:
        if isinstance(part, TextPart):
            texts.append(part.content)
            # Of a text only a signature must go back; what else is known of it (citations) stays behind.
            if "thought_signature" in (part.provider_details or {}):
                reasoning.append(_attachment(None, part.provider_name, part.provider_details, response))
        elif isinstance(part, ThinkingPart):
            provider: dict[str, Any] = {"system": part.provider_name or response.provider_name, "id": part.id}
            provider |= {"canonical": response.canonical_system, "details": part.provider_details}
            kept = {key: value for key, value in provider.items() if value}
            reasoning.append(Reasoning(part.content, part.signature, kept))
        elif isinstance(part, ToolCallPart):
            calls.append(ToolCall(part.tool_call_id, part.tool_name, _arguments(part.args)))
            if part.provider_details:
                reasoning.append(_attachment(part.tool_call_id, part.provider_name, part.provider_details, response))
    refusal = (response.provider_details or {}).get("refusal")
    if isinstance(refusal, str) and not texts:
        texts.append(refusal)
    return Reply(
        text="".join(texts),
        reasoning=tuple(reasoning),
        tool_calls=tuple(calls),
        usage=_usage(response),
        finish_reason=response.finish_reason or ("tool_call" if calls else "stop"),
    )


def _attachment(
    call: str | None, provider: str | None, details: dict[str, Any] | None, response: ModelResponse
) -> Reasoning:
    """Keep what a provider wants back beside a tool call or the text, such as Gemini's thought signatures."""
    origin: dict[str, Any] = {
        "system": provider or response.provider_name,
        "attached_to": call,
        "details": details,
    }
    if response.canonical_system:
        origin["canonical"] = response.canonical_system
    return Reasoning("", provider=origin)


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
    """Turns the events of one stream into deltas."""

    def __init__(self) -> None:
        self._calls: dict[int, str] = {}

    def read(self, event: ModelResponseStreamEvent) -> Iterator[Delta]:
        """Yield what an event adds; most add one delta, some none."""
        if isinstance(event, PartStartEvent):
            part = event.part
            if isinstance(part, TextPart) and part.content:
                yield TextDelta(part.content)
            elif isinstance(part, ThinkingPart) and part.content:
                yield ReasoningDelta(part.content)
            elif isinstance(part, ToolCallPart):
                self._calls[event.index] = part.tool_call_id
                yield ToolCallDelta(part.tool_call_id, part.tool_name, _piece(part.args))
        elif isinstance(event, PartDeltaEvent):
            delta = event.delta
            if isinstance(delta, TextPartDelta) and delta.content_delta:
                yield TextDelta(delta.content_delta)
            elif isinstance(delta, ThinkingPartDelta) and delta.content_delta:
                yield ReasoningDelta(delta.content_delta)
            elif isinstance(delta, ToolCallPartDelta) and delta.args_delta:
                yield ToolCallDelta(self._calls.get(event.index, ""), None, _piece(delta.args_delta))


def _piece(given: str | Mapping[str, Any] | None) -> str:
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False) if given else ""


def clean(text: str) -> str:
    """Return the text with U+FFFD for lone surrogates, which no UTF-8 request can carry."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def _clean_json(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {_clean_json(key): _clean_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_clean_json(item) for item in value]
    return value
