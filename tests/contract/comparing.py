"""What differs between a recorded body and ours: keys, types, nulls, and values that are not a server's own words.

A difference is a line such as `$.messages[].otid: null instead of a string`; list positions are left out, so that one
rule of `expectations` covers every element.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from recordings import Ids, is_id

OWN_WORDS = frozenset(
    {
        "detail",
        "description",
        "display_name",
        "model_endpoint",
        "embedding_endpoint",
        "prompt",
        "stderr",
        "system",
        "tool_return",
        "version",
        "last_run_duration_ms",
        "otid",
    }
)
"""Keys whose values every server makes itself; only their types are compared."""

_PLACEHOLDER = re.compile(r"<\w+: \d+ characters>")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_KEYED = ("handle", "name")
"""What pairs the elements of two lists of tools or models."""


def differences(recorded: Any, live: Any, ids: Ids, path: str = "$") -> Iterator[str]:
    """Yield what is different in `live`, learning on the way which identifiers stand for which."""
    if _kind(recorded) != _kind(live):
        yield f"{path}: {_shown(live)} instead of {_shown(recorded)}"
    elif isinstance(recorded, dict):
        yield from _in_objects(recorded, live, ids, path)
    elif isinstance(recorded, list):
        yield from _in_lists(recorded, live, ids, path)
    elif isinstance(recorded, str):
        yield from _in_texts(recorded, live, ids, path)
    elif recorded != live and path.rpartition(".")[2] not in OWN_WORDS:
        yield f"{path}: {live!r} instead of {recorded!r}"


def shape_differences(recorded: Any, live: Any, path: str = "$") -> Iterator[str]:
    """Yield what is different in the keys and types of `live`; elements of a list are each like some recorded one."""
    if _kind(recorded) != _kind(live):
        yield f"{path}: {_shown(live)} instead of {_shown(recorded)}"
    elif isinstance(recorded, dict):
        yield from _in_keys(recorded, live, path)
        for name in recorded.keys() & live.keys():
            yield from shape_differences(recorded[name], live[name], f"{path}.{name}")
    elif isinstance(recorded, list) and recorded:
        for element in live:
            yield from min((list(shape_differences(one, element, f"{path}[]")) for one in recorded), key=len)


def _in_objects(recorded: dict[str, Any], live: dict[str, Any], ids: Ids, path: str) -> Iterator[str]:
    yield from _in_keys(recorded, live, path)
    for name in recorded:
        if name in live:
            yield from differences(recorded[name], live[name], ids, f"{path}.{name}")


def _in_keys(recorded: dict[str, Any], live: dict[str, Any], path: str) -> Iterator[str]:
    for name in recorded.keys() - live.keys():
        yield f"{path}.{name}: missing"
    for name in live.keys() - recorded.keys():
        yield f"{path}.{name}: added"


def _in_lists(recorded: list[Any], live: list[Any], ids: Ids, path: str) -> Iterator[str]:
    key = next((key for key in _KEYED if _is_keyed(recorded, key) and _is_keyed(live, key)), None)
    if key is not None:
        yield from _in_keyed(recorded, live, key, ids, path)
        return
    if len(recorded) != len(live):
        yield f"{path}[]: {_listed(live)} instead of {_listed(recorded)}"
        return
    in_order = _in_recorded_order(recorded, live, ids)
    if in_order != live:
        yield f"{path}[]: in another order"
    for one, other in zip(recorded, in_order, strict=True):
        yield from differences(one, other, ids, f"{path}[]")


def _in_recorded_order(recorded: list[Any], live: list[Any], ids: Ids) -> list[Any]:
    """Return `live` in the order of `recorded` where each element is a thing known from before."""
    if not all(isinstance(element, dict) and "id" in element for element in (*recorded, *live)):
        return live
    by_id = {element["id"]: element for element in live}
    wanted = [ids.live.get(element["id"]) for element in recorded]
    return [by_id[known] for known in wanted if known] if set(wanted) == by_id.keys() else live


def _is_keyed(elements: list[Any], key: str) -> bool:
    kinds = ("message_type", "tool_call_id")
    return bool(elements) and all(
        isinstance(element, dict) and key in element and not any(kind in element for kind in kinds)
        for element in elements
    )


def _in_keyed(recorded: list[Any], live: list[Any], key: str, ids: Ids, path: str) -> Iterator[str]:
    """Compare the elements of one name; which names there are is a difference like any other."""
    ours = {element[key]: element for element in live}
    theirs = {element[key]: element for element in recorded}
    for name in theirs.keys() - ours.keys():
        yield f"{path}[]: without {name}"
    for name in ours.keys() - theirs.keys():
        yield f"{path}[]: with {name}"
    for name in theirs.keys() & ours.keys():
        yield from differences(theirs[name], ours[name], ids, f"{path}[]")


def _in_texts(recorded: str, live: str, ids: Ids, path: str) -> Iterator[str]:
    if is_id(recorded):
        contradiction = ids.pair(recorded, live)
        if contradiction is not None:
            yield f"{path}: {contradiction}"
    elif _MOMENT.fullmatch(recorded):
        if not _MOMENT.fullmatch(live):
            yield f"{path}: {live!r} is no moment like {recorded!r}"
    elif path.rpartition(".")[2].removesuffix("[]") in OWN_WORDS or _PLACEHOLDER.fullmatch(recorded):
        return
    elif _normal(ids.translate(recorded)) != _normal(live):
        yield f"{path}: {live!r} instead of {recorded!r}"


def _normal(text: str) -> str:
    """Return JSON text, such as a tool call's arguments, without regard to its white space."""
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return text


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


def _listed(elements: list[Any]) -> str:
    if elements and all(isinstance(element, dict) and "message_type" in element for element in elements):
        return str([element["message_type"] for element in elements])
    if all(isinstance(element, str) and not is_id(element) for element in elements):
        return str(elements)
    return f"{len(elements)} elements"
