"""Schemas that somebody sent instead of having them read from the source."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from folkmoot.errors import BadRequest

MOST_PARTS = 5000
"""Schemas that one given schema may be made of, written out."""

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What providers take as a tool's name."""

_REFERENCE = re.compile(r"#/(?:\$defs|definitions)/(.+)")


def check_name(name: str, field: str) -> str:
    """Return a tool's name.

    Raises:
        BadRequest: providers would refuse it.
    """
    if NAME.fullmatch(name) is None:
        raise BadRequest(
            f"{field}: {name[:80]!r} cannot be a tool's name. Use 1 to 64 of the letters a to z, digits, _ and -."
        )
    return name


def check_json_schema(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool's `json_schema` that was given: name, description and parameters; what else it has is kept.

    Raises:
        BadRequest: it describes no tool.
    """
    name = given.get("name")
    if not isinstance(name, str):
        raise BadRequest("json_schema: it has no name. Give it name, description and parameters.")
    description = given.get("description", "")
    if not isinstance(description, str):
        raise BadRequest("json_schema.description: it has to be a text.")
    parameters = _object_schema(given.get("parameters", {"type": "object", "properties": {}}), "json_schema.parameters")
    return {**given, "name": check_name(name, "json_schema.name"), "description": description, "parameters": parameters}


def check_kept(schema: Mapping[str, Any]) -> None:
    """Hold what was read from a source to what both stores can keep.

    Raises:
        BadRequest: it has characters or numbers that are none of JSON.
    """
    try:
        written = json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise BadRequest(
            "source_code: what it says of the tool has half a character, an infinite number or one of thousands of "
            "digits, which JSON cannot carry. Leave it out."
        ) from error
    if b"\\u0000" in written.replace(rb"\\", b""):
        raise BadRequest("source_code: what it says of the tool has a NUL character, which cannot be kept. Remove it.")


def parameters_of(args_schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool's parameters from the JSON Schema of its arguments, as pydantic makes it of a model.

    Titles go, and what `$ref` names is written out.

    Raises:
        BadRequest: it is no schema of an object, or refers to what it does not have.
    """
    plain = _Writer(args_schema).written(_object_schema(args_schema, "args_json_schema"), ())
    return {
        "type": "object",
        "properties": plain.get("properties", {}),
        "required": plain.get("required", []),
    }


def _object_schema(given: Any, where: str) -> dict[str, Any]:
    properties = given.get("properties", {}) if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or given.get("type") != "object" or not isinstance(properties, Mapping):
        raise BadRequest(
            f'{where}: it has to be a JSON Schema of an object: {{"type": "object", "properties": {{…}}}}.'
        )
    required = given.get("required", [])
    if not isinstance(required, list) or not all(isinstance(each, str) and each in properties for each in required):
        raise BadRequest(f"{where}.required: it has to be a list of names that are among the properties.")
    for name, schema in properties.items():
        if not isinstance(schema, Mapping):
            raise BadRequest(f"{where}.properties.{name}: it has to be a JSON Schema, an object.")
    return dict(given)


class _Writer:
    """Writes a schema out: without titles, with what its references name."""

    def __init__(self, whole: Mapping[str, Any]) -> None:
        self._definitions: dict[str, Any] = {}
        for place in ("definitions", "$defs"):
            named = whole.get(place) or {}
            if not isinstance(named, Mapping):
                raise BadRequest(f"args_json_schema.{place}: it has to be an object.")
            self._definitions |= named
        self._parts = 0

    def written(self, schema: Any, inside: Sequence[str]) -> dict[str, Any]:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise BadRequest(f"args_json_schema: written out, it has more than {MOST_PARTS:,} parts. Make it smaller.")
        if not isinstance(schema, Mapping):
            raise BadRequest("args_json_schema: a part of it is no JSON Schema, which is an object.")
        if "$ref" in schema:
            return self._referred(schema, inside)
        alone = schema.get("allOf")
        if isinstance(alone, list) and len(alone) == 1 and isinstance(alone[0], Mapping):
            rest = {name: value for name, value in schema.items() if name != "allOf"}
            return self.written({**alone[0], **rest}, inside)
        return {
            name: self._part(name, value, inside)
            for name, value in schema.items()
            if name not in ("title", "$defs", "definitions")
        }

    def _part(self, name: str, value: Any, inside: Sequence[str]) -> Any:
        if name == "properties" and isinstance(value, Mapping):
            return {each: self.written(schema, inside) for each, schema in value.items()}
        if name in ("items", "additionalProperties", "not") and isinstance(value, Mapping):
            return self.written(value, inside)
        if name in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
            return [self.written(each, inside) for each in value]
        return value

    def _referred(self, schema: Mapping[str, Any], inside: Sequence[str]) -> dict[str, Any]:
        match = _REFERENCE.fullmatch(str(schema["$ref"]))
        name = match[1] if match is not None else ""
        if name not in self._definitions:
            raise BadRequest(f"args_json_schema: {schema['$ref']!r} names nothing in its $defs.")
        if name in inside:
            raise BadRequest(f"args_json_schema: {name} is made of itself, which no schema without references tells.")
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "title")}
        return {**self.written(self._definitions[name], (*inside, name)), **beside}
