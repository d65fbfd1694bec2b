"""What OpenAI's two protocols have in common: the caller's choice among its functions, and the form of an answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

FREE = (None, "auto", "none")
"""Choices that leave it to the model what it calls, if anything."""


def chosen(wanted: str | Mapping[str, Any] | None, names: Collection[str]) -> str | None:
    """Return what the model has to call first: a function's name, `required` for any tool, None for what it likes.

    >>> chosen({"type": "function", "name": "add"}, ["add"])
    'add'

    Raises:
        ValueError: no such choice can be made.
    """
    if wanted in FREE or wanted == "required":
        return None if wanted in FREE else "required"
    if isinstance(wanted, Mapping) and wanted.get("type") == "function":
        about = wanted.get("function", wanted)
        name = about.get("name") if isinstance(about, Mapping) else None
        if isinstance(name, str) and name in names:
            return name
        raise ValueError(f"tool_choice: {name!r} is none of the functions in tools")
    raise ValueError("tool_choice: must be 'auto', 'none', 'required' or one of the functions in tools")


def form_of(wanted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the form of an answer as agents' settings have it; None where it is plain text.

    >>> form_of({"type": "json_schema", "name": "x", "schema": {}})
    {'type': 'json_schema', 'json_schema': {'name': 'x', 'schema': {}}}

    Raises:
        ValueError: there is no such form.
    """
    kind = (wanted or {}).get("type", "text")
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": kind}
    schema = wanted.get("json_schema", {key: value for key, value in wanted.items() if key != "type"})
    if kind == "json_schema" and isinstance(schema, Mapping) and isinstance(schema.get("schema"), Mapping):
        return {"type": kind, "json_schema": dict(schema)}
    raise ValueError("the form of an answer must be text, json_object, or json_schema with a schema")
