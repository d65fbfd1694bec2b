"""As much of OpenAPI 3.1 as tells whether a response is one that the contract allows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).parent.parent / "contract" / "openapi.json"

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


@cache
def _contract() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(CONTRACT.read_text())
    return document


def schema_of(method: str, path: str) -> dict[str, Any]:
    """Return the schema of the JSON that a call answers with when it succeeds; `{}` allows anything.

    Of two templates that fit, the one with fewer parameters is meant: `/v1/blocks/count`, not `/v1/blocks/{block_id}`.
    """
    fitting = [template for template in _contract()["paths"] if _fits(template, path)]
    template = min(fitting, key=lambda template: template.count("{"))
    responses = _contract()["paths"][template][method.lower()]["responses"]
    content = responses[min(status for status in responses if status.startswith("2"))]["content"]
    schema: dict[str, Any] = content["application/json"].get("schema", {})
    return schema


def _fits(template: str, path: str) -> bool:
    pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template.rstrip("/")))
    return re.fullmatch(pattern, path.rstrip("/")) is not None


def violations(schema: dict[str, Any], value: Any, path: str = "$") -> list[str]:
    """Return where `value` is not what `schema` says; keys that it does not name are allowed."""
    if "$ref" in schema:
        schema = _contract()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        tried = [violations(choice, value, path) for choice in choices]
        return min(tried, key=lambda found: (len(found), not _same_type(found, path)))
    return list(_violations(schema, value, path))


def _same_type(found: list[str], path: str) -> bool:
    """Tell whether the choice at least has the value's type: its violations then lie deeper."""
    return not any(line.startswith(f"{path}: ") for line in found)


def _violations(schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    kind = schema.get("type")
    if value is None and schema.get("nullable"):  # as OpenAPI 3.0 says it
        return
    if kind is not None and not _is(value, kind):
        yield f"{path}: {value!r} is no {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{path}: {value!r} is not {schema['const']!r}"
    if isinstance(value, list):
        for element in value:
            yield from violations(schema.get("items", {}), element, f"{path}[]")
    if isinstance(value, dict):
        yield from (f"{path}.{name}: missing" for name in schema.get("required", ()) if name not in value)
        for name, part in schema.get("properties", {}).items():
            if name in value:
                yield from violations(part, value[name], f"{path}.{name}")


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])
