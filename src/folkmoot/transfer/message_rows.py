"""Messages as the retired server keeps and exports them: one row for each that a role said.

A row of the role `assistant` may hold thoughts, words and calls, which are several messages here; `tool` rows hold
returns, `approval` rows a request or the answer to one, `summary` rows what a compaction left. What such a row cannot
say of a message stands beside it, under a key of our own that other readers pass over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from folkmoot.conversations.messages import Message, MessageType, clean_text
from folkmoot.identifiers import derived_id
from folkmoot.transfer.bodies import check_body

OWN_KEY = "folkmoot"
"""Under which a file says what other readers do not know."""

THINKING_ALOUD = frozenset(
    {
        "memgpt_agent",
        "memgpt_v2_agent",
        "split_thread_agent",
        "sleeptime_agent",
        "voice_convo_agent",
        "voice_sleeptime_agent",
    }
)
"""Types of agents whose words beside a call are what they think, not what they say."""

READ = frozenset(
    {
        "id",
        "role",
        "content",
        "text",
        "tool_calls",
        "tool_call_id",
        "tool_returns",
        "approvals",
        "approve",
        "approval_request_id",
        "denial_reason",
        "name",
        "otid",
        "sender_id",
        "run_id",
        "step_id",
        "created_at",
    }
)
"""The columns of a row that messages are made of."""

MOST_NAMES = 10_000
"""Calls whose tools are remembered for their returns."""

_SERVERS = frozenset({"login", "heartbeat", "system_alert"})
"""What the text of a user's row says it is when the server wrote it."""


class UnreadableRow(ValueError):
    """A row cannot be made messages of; the text says why."""


@dataclass(frozen=True, slots=True)
class RowReader:
    """Makes messages of the rows of one agent, in their order."""

    thinks_aloud: bool = False
    """Whether words beside a call are thoughts."""

    _names: dict[str, str] = field(default_factory=dict)
    """Tools by the calls of them, since a return does not always name its tool."""

    def messages(self, row: Mapping[str, Any]) -> list[Message]:
        """Return a row's messages; the one that shows most of it has the row's identifier.

        Raises:
            UnreadableRow: it has not the form of a row.
        """
        try:
            parts = [*self._own(row)] or [*self._parts(row)]
            created_at = moment_of(row.get("created_at"))
        except UnreadableRow:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnreadableRow(f"{type(error).__name__}: {error}") from error
        if not parts:
            return []
        row_id = _text(row.get("id")) or "message"
        main = max(range(len(parts)), key=lambda place: (_WEIGHT.get(parts[place].message_type, 0), -place))
        step_id = row.get("step_id") or (derived_id("step", row_id) if len(parts) > 1 else None)
        name, otid, sender_id = (_text(row.get(column)) or None for column in ("name", "otid", "sender_id"))
        return [
            Message(
                part.message_type,
                part.body,
                name=part.name or name,
                otid=otid if place == main else None,
                sender_id=sender_id,
                run_id=row.get("run_id"),
                step_id=step_id,
                id=row_id if place == main else derived_id("message", row_id, str(place)),
                created_at=created_at,
            )
            for place, part in enumerate(parts)
        ]

    def _own(self, row: Mapping[str, Any]) -> Iterator[Message]:
        own = row.get(OWN_KEY) or {}
        for kind, body in own.get("bodies", ()):
            yield _message(kind, body)

    def _parts(self, row: Mapping[str, Any]) -> Iterator[Message]:
        match row["role"]:
            case "system":
                yield _message("system_message", {"content": _words(row)})
            case "user":
                yield _user(row)
            case "assistant":
                yield from self._reply(row)
            case "tool" | "function":
                yield from self._returns(row)
            case "approval" if row.get("tool_calls"):
                yield from self._request(row)
            case "approval":
                yield _decision(row)
            case "summary":
                yield _message("summary_message", {"summary": _envelope(_words(row)), "compaction_stats": None})
            case role:
                raise UnreadableRow(f"nobody has the role {role!r}")

    def _reply(self, row: Mapping[str, Any]) -> Iterator[Message]:
        calls = list(self._calls(row))
        yield from _thoughts(row)
        words = _words(row)
        if words and calls and self.thinks_aloud:
            yield _thought(words, None, native=False)
        elif words or not calls:
            yield _message("assistant_message", {"content": words})
        for call in calls:
            yield _message("tool_call_message", {"tool_call": call})

    def _request(self, row: Mapping[str, Any]) -> Iterator[Message]:
        calls = list(self._calls(row))
        yield from _thoughts(row)
        words = _words(row)
        if words and self.thinks_aloud:
            yield _thought(words, None, native=False)
        elif words:
            yield _message("assistant_message", {"content": words})
        yield _message("approval_request_message", {"tool_calls": calls})

    def _calls(self, row: Mapping[str, Any]) -> Iterator[dict[str, str]]:
        for call in row.get("tool_calls") or ():
            function = call.get("function") or call
            arguments = function.get("arguments", "")
            self._note_name(call["id"], function["name"])
            yield {
                "name": _text(function["name"]),
                "arguments": _text(arguments) if isinstance(arguments, str) else json.dumps(arguments),
                "tool_call_id": _text(call["id"]),
            }
        for part in _content(row):
            if part.get("type") == "tool_call":
                self._note_name(part["id"], part["name"])
                arguments = part.get("input") or {}
                yield {
                    "name": _text(part["name"]),
                    "arguments": _text(arguments) if isinstance(arguments, str) else json.dumps(arguments),
                    "tool_call_id": _text(part["id"]),
                }

    def _note_name(self, call_id: Any, name: Any) -> None:
        self._names[_text(call_id)] = _text(name)
        if len(self._names) > MOST_NAMES:
            del self._names[next(iter(self._names))]

    def _returns(self, row: Mapping[str, Any]) -> Iterator[Message]:
        returns = row.get("tool_returns") or [_return_of_older_row(row)]
        for each in returns:
            call_id = _text(each.get("tool_call_id") or row.get("tool_call_id") or "")
            said = each.get("func_response")
            body = {
                "tool_return": _envelope(said if isinstance(said, str) else _words(row)),
                "status": "error" if each.get("status") == "error" else "success",
                "tool_call_id": call_id,
                "stdout": _lines(each.get("stdout")),
                "stderr": _lines(each.get("stderr")),
            }
            name = self._names.get(call_id) or (_text(row.get("name")) if len(returns) == 1 else "")
            yield replace(_message("tool_return_message", body), name=name or None)


_WEIGHT = {"tool_call_message": 3, "approval_request_message": 3, "assistant_message": 2, "tool_return_message": 2}
"""Which of a row's messages shows most of it."""


def rows_of(messages: Sequence[Message], *, thinks_aloud: bool = False) -> Iterator[dict[str, Any]]:
    """Yield messages as rows, the parts of one reply as one.

    Args:
        messages: of one conversation, in their order.
        thinks_aloud: how a reader will take words beside a call.
    """
    together: list[Message] = []
    for message in messages:
        if together and not _continues(together[-1], message):
            yield _row(together, thinks_aloud)
            together = []
        together.append(message)
    if together:
        yield _row(together, thinks_aloud)


_ORDER = {"reasoning_message": 0, "assistant_message": 1, "tool_call_message": 2}
"""The parts of a reply in the order in which a row holds them."""


def _continues(last: Message, message: Message) -> bool:
    """Tell whether a message belongs into the row of the one before."""
    if last.step_id is None or last.step_id != message.step_id or message.body.get("given") or last.body.get("given"):
        return False
    before, now = _ORDER.get(last.message_type), _ORDER.get(message.message_type)
    return before is not None and now is not None and (now > before or now == before != _ORDER["assistant_message"])


def _row(messages: Sequence[Message], thinks_aloud: bool) -> dict[str, Any]:
    first = messages[0]
    row: dict[str, Any] = {
        "type": "message",
        "id": max(messages, key=lambda message: _WEIGHT.get(message.message_type, 0)).id,
        "created_at": datetime.fromtimestamp(first.created_at / 1_000_000, UTC).isoformat(),
        "name": first.name if first.message_type != "tool_call_message" else None,
        "otid": next((message.otid for message in messages if message.otid), None),
        "sender_id": first.sender_id,
        "tool_calls": None,
        "tool_call_id": None,
        "tool_returns": [],
        "approvals": [],
        "approve": None,
        "approval_request_id": None,
        "denial_reason": None,
        "group_id": None,
        "batch_item_id": None,
        "model": None,
        **_said(messages),
    }
    bodies = [[message.message_type, dict(message.body)] for message in messages]
    if not _is_told(row, bodies, thinks_aloud):
        row[OWN_KEY] = {"bodies": bodies}
    return row


def _is_told(row: Mapping[str, Any], bodies: list[list[Any]], thinks_aloud: bool) -> bool:
    """Tell whether a reader makes the same messages of a row, so that it says all of them."""
    read = [[message.message_type, dict(message.body)] for message in RowReader(thinks_aloud).messages(row)]
    return read == bodies


def _said(messages: Sequence[Message]) -> dict[str, Any]:
    """Return what a row says in the words of its role."""
    first = messages[0]
    body = first.body
    match first.message_type:
        case "system_message":
            return {"role": "system", "content": [_text_part(body["content"])]}
        case "user_message":
            said = body["content"]
            return {"role": "user", "content": [_text_part(said)] if isinstance(said, str) else said}
        case "tool_return_message":
            return _said_return(first)
        case "approval_request_message":
            calls = [_call(call) for call in body["tool_calls"]]
            return {"role": "approval", "content": [], "tool_calls": calls}
        case "approval_response_message":
            return {
                "role": "approval",
                "content": [],
                "approvals": body.get("approvals") or [],
                "approve": body.get("approve"),
                "approval_request_id": body.get("approval_request_id"),
                "denial_reason": body.get("reason"),
            }
        case "summary_message":
            alert = json.dumps({"type": "system_alert", "message": body["summary"]}, ensure_ascii=False, indent=2)
            return {"role": "summary", "content": [_text_part(alert)]}
        case "event_message":
            return {"role": "system", "content": [_text_part(json.dumps(dict(body), ensure_ascii=False))]}
    content = [part for message in messages for part in _reply_parts(message)]
    calls = [_call(m.body["tool_call"]) for m in messages if m.message_type == "tool_call_message"]
    return {"role": "assistant", "content": content, "tool_calls": calls or None}


def _reply_parts(message: Message) -> list[dict[str, Any]]:
    body = message.body
    if message.message_type == "assistant_message":
        return [_text_part(body["content"])]
    if message.message_type == "reasoning_message":
        native = {"is_native": True, "signature": body.get("signature")}
        return [{"type": "reasoning", "reasoning": body["reasoning"], **native}]
    return []


def _said_return(message: Message) -> dict[str, Any]:
    body = message.body
    status = "Failed" if body["status"] == "error" else "OK"
    said = json.dumps({"status": status, "message": body["tool_return"]}, ensure_ascii=False, indent=2)
    returned = {name: body.get(name) for name in ("tool_call_id", "status", "stdout", "stderr")}
    return {
        "role": "tool",
        "content": [_text_part(said)],
        "tool_call_id": body["tool_call_id"],
        "tool_returns": [{**returned, "func_response": said}],
    }


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["arguments"]}
    return {"id": call["tool_call_id"], "function": function, "type": "function"}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "signature": None}


def _message(kind: MessageType, body: Mapping[str, Any]) -> Message:
    """Return a message whose identifier and time are still to be said."""
    return Message(check_body(kind, body), dict(body), id="", created_at=0)


def _user(row: Mapping[str, Any]) -> Message:
    parts = [_part(part) for part in _content(row)]
    if any(part["type"] == "image" for part in parts):
        return _message("user_message", {"content": parts})
    words = "\n".join(part["text"] for part in parts)
    told = _json_object(words)
    if told.get("type") in _SERVERS:
        return _message("system_message", {"content": words})
    if told.get("type") == "user_message" and isinstance(told.get("message"), str):
        words = told["message"]  # as older releases wrapped what was said
    return _message("user_message", {"content": words})


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") != "image":
        return {"type": "text", "text": _text(part.get("text") or "")}
    source = part["source"]
    if source.get("url"):
        return {"type": "image", "source": {"type": "url", "url": _text(source["url"])}}
    kept = {"type": "base64", "media_type": _text(source["media_type"]), "data": _text(source["data"])}
    return {"type": "image", "source": kept}


def _decision(row: Mapping[str, Any]) -> Message:
    approvals: list[dict[str, Any]] = []
    for each in row.get("approvals") or ():
        if each.get("type") == "tool" or "tool_return" in each or "func_response" in each:
            said = each.get("tool_return", each.get("func_response"))
            approvals.append(
                {
                    "type": "tool",
                    "tool_call_id": _text(each["tool_call_id"]),
                    "tool_return": _text(said) if isinstance(said, str) else json.dumps(said),
                    "status": "error" if each.get("status") == "error" else "success",
                    "stdout": _lines(each.get("stdout")),
                    "stderr": _lines(each.get("stderr")),
                }
            )
        else:
            approved = {"approve": bool(each.get("approve")), "reason": each.get("reason")}
            approvals.append({"type": "approval", "tool_call_id": _text(each["tool_call_id"]), **approved})
    body = {
        "approvals": approvals or None,
        "approve": row.get("approve"),
        "approval_request_id": row.get("approval_request_id"),
        "reason": row.get("denial_reason"),
    }
    return _message("approval_response_message", body)


def _thoughts(row: Mapping[str, Any]) -> Iterator[Message]:
    for part in _content(row):
        kind = part.get("type")
        if kind in ("reasoning", "summarized_reasoning", "redacted_reasoning", "omitted_reasoning"):
            said = part.get("reasoning") or "\n".join(each.get("text", "") for each in part.get("summary") or ())
            yield _thought(_text(said or ""), part.get("signature"), native=bool(part.get("is_native", True)))


def _thought(words: str, signature: str | None, *, native: bool) -> Message:
    source = "reasoner_model" if native else "non_reasoner_model"
    body: dict[str, Any] = {"reasoning": words, "signature": signature, "source": source, "provider": {}}
    return _message("reasoning_message", body)


def _content(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = row.get("content")
    if content is None:
        content = row.get("text") or []  # where releases before content had parts kept it
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list) or any(not isinstance(part, Mapping) for part in content):
        raise UnreadableRow("its content is no list of parts")
    return content


def _words(row: Mapping[str, Any]) -> str:
    parts = [part for part in _content(row) if part.get("type", "text") == "text"]
    return "\n".join(_text(part.get("text") or "") for part in parts)


def _return_of_older_row(row: Mapping[str, Any]) -> dict[str, Any]:
    failed = _json_object(_words(row)).get("status") == "Failed"
    return {"status": "error" if failed else "success", "tool_call_id": row.get("tool_call_id")}


def _envelope(said: str) -> str:
    """Return the message in the JSON that the retired server wraps what it tells a model in."""
    told = _json_object(said)
    if "message" not in told:
        return clean_text(said)
    message = told["message"]
    return clean_text(message if isinstance(message, str) else json.dumps(message, ensure_ascii=False))


def _json_object(text: str) -> Mapping[str, Any]:
    if not text.startswith("{"):
        return {}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _lines(value: Any) -> list[str] | None:
    return None if value is None else [_text(each) for each in value]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnreadableRow(f"{value!r} stands where a text should")
    return clean_text(value)


def clean(value: Any) -> Any:
    """Return JSON without what a database cannot keep."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [clean(each) for each in value]
    if isinstance(value, dict):
        return {clean_text(name): clean(each) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def moment_of(value: Any) -> int:
    """Return a time, as ISO 8601 or as a driver reads it, in microseconds.

    Raises:
        UnreadableRow: it is none.
    """
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise UnreadableRow(f"{value!r} is no time")
    known = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return round(known.timestamp() * 1_000_000)
