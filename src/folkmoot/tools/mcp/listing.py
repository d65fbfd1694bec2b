"""A server's tools as it lists them, made into tools that any model can be told of.

What a server says of its tools is not to be trusted: a schema may be none, refer to itself without end, or be so large
that no model has room for it. A tool whose schema cannot be used is not taken, and the listing says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from folkmoot.tools.mcp.portable import NotPortable, portable

if TYPE_CHECKING:
    import mcp_types

LONGEST_NAME = 64
"""Characters of a tool's name that every provider takes."""

LONGEST_DESCRIPTION = 20_000
LARGEST_SCHEMA = 60_000
"""Characters of a tool's schema as JSON."""

DEEPEST_SCHEMA = 20

Status: TypeAlias = Literal["STRICT_COMPLIANT", "NON_STRICT_ONLY", "INVALID"]
"""Whether models that are held to a schema can be held to this one."""

_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_TYPES = frozenset({"string", "integer", "number", "boolean", "object", "array", "null"})
_OF_SCHEMAS = ("properties", "$defs", "definitions")
_LIST_OF_SCHEMAS = ("anyOf", "oneOf", "allOf")
_SCHEMA = ("items", "not", "additionalProperties")
_LEFT_OUT = frozenset({"$schema", "$id", "$anchor", "$comment"})


@dataclass(frozen=True, slots=True)
class ListedTool:
    """A tool of a server."""

    remote_name: str
    """What the server calls it."""

    name: str
    """What models call it: the same, as far as providers take it."""

    description: str
    parameters: Mapping[str, Any]
    status: Status
    reasons: Sequence[str]
    only_reads: bool
    """Whether the server says that it changes nothing, so that calls may run at the same time."""

    raw: Mapping[str, Any]
    """The tool as the server listed it."""

    @property
    def is_sound(self) -> bool:
        """Whether agents can be given it."""
        return self.status != "INVALID"

    @property
    def json_schema(self) -> dict[str, Any]:
        """What models are told of it, and how sound it is."""
        return {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "mcp:SCHEMA_STATUS": self.status,
            "mcp:SCHEMA_WARNINGS": list(self.reasons),
        }


def read_listing(tools: Iterable[mcp_types.Tool]) -> list[ListedTool]:
    """Return a server's tools, each name once."""
    taken: set[str] = set()
    seen: set[str] = set()
    found: list[ListedTool] = []
    for tool in tools:
        if tool.name in seen:
            continue
        seen.add(tool.name)
        found.append(_read(tool, _free_name(tool.name, taken)))
    return found


def _read(tool: mcp_types.Tool, name: str) -> ListedTool:
    reader = _SchemaReader()
    parameters = reader.top(tool.input_schema)
    if tool.execution is not None and tool.execution.task_support == "required":
        reader.faults.append("it can only be called as a task of the protocol, which is not spoken")
    description = _clean(tool.description or tool.title or "")
    if reader.needs:
        alternatives = "; or ".join(", ".join(each) for each in reader.needs)
        description = f"{description}\n\nOne of these has to be given: {_clean(alternatives)}.".lstrip()
    if len(description) > LONGEST_DESCRIPTION:
        description = description[:LONGEST_DESCRIPTION] + "…"
    annotations = tool.annotations
    raw = tool.model_dump(by_alias=True, mode="json")
    return ListedTool(
        remote_name=tool.name,
        name=name,
        description=description,
        parameters=parameters,
        status="INVALID" if reader.faults else "NON_STRICT_ONLY" if reader.loose else "STRICT_COMPLIANT",
        reasons=reader.faults or reader.loose,
        only_reads=bool(annotations is not None and annotations.read_only_hint),
        raw={
            key: raw.get(key)
            for key in ("name", "title", "description", "inputSchema", "outputSchema", "annotations", "_meta")
        },
    )


def _free_name(name: str, taken: set[str]) -> str:
    """Return a name that providers take and no other tool of the server has."""
    base = _NOT_IN_NAMES.sub("_", name)[:LONGEST_NAME] or "tool"
    free, number = base, 1
    while free in taken:
        number += 1
        free = f"{base[: LONGEST_NAME - 4]}_{number}"
    taken.add(free)
    return free


def _clean(text: str) -> str:
    return re.sub("[\0\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


class _SchemaReader:
    """Reads a schema, keeps what is sound, and notes what is not (`faults`) or is not strict (`loose`)."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.loose: list[str] = []
        self.needs: list[list[str]] = []
        """The alternatives among what has to be given."""

    def top(self, schema: Any) -> dict[str, Any]:
        """Return the schema of all arguments."""
        try:
            size = len(json.dumps(schema))
        except (ValueError, RecursionError):
            size = LARGEST_SCHEMA + 1
        if size > LARGEST_SCHEMA:
            self.faults.append(f"its schema has more than {LARGEST_SCHEMA:,} characters or is nested without end")
            return {"type": "object", "properties": {}}
        try:
            made = portable(schema, LARGEST_SCHEMA)
        except (NotPortable, RecursionError) as error:
            self.faults.append(str(error) if isinstance(error, NotPortable) else "its schema is nested too deeply")
            return {"type": "object", "properties": {}}
        self.needs = made.needs
        read = self._schema(made.schema, "parameters", 0)
        if read.get("type", "object") != "object":
            self.faults.append("its arguments are no object")
        return {**read, "type": "object", "properties": read.get("properties", {})}

    def _schema(self, schema: Any, where: str, depth: int) -> dict[str, Any]:
        if isinstance(schema, bool):
            return {}
        if not isinstance(schema, dict) or depth > DEEPEST_SCHEMA:
            self.faults.append(f"{where} is no schema" if depth <= DEEPEST_SCHEMA else f"{where} is nested too deeply")
            return {}
        read: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _LEFT_OUT:
                continue
            read[_clean(key)] = self._value(key, value, f"{where}.{key}", depth)
        if read.get("type") == "object" or "properties" in read:
            self._see_strictness(read, where)
        return read

    def _value(self, key: str, value: Any, where: str, depth: int) -> Any:
        if key in _OF_SCHEMAS:
            return self._schemas(value, where, depth)
        if key in _LIST_OF_SCHEMAS and isinstance(value, list):
            return [self._schema(each, f"{where}[{place}]", depth + 1) for place, each in enumerate(value)]
        if key in _SCHEMA and not isinstance(value, bool):
            return self._schema(value, where, depth + 1)
        self._check(key, value, where)
        return _clean_value(value)

    def _schemas(self, value: Any, where: str, depth: int) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.faults.append(f"{where} is no object")
            return {}
        return {_clean(name): self._schema(each, f"{where}.{name}", depth + 1) for name, each in value.items()}

    def _check(self, key: str, value: Any, where: str) -> None:
        """Note a keyword whose value is not what it has to be."""
        named = value if isinstance(value, list) else [value]
        if key == "type" and not all(isinstance(each, str) and each in _TYPES for each in named):
            self.faults.append(f"{where} is no type")
        elif key == "required" and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            self.faults.append(f"{where} is no list of names")
        elif key == "enum" and not (isinstance(value, list) and value):
            self.faults.append(f"{where} is no list of values")
        elif key in _LIST_OF_SCHEMAS:
            self.faults.append(f"{where} is no list of schemas")
        elif key in ("$ref", "$dynamicRef") and not (isinstance(value, str) and value.startswith("#")):
            self.faults.append(f"{where} refers to something outside of the schema")

    def _see_strictness(self, schema: Mapping[str, Any], where: str) -> None:
        if schema.get("additionalProperties") not in (False, None):
            self.loose.append(f"{where} takes further arguments")
        if missing := set(schema.get("properties", ())) - set(_names(schema.get("required"))):
            self.loose.append(f"{where}: optional: {', '.join(sorted(missing))}")


def _names(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _clean_value(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, list):
        return [_clean_value(each) for each in value]
    if isinstance(value, dict):
        return {_clean(key): _clean_value(each) for key, each in value.items()}
    return value
