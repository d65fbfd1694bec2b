"""What a message's body must hold to be shown, for bodies that come from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from folkmoot.conversations.messages import MessageType

_Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_call(value: Any) -> bool:
    names = ("name", "arguments", "tool_call_id")
    return isinstance(value, Mapping) and set(value) == set(names) and all(_is_text(value[name]) for name in names)


def _are_calls(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_call, value))


def _is_content(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_part(part) for part in value)
    return _is_text(value)


def _is_part(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    if part.get("type") == "text":
        return _is_text(part.get("text"))
    source = part.get("source")
    return part.get("type") == "image" and isinstance(source, Mapping) and all(map(_is_text, source.values()))


def _are_pictures(value: Any) -> bool:
    return isinstance(value, list) and all(_is_part(part) and part["type"] == "image" for part in value)


def _are_lines(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_text, value)))


def _are_inner_calls(value: Any) -> bool:
    names = {"name", "arguments", "tool_return", "status"}
    return isinstance(value, list) and all(
        isinstance(each, Mapping) and set(each) == names and all(map(_is_text, each.values())) for each in value
    )


def _or_none(check: _Check) -> _Check:
    return lambda value: value is None or check(value)


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _are_approvals(value: Any) -> bool:
    return value is None or (
        isinstance(value, list) and all(_is_object(each) and _is_text(each.get("tool_call_id")) for each in value)
    )


_SAID: Mapping[str, Mapping[str, _Check]] = {
    "system_message": {"content": _is_text},
    "user_message": {"content": _is_content},
    "assistant_message": {"content": _is_text},
    "reasoning_message": {
        "reasoning": _is_text,
        "signature": _or_none(_is_text),
        "source": _is_text,
        "provider": _or_none(_is_object),
    },
    "tool_call_message": {"tool_call": _is_call},
    "tool_return_message": {
        "tool_return": _is_text,
        "status": lambda value: value in ("success", "error"),
        "tool_call_id": _is_text,
        "stdout": _are_lines,
        "stderr": _are_lines,
        "pictures": _are_pictures,
        "inner_calls": _are_inner_calls,
    },
    "approval_request_message": {"tool_calls": _are_calls},
    "approval_response_message": {
        "approvals": _are_approvals,
        "approve": lambda value: value is None or isinstance(value, bool),
        "approval_request_id": _or_none(_is_text),
        "reason": _or_none(_is_text),
    },
    "summary_message": {"summary": _is_text, "compaction_stats": _or_none(_is_object)},
    "event_message": {"event_type": _is_text, "event_data": _is_object},
}
_OPTIONAL = frozenset({"signature", "source", "provider", "compaction_stats", "pictures", "inner_calls"})
_BESIDE = frozenset({"given"})
"""What a body may hold beside that."""


def check_body(kind: str, body: Any) -> MessageType:
    """Return a message's type when its body can be shown.

    Raises:
        ValueError: there is no such type, or the body has not its form.
    """
    if kind not in _SAID or not isinstance(body, Mapping):
        raise ValueError(f"there is no message of the type {kind!r}")
    said = _SAID[kind]
    for name, check in said.items():
        if name in body and not check(body[name]):
            raise ValueError(f"{name} of a {kind} cannot be {body[name]!r}"[:200])
        if name not in body and name not in _OPTIONAL:
            raise ValueError(f"a {kind} needs {name}")
    if strange := set(body) - set(said) - _BESIDE:
        raise ValueError(f"a {kind} has no {sorted(strange)[0]}")
    return kind  # type: ignore[return-value]
