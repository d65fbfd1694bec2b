"""A provider's request, read for people: instructions, messages and tools, whichever API it was for.

What is of no known form is shown as JSON, so that nothing is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TEXTS = ("text", "content", "thinking", "output", "summary", "instructions", "value")
"""Where parts of a message have their words."""


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message of a request: whose it is, and its words."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class SentTool:
    """A tool that a request offers."""

    name: str
    description: str
    parameters: Sequence[str]


@dataclass(frozen=True, slots=True)
class SentRequest:
    """What a model was sent."""

    instructions: str
    messages: Sequence[SentMessage]
    tools: Sequence[SentTool]


def read_sent(request: Mapping[str, Any]) -> SentRequest:
    """Return what a request says.

    >>> read_sent({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]})
    SentRequest(instructions='Be brief.', messages=[SentMessage(role='user', text='Hello')], tools=[])
    """
    first = next((request[name] for name in _INSTRUCTIONS if request.get(name)), None)
    items: Any = next((request[name] for name in ("messages", "input", "contents") if request.get(name)), [])
    messages = [_message(item) for item in (items if isinstance(items, list) else [items])]
    instructions = "" if first is None else _words(first)
    if not instructions and messages and messages[0].role in ("system", "developer"):
        instructions, messages = messages[0].text, messages[1:]
    if isinstance(request.get("memory"), str) and request["memory"]:
        messages.append(SentMessage("memory", request["memory"]))
    return SentRequest(instructions, messages, list(_tools(request.get("tools") or ())))


_INSTRUCTIONS = ("system", "instructions", "systemInstruction", "system_instruction")


def _message(item: Any) -> SentMessage:
    if not isinstance(item, Mapping):
        return SentMessage("user", _words(item))
    role = str(item.get("role") or item.get("type") or "message")
    called = [_words(call) for call in item.get("tool_calls") or ()]
    parts = item.get("parts") if "parts" in item else item.get("content", item.get("text"))
    words = [] if parts is None else [_words(parts)]
    if not words and not called:
        words = [_words(item)]
    return SentMessage(role, "\n".join(text for text in (*words, *called) if text))


def _words(value: Any) -> str:
    """Return the words of a part: text, a call with its arguments, or JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(text for text in map(_words, value) if text)
    if not isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False)
    for name in ("function", "functionCall", "functionResponse"):
        if isinstance(value.get(name), Mapping):
            return _words(value[name])
    if "name" in value and (given := next((n for n in ("arguments", "input", "args", "response") if n in value), "")):
        arguments = value[given]
        return (
            f"{value['name']} {arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)}"
        )
    if "parts" in value:
        return _words(value["parts"])
    for name in _TEXTS:
        if isinstance(value.get(name), str | list) and value[name]:
            return _words(value[name])
    return json.dumps(value, ensure_ascii=False)


def _tools(tools: Sequence[Any]) -> Iterator[SentTool]:
    for tool in tools:
        if not isinstance(tool, Mapping):
            continue
        if declared := tool.get("functionDeclarations") or tool.get("function_declarations"):
            yield from _tools(declared)
            continue
        about = tool["function"] if isinstance(tool.get("function"), Mapping) else tool
        schemas = (about.get(name) for name in ("parameters", "input_schema", "parametersJsonSchema", "schema"))
        schema = next((each for each in schemas if isinstance(each, Mapping)), {})
        name = str(about.get("name") or about.get("type") or "a tool")
        yield SentTool(name, str(about.get("description") or ""), list(schema.get("properties") or ()))
