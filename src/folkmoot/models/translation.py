"""From Folkmoot's `Prompt` to the messages of pydantic-ai.

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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from pydantic_ai.messages import (
    BinaryContent,
    CachePoint,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)

from folkmoot.models.pairing import paired, with_pictures_apart
from folkmoot.models.part_order import Order, order_of
from folkmoot.models.prompt import (
    AssistantMessage,
    Image,
    Prompt,
    PromptMessage,
    Reasoning,
    SystemMessage,
    ToolCall,
    ToolReturn,
    UserMessage,
)
from folkmoot.models.providers import Dialect

_SURROGATE = re.compile("[\ud800-\udfff]")
_NOTHING = "(empty message)"
_UNREADABLE = "(a picture that cannot be read)"
_EARLIER = "(the conversation continues)"
_IN_JSON = "Answer with one JSON object."
_OPENAI = ("openai", "responses")


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

    @property
    def takes_turns(self) -> bool:
        """Whether user and model have to take turns: servers that refuse a late system message mostly want that too."""
        return self.system_as_user and self.dialect == "openai"


def messages_of(prompt: Prompt, manner: Manner, calls: Mapping[str, int] | None = None) -> list[ModelMessage]:
    """Return the turns and the memory; the instructions travel with `options.parameters_of`.

    Args:
        prompt: what is asked.
        manner: how the model wants it.
        calls: how often each call id is among turns that go before these.
    """
    messages: list[ModelMessage] = []
    parts: list[ModelRequestPart] = []
    ids = _SentIds(manner, calls)
    turns = paired(prompt.messages)
    for turn in with_pictures_apart(turns) if manner.dialect == "openai" else turns:
        if isinstance(turn, AssistantMessage):
            if parts:
                messages += _requests(parts, manner)
                parts = []
            elif manner.takes_turns or (not messages and manner.system_as_user):
                messages.append(ModelRequest(parts=[UserPromptPart(_EARLIER)]))
            ids.begin(turn.tool_calls)
            messages.append(_response(turn, manner, ids))
        else:
            parts.append(_request_part(turn, manner, ids))
    if manner.dialect == "anthropic" and (parts or messages):
        parts.append(UserPromptPart([CachePoint()]))
    memory = prompt.memory
    if manner.dialect in _OPENAI and (prompt.options.response_format or {}).get("type") == "json_object":
        memory = f"{memory}\n\n{_IN_JSON}".strip()  # OpenAI refuses the option where no message speaks of JSON
    if memory:
        _add_memory(parts, memory, manner)
    return [*messages, *_requests(parts, manner)]


def _requests(parts: Sequence[ModelRequestPart], manner: Manner) -> list[ModelMessage]:
    """Return the request of these parts.

    Where user and model have to take turns, a user's messages in a row are one, and the model says a word between what
    a tool returned and what a user says behind it.
    """
    if not manner.takes_turns:
        return [ModelRequest(parts=parts)] if parts else []
    requests: list[list[ModelRequestPart]] = [[]]
    for part in parts:
        before = requests[-1][-1] if requests[-1] else None
        if isinstance(part, UserPromptPart) and isinstance(before, UserPromptPart):
            requests[-1][-1] = _one(before, part)
        elif isinstance(part, UserPromptPart) and isinstance(before, ToolReturnPart):
            requests.append([part])
        else:
            requests[-1].append(part)
    messages: list[ModelMessage] = []
    for request in filter(None, requests):
        if messages:
            messages.append(ModelResponse(parts=[TextPart(_EARLIER)]))
        messages.append(ModelRequest(parts=request))
    return messages


def _one(first: UserPromptPart, second: UserPromptPart) -> UserPromptPart:
    """Return two messages of a user's as one, of text alone where both are."""
    if isinstance(first.content, str) and isinstance(second.content, str):
        return UserPromptPart(f"{first.content}\n\n{second.content}")
    items = ([part.content] if isinstance(part.content, str) else part.content for part in (first, second))
    return UserPromptPart([*chain.from_iterable(items)])


class _SentIds:
    """The ids under which calls are sent: in the provider's form, and each but once in a request.

    Some servers number the calls of every reply anew, and a conversation may have moved here from one of them.
    """

    def __init__(self, manner: Manner, times: Mapping[str, int] | None) -> None:
        self._manner = manner
        self._times = Counter(times)
        self._sent: dict[str, str] = {}

    def begin(self, calls: Sequence[ToolCall]) -> None:
        """Turn to the calls of the next reply, and the returns behind it."""
        if not calls:
            self._sent = {}
            return
        self._sent = {call.id: self._form(call.id) for call in calls}
        self._times.update(call.id for call in calls)

    def of(self, call_id: str) -> str:
        """Return the id under which a call of this reply, or its return, is sent."""
        return self._sent[call_id]

    def _form(self, call_id: str) -> str:
        times, form = self._times[call_id], self._manner.call_id
        if not times and (form is None or form.fullmatch(call_id)):
            return call_id
        again = f"{call_id} again {times}" if times else call_id
        return hashlib.sha256(again.encode("utf-8", "replace")).hexdigest()[: self._manner.call_id_length]


def _request_part(turn: PromptMessage, manner: Manner, ids: _SentIds) -> ModelRequestPart:
    if isinstance(turn, UserMessage):
        return UserPromptPart(_user_content(turn, manner))
    if isinstance(turn, SystemMessage):
        return _system_part(turn.content, manner, tagged=True)
    assert isinstance(turn, ToolReturn)
    # OpenAI's APIs have no mark for a failed tool; pydantic-ai would wrap the text in JSON there.
    failed = turn.failed and manner.dialect not in _OPENAI
    text = _some_text(turn.content, manner)
    return ToolReturnPart(
        turn.name,
        [text, *map(_image, turn.pictures)] if turn.pictures else text,
        tool_call_id=ids.of(turn.call_id),
        outcome="failed" if failed else "success",
    )


def _system_part(text: str, manner: Manner, *, tagged: bool = False) -> ModelRequestPart:
    text = clean(text)
    if not manner.system_as_user:
        return SystemPromptPart(text)
    return UserPromptPart(f"<system>\n{text}\n</system>" if tagged else text)


def _add_memory(parts: list[ModelRequestPart], memory: str, manner: Manner) -> None:
    """Add the memory; it joins what a tool returned, behind which no user may speak where they take turns."""
    last = parts[-1] if parts else None
    if manner.takes_turns and isinstance(last, ToolReturnPart):
        parts[-1] = ToolReturnPart(last.tool_name, f"{last.content}\n\n{clean(memory)}", last.tool_call_id)
    else:
        parts.append(_system_part(memory, manner))


def _user_content(turn: UserMessage, manner: Manner) -> str | Sequence[UserContent]:
    if isinstance(turn.content, str):
        return _some_text(turn.content, manner)
    items = [_image(item) if isinstance(item, Image) else _some_text(item, manner) for item in turn.content]
    return items or _some_text("", manner)


def _some_text(text: str, manner: Manner) -> str:
    """Return the text, or a few words instead of none: Anthropic and Google refuse a blank message."""
    return clean(text) if manner.dialect in _OPENAI or text.strip() else _NOTHING


def _image(image: Image) -> ImageUrl | BinaryContent | str:
    """Return a picture; words for one that no provider could read, or its conversation would be refused ever after."""
    url, data, media_type = image.url, image.data, image.media_type
    if url and url.startswith("data:"):
        head, _, data = url.partition(",")
        media_type = head.removeprefix("data:").removesuffix(";base64")
    elif url:
        return ImageUrl(clean(url))
    media_type = media_type or "image/png"
    try:
        content = base64.b64decode(data or "", validate=True)
    except binascii.Error:
        return _UNREADABLE
    return BinaryContent(content, media_type=media_type) if content and media_type.startswith("image/") else _UNREADABLE


def _response(turn: AssistantMessage, manner: Manner, ids: _SentIds) -> ModelResponse:
    # What another provider's model thought, or one asked by another API, is of no use to this one.
    own = [thought for thought in turn.reasoning if _is_own(thought.provider, manner)]
    extras = {
        thought.provider["attached_to"]: thought.provider.get("details") or {}
        for thought in own
        if "attached_to" in thought.provider
    }
    thoughts = [_thinking_part(thought, manner) for thought in own if "attached_to" not in thought.provider]
    order = order_of(turn) if thoughts else None
    parts: list[ModelResponsePart]
    if manner.dialect == "responses" and not (order and _can_go_back(thoughts)):
        thoughts = []
    if order and thoughts:
        parts = _in_order(order, turn, thoughts, manner, ids)
    else:
        parts = [*thoughts]
        if turn.text.strip() or (turn.text and manner.dialect in _OPENAI):
            parts.append(TextPart(clean(turn.text), **_extra(extras.get(None), manner)))
        parts += [_call_part(call, ids, **_extra(extras.get(call.id), manner)) for call in turn.tool_calls]
    while parts and isinstance(parts[-1], ThinkingPart):
        parts.pop()
    canonical = next(
        (thought.provider["canonical"] for thought in reversed(own) if "canonical" in thought.provider), None
    )
    return ModelResponse(parts=parts, provider_name=manner.system, canonical_system=canonical)


def _is_own(origin: Mapping[str, Any], manner: Manner) -> bool:
    api = "responses" if manner.dialect == "responses" else None
    return origin.get("system") == manner.system and origin.get("api") == api


def _can_go_back(thoughts: Sequence[ThinkingPart]) -> bool:
    """Tell whether each reasoning item of OpenAI's has its content with it; nothing is kept there to look it up."""
    whole = {thought.id for thought in thoughts if thought.signature or thought.provider_details}
    return whole == {thought.id for thought in thoughts}


def _in_order(
    order: Order, turn: AssistantMessage, thoughts: Sequence[ThinkingPart], manner: Manner, ids: _SentIds
) -> list[ModelResponsePart]:
    """Return the parts of a reply as they came, with their ids."""
    parts: list[ModelResponsePart] = []
    waiting, calls, start = iter(thoughts), {call.id: call for call in turn.tool_calls}, 0
    for entry in order:
        details = {"phase": entry["phase"]} if "phase" in entry else None
        item: dict[str, Any] = {"id": entry.get("id"), "provider_name": manner.system, "provider_details": details}
        if "thoughts" in entry:
            parts += islice(waiting, entry["thoughts"])
        elif "call" in entry:
            parts.append(_call_part(calls[entry["call"]], ids, **item))
        else:
            text = turn.text[start : start + entry["text"]]
            start += entry["text"]
            if text.strip():
                parts.append(TextPart(clean(text), **item))
    return parts


def _thinking_part(thought: Reasoning, manner: Manner) -> ThinkingPart:
    return ThinkingPart(
        clean(thought.text),
        id=thought.provider.get("id"),
        signature=thought.signature,
        provider_name=manner.system,
        provider_details=thought.provider.get("details"),
    )


def _call_part(call: ToolCall, ids: _SentIds, **extra: Any) -> ToolCallPart:
    return ToolCallPart(call.name, _arguments(call.arguments), tool_call_id=ids.of(call.id), **extra)


def _arguments(text: str) -> str:
    """Return a call's arguments; those with NaN or Infinity, which JSON does not know, as other broken ones."""
    text = clean(text)
    if "NaN" in text or "Infinity" in text:
        try:
            json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return json.dumps({"INVALID_JSON": text})
    return text


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _extra(details: dict[str, Any] | None, manner: Manner) -> dict[str, Any]:
    return {"provider_name": manner.system, "provider_details": details} if details else {}


def clean(text: str) -> str:
    """Return the text with U+FFFD for lone surrogates, which no UTF-8 request can carry."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def clean_json(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean_json(key): clean_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    return value
