"""What programs read of an answer, and where ours differs from the recorded one in it.

A difference is a line such as `$.blocks[]: without persona`. Fields that no program reads, the server's own words and
moments are left alone; identifiers are paired as they come.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from recordings import Ids, is_id

READ = frozenset(
    {
        # things and what belongs to them
        *(
            "id",
            "agent_id",
            "agent_ids",
            "conversation_id",
            "block_ids",
            "name",
            "label",
            "value",
            "limit",
            "description",
        ),
        *("read_only", "metadata", "tags", "blocks", "memory", "tools", "system", "agent_type", "model", "embedding"),
        *("enable_sleeptime", "hidden", "llm_config", "context_window", "handle"),
        *("multi_agent_group", "managed_group", "pending_approval", "default_requires_approval", "tool_type"),
        *("json_schema", "source_code", "source_type", "summary", "in_context_message_ids", "isolated_block_ids"),
        *("created_at", "updated_at", "max_context_window", "provider_type", "parallel_tool_calls"),
        # messages and runs
        *("messages", "message_type", "content", "text", "reasoning", "tool_call", "tool_calls", "arguments", "status"),
        *("tool_return", "tool_returns", "tool_call_id", "stop_reason", "error_type", "approvals", "approve", "run_id"),
        # searches, files, errors
        *("results", "count", "score", "passage", "files", "file_name", "processing_status", "success", "detail"),
    }
)
"""The fields that a program reads, at whatever depth."""

OWN_WORDS = frozenset({"created_at", "updated_at", "detail", "system", "tool_return"})
"""Fields whose values every server makes itself; only their kind is compared."""

IN_NO_ORDER = frozenset({"handle", "label", "tool_type"})
"""What programs look through for what they want: lists of things that have one of these fields, and tags."""

OF_OWN_TOOLS = frozenset({"id", "description", "json_schema", "source_code", "source_type", "tags"})
"""What is read of a program's own tools only; the others are known by name, and come anew when they were deleted."""

OF_A_SOURCE = frozenset({"source_code", "source_type"})
"""What is read of tools that have a source; those of servers of tools had one that only raised an error."""

_PLACEHOLDERS = ("<text of ", "<path>")


def differences(recorded: Any, live: Any, ids: Ids, waiting: set[str], path: str = "$") -> Iterator[str]:
    """Yield what a program would read otherwise, learning on the way which identifiers stand for which.

    Args:
        recorded: the retired server's answer.
        live: ours.
        ids: which identifier stands for which.
        waiting: recorded identifiers of what cannot be made yet, which lists do without.
        path: where in the answer this is.
    """
    if _kind(recorded) != _kind(live):
        yield f"{path}: {_shown(live)} instead of {_shown(recorded)}"
    elif isinstance(recorded, dict):
        yield from _in_objects(recorded, live, ids, waiting, path)
    elif isinstance(recorded, list):
        yield from _in_lists(_pieces_joined(recorded), _pieces_joined(live), ids, waiting, path)
    elif isinstance(recorded, str):
        yield from _in_texts(recorded, live, ids, path)
    elif recorded != live:
        yield f"{path}: {live!r} instead of {recorded!r}"


def _in_objects(
    recorded: dict[str, Any], live: dict[str, Any], ids: Ids, waiting: set[str], path: str
) -> Iterator[str]:
    read = READ - OF_OWN_TOOLS if _is_everybodys(recorded) else READ
    if recorded.get("tool_type") == "external_mcp":
        read -= OF_A_SOURCE
    inner = path.rpartition(".")[2] == "metadata"
    for name in recorded:
        if not inner and name not in read:
            continue
        if name not in live:
            if recorded[name] not in (None, [], {}):
                yield f"{path}.{name}: missing"
        elif name in OWN_WORDS:
            if _kind(recorded[name]) != _kind(live[name]):
                yield f"{path}.{name}: {_shown(live[name])} instead of {_shown(recorded[name])}"
        else:
            yield from differences(recorded[name], live[name], ids, waiting, f"{path}.{name}")


def _in_lists(recorded: list[Any], live: list[Any], ids: Ids, waiting: set[str], path: str) -> Iterator[str]:
    """Compare what is in both; what only one has is a difference, save what is not of this program or waits."""
    left = list(range(len(live)))
    order: list[int] = []
    elsewhere = False
    for element in recorded:
        at = _place(element, live, left, ids)
        if at is not None:
            left.remove(at)
            order.append(at)
            yield from differences(element, live[at], ids, waiting, f"{path}[]")
        elif _is_elsewhere(element, ids):
            elsewhere = True
        elif not _is_waiting(element, waiting):
            yield f"{path}[]: without {_title(element)}"
    for at in left if not elsewhere else ():  # what others made may have taken its place on the page
        yield f"{path}[]: with {_title(live[at])}"
    if order != sorted(order) and not _is_in_no_order(path, live):
        yield f"{path}[]: in another order"


def _place(element: Any, live: list[Any], left: list[int], ids: Ids) -> int | None:
    """Return where in `live` the element is that a recorded one stands for."""
    if not isinstance(element, dict):
        if isinstance(element, str) and is_id(element) and element not in ids.live:
            return None
        wanted = ids.translate(element)
        return next((at for at in left if live[at] == wanted), None)
    objects = [at for at in left if isinstance(live[at], dict)]
    known = ids.live.get(element.get("id", ""))
    if known is not None:
        by_id = next((at for at in objects if live[at].get("id") == known), None)
        if by_id is not None or "message_type" not in element:
            return by_id
    return next((at for at in objects if _is_alike(element, live[at], ids)), None)


def _is_alike(recorded: dict[str, Any], live: dict[str, Any], ids: Ids) -> bool:
    """Tell whether two elements without known identifiers can stand for each other."""
    if live.get("id") in ids.recorded and "message_type" not in recorded:
        return False
    keys = ("handle", "message_type", "label", "name", "type", "tool_call_id", "file_name")
    return all(_same(recorded.get(key), live.get(key), ids) for key in keys)


def _same(recorded: Any, live: Any, ids: Ids) -> bool:
    if isinstance(recorded, str) and is_id(recorded):
        return ids.live.get(recorded, live) == live
    return bool(ids.translate(recorded) == live)


def _is_elsewhere(element: Any, ids: Ids) -> bool:
    """Tell whether other programs made a recorded element; every server's own tools are nobody's."""
    if isinstance(element, dict) and _is_everybodys(element):
        return False
    identifier = element.get("id") if isinstance(element, dict) else element
    return isinstance(identifier, str) and is_id(identifier) and identifier not in ids.live


def _is_everybodys(thing: dict[str, Any]) -> bool:
    """Tell whether a thing is a tool that a server has of itself."""
    return str(thing.get("tool_type")).startswith("letta_")


def _is_waiting(element: Any, waiting: set[str]) -> bool:
    return (element.get("id") if isinstance(element, dict) else element) in waiting


def _is_in_no_order(path: str, live: list[Any]) -> bool:
    return path.endswith(".tags") or any(isinstance(one, dict) and one.keys() & IN_NO_ORDER for one in live)


def _in_texts(recorded: str, live: str, ids: Ids, path: str) -> Iterator[str]:
    if is_id(recorded):
        contradiction = ids.pair(recorded, live)
        if contradiction is not None:
            yield f"{path}: {contradiction}"
    elif not any(mark in recorded for mark in _PLACEHOLDERS) and _normal(ids.translate(recorded)) != _normal(live):
        yield f"{path}: {live[:200]!r} instead of {recorded[:200]!r}"


def _pieces_joined(events: list[Any]) -> list[Any]:
    """Return a stream's events with the pieces of one message as one; what a model cuts where is not the server's.

    Lists of other things come back as they are.
    """
    if not any(isinstance(event, dict) and "message_type" in event for event in events):
        return events
    joined: list[Any] = []
    for event in events:
        last = joined[-1] if joined else None
        if not isinstance(event, dict):
            joined.append(event)
        elif event["message_type"] == "ping":
            continue
        elif isinstance(last, dict) and _is_piece(last, event):
            joined[-1] = _added(last, event)
        else:
            joined.append(event)
    return [_call_listed(event) for event in joined]


def _is_piece(last: dict[str, Any], event: dict[str, Any]) -> bool:
    calls = [each.get("tool_call") or {} for each in (last, event)]
    return (
        last["message_type"] == event["message_type"]
        and last.get("id") is not None
        and last.get("id") == event.get("id")
        and (
            not all(calls) or calls[0].get("tool_call_id") == (calls[1].get("tool_call_id") or calls[0]["tool_call_id"])
        )
    )


def _added(last: dict[str, Any], event: dict[str, Any]) -> dict[str, Any]:
    """Return a message with the next piece of it."""
    whole = dict(last)
    for name in ("content", "reasoning"):
        if isinstance(event.get(name), str):
            whole[name] = (last.get(name) or "") + event[name]
    call, more = last.get("tool_call") or {}, event.get("tool_call") or {}
    if more:
        arguments = (call.get("arguments") or "") + (more.get("arguments") or "")
        whole["tool_call"] = call | {name: part for name, part in more.items() if part} | {"arguments": arguments}
    return whole


def _call_listed(event: Any) -> Any:
    """Return a message with its one call in the list too, as it is outside of streams."""
    if isinstance(event, dict) and isinstance(event.get("tool_calls"), dict):
        return event | {"tool_calls": [event["tool_call"]]}
    return event


def _title(element: Any) -> str:
    """Return what an element goes by in a report."""
    if not isinstance(element, dict):
        return repr(element)
    named = next((element[key] for key in ("message_type", "label", "name", "handle", "id") if element.get(key)), None)
    return str(named or list(element))


def _normal(text: str) -> str:
    """Return JSON text, such as a tool call's arguments, without regard to its white space."""
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return text.strip()


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    return {str: "a string", list: "a list", dict: "an object"}[type(value)]


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, bool | int | float) else _kind(value)
