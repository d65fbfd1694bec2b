"""What OpenAI's API would refuse in a chat request: a test notices what a lenient fake would swallow.

Two rules are Anthropic's and hold here too, since no sound conversation breaks them: the answers to a message's calls
come directly behind it, each once, and a call's arguments are a JSON object. Anthropic's other rules, such as ids
unique in the whole conversation, are met when a request is put into its words: see `anthropic_rules`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

ROLES = {"system", "developer", "user", "assistant", "tool"}
LONGEST_CALL_ID = 40
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def violations_of(body: Any) -> list[str]:
    """Return what is wrong with a chat request, one sentence a fault; nothing for a sound one."""
    if not isinstance(body, dict):
        return ["the body is not a JSON object"]
    found = [*_text_faults(body), *_tool_faults(body.get("tools"))]
    if not isinstance(body.get("model"), str) or not body["model"]:
        found.append("model is missing")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return [*found, "messages is missing or empty"]
    for place, message in enumerate(messages):
        found.extend(f"messages[{place}]: {fault}" for fault in _message_faults(message))
    if not found:
        found.extend(_pairing_faults(messages))
    return found


def _text_faults(body: dict[str, Any]) -> Iterator[str]:
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        yield "the body is no valid JSON: it has half a surrogate pair"


def _tool_faults(tools: Any) -> Iterator[str]:
    if tools is None:
        return
    if not isinstance(tools, list) or not tools:
        yield "tools is there but is no list with something in it"
        return
    names = [tool.get("function", {}).get("name") for tool in tools]
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield f"tools: {name!r} is no tool name"
    if len(set(names)) != len(names):
        yield f"tools: a name occurs twice in {names}"
    for tool in tools:
        parameters = tool.get("function", {}).get("parameters", {"type": "object"})
        if not isinstance(parameters, dict) or parameters.get("type") != "object":
            yield f"tools: the parameters of {tool['function'].get('name')!r} are no schema of an object"


def _message_faults(message: Any) -> Iterator[str]:
    """Say what is wrong with one message on its own."""
    role = message.get("role") if isinstance(message, dict) else None
    if role not in ROLES:
        yield f"role {role!r} is unknown"
        return
    content = message.get("content")
    if role == "assistant":
        if "tool_calls" in message:
            yield from _call_faults(message["tool_calls"])
        elif content is None:
            yield "an assistant message has neither content nor tool_calls"
    elif content is None:
        yield f"a {role} message has no content"
    if content is not None and not isinstance(content, str | list):
        yield f"content is a {type(content).__name__}, neither a text nor a list of parts"
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        yield "a tool message has no tool_call_id"


def _call_faults(calls: Any) -> Iterator[str]:
    if not isinstance(calls, list) or not calls:
        yield "tool_calls is no list with something in it"
        return
    ids = [call.get("id") for call in calls]
    if not all(isinstance(id_, str) and id_ for id_ in ids):
        yield f"a tool call has no id: {ids}"
    elif len(set(ids)) != len(ids):
        yield f"two tool calls have one id: {ids}"
    elif longest := [id_ for id_ in ids if len(id_) > LONGEST_CALL_ID]:
        yield f"a tool call's id has more than {LONGEST_CALL_ID} characters: {longest}"
    for call in calls:
        function = call.get("function") or {}
        if call.get("type") != "function":
            yield f"a tool call's type is {call.get('type')!r}, not 'function'"
        if not isinstance(function.get("name"), str) or not _NAME.fullmatch(function["name"]):
            yield f"a tool call's name is {function.get('name')!r}"
        if not isinstance(function.get("arguments"), str):
            yield f"arguments is a {type(function.get('arguments')).__name__}, not a string"
        elif not _is_object(function["arguments"]):
            yield f"arguments is no JSON object: {function['arguments'][:100]!r}"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _pairing_faults(messages: list[dict[str, Any]]) -> Iterator[str]:
    """Each call needs its answer at once, and each answer its call."""
    unanswered: list[str] = []
    for place, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] in unanswered:
                unanswered.remove(message["tool_call_id"])
            else:
                call_id = message["tool_call_id"]
                yield f"messages[{place}]: answers {call_id!r}, which no call before it awaits"
            continue
        if unanswered:
            yield f"messages[{place}]: a {message['role']} message comes while {unanswered} are unanswered"
        unanswered = [call["id"] for call in message.get("tool_calls", ())]
    if unanswered:
        yield f"the conversation ends while {unanswered} are unanswered"
