"""A tool's schema from its Python function, and the arguments of a call from the model's JSON text.

    async def memory_insert(context: Context, label: str, new_string: str, insert_line: int = -1) -> str: …

becomes a tool of the same name with three parameters, of which the last may be left out. The docstring's
text up to `Args:` is the tool's description, and each entry there describes a parameter. The server gives
`context`.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from types import NoneType, SimpleNamespace, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from folkmoot.conversations.messages import clean_text
from folkmoot.errors import ToolFailed
from folkmoot.models.prompt import ToolSchema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTEXT = "context"
"""The parameter that the server fills in."""

IGNORED_ARGUMENTS = frozenset({"request_heartbeat", "thinking"})
"""Arguments that models of older programs add to any call."""

_TYPE_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}
_SECTION = re.compile(r"(Args|Arguments|Returns|Raises|Yields):\s*")
_ENTRY = re.compile(r"(?P<name>\w+)(?:\s*\([^)]*\))?:\s*(?P<text>.*)")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,300}(?:\.[0-9]{1,300})?(?:[eE][+-]?[0-9]{1,3})?")
_LARGEST_EXACT = 2**53
_MOST_SHOWN = 80


def tool_schema(function: Callable[..., Any]) -> ToolSchema:
    """Describe `function` as a tool.

    Raises:
        TypeError: a parameter has no type or no description, has a type that a tool cannot have, or the
            docstring describes a parameter that the function does not have.
    """
    name = function.__name__
    description, texts = _read_docstring(function.__doc__ or "")
    if not description:
        raise TypeError(f"{name}: the docstring has no text, so the tool would have no description.")
    parameters = dict(inspect.signature(function).parameters)
    parameters.pop(CONTEXT, None)
    types = _parameter_types(function, parameters)

    properties: dict[str, Any] = {}
    for key in parameters:
        if not texts.get(key):
            raise TypeError(f"{name}: the docstring's Args say nothing about {key!r}.")
        properties[key] = {**_json_type(types[key], f"{name}: {key}"), "description": texts[key]}
    if strangers := texts.keys() - parameters.keys() - {CONTEXT}:
        raise TypeError(f"{name}: the docstring describes {sorted(strangers)}, which are no parameters.")

    required = [key for key, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    return ToolSchema(name, description, {"type": "object", "properties": properties, "required": required})


def parse_arguments(schema: ToolSchema, text: str) -> dict[str, Any]:
    """Return the arguments in a model's JSON text, each of the type that the schema asks for.

    Values of another type are taken where nothing is lost: `"3"` and `3.0` for an integer, `"true"` for a
    boolean, one string for a list of strings. A null is left out, so that the function's default holds. Empty
    text is a call without arguments.

    Raises:
        ToolFailed: the text cannot be used; the message names every fault, for the model to mend.
    """
    return read_arguments(schema, _load_object(schema, text))


def read_arguments(schema: ToolSchema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments, each of the type that the schema asks for, as `parse_arguments` does.

    Raises:
        ToolFailed: they cannot be used; the message names every fault.
    """
    properties: Mapping[str, Any] = schema.parameters.get("properties", {})
    ignored = IGNORED_ARGUMENTS - properties.keys()
    given = {
        key: value
        for key, value in values.items()
        if key not in ignored and (value is not None or _takes_null(properties.get(key, {})))
    }

    reader = _Reader()
    arguments = reader.members(schema.parameters, given, "")
    if reader.faults:
        raise ToolFailed(f"{schema.name} was not run: {'; '.join(reader.faults)}. {_expected(schema)}")
    return arguments


def _read_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into its text before the first section and what `Args:` says of each parameter."""
    before: list[str] = []
    texts: dict[str, str] = {}
    section = current = ""
    indent: int | None = None
    for line in inspect.cleandoc(docstring).splitlines():
        stripped = line.strip()
        if match := _SECTION.fullmatch(line):
            section = match[1]
        elif not section:
            before.append(line)
        elif section in {"Args", "Arguments"} and stripped:
            depth = len(line) - len(line.lstrip())
            indent = depth if indent is None else indent
            if depth == indent and (entry := _ENTRY.fullmatch(stripped)):
                current = entry["name"]
                texts[current] = entry["text"]
            else:
                texts[current] = f"{texts.get(current, '')} {stripped}".strip()
    return "\n".join(before).strip(), texts


def _parameter_types(function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    """Resolve the annotations; that of `context` is left alone, since it may exist for type checkers only."""
    for key, parameter in parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
            raise TypeError(f"{function.__name__}: {key!r} cannot be passed by name, so a model cannot give it.")
        if parameter.annotation is parameter.empty:
            raise TypeError(f"{function.__name__}: {key!r} has no type.")
    annotations = {key: parameter.annotation for key, parameter in parameters.items()}
    scope = inspect.unwrap(function).__globals__
    return get_type_hints(SimpleNamespace(__annotations__=annotations), globalns=scope, include_extras=True)


def _json_type(annotation: Any, where: str) -> dict[str, Any]:
    """Give the JSON Schema: `list[int] | None` gives `{"type": "array", "items": {"type": "integer"}}`."""
    if annotation in _TYPE_NAMES:
        return {"type": _TYPE_NAMES[annotation]}
    if is_typeddict(annotation):
        return _typed_dict(annotation, where)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        texts = [text for text in arguments[1:] if isinstance(text, str)]
        return {**_json_type(arguments[0], where), **({"description": " ".join(texts)} if texts else {})}
    if origin is Literal and all(isinstance(value, str) for value in arguments):
        return {"type": "string", "enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _json_type(arguments[0], where)}
    if origin is dict:
        return {"type": "object"}
    if origin in {Union, UnionType}:
        others = [argument for argument in arguments if argument is not NoneType]
        if len(others) == 1:
            return _json_type(others[0], where)
    raise TypeError(f"{where}: a tool's parameter cannot have the type {annotation!r}.")


def _typed_dict(annotation: Any, where: str) -> dict[str, Any]:
    """Return the schema of a TypedDict; `Annotated[str, "…"]` describes a key."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for key, hint in get_type_hints(annotation, include_extras=True).items():
        # `__required_keys__` does not know annotations that were strings when the class was made.
        marked = get_origin(hint) in {Required, NotRequired}
        properties[key] = _json_type(get_args(hint)[0] if marked else hint, f"{where}.{key}")
        if (get_origin(hint) is Required) if marked else annotation.__total__:
            required.append(key)
    return {"type": "object", "properties": properties, "required": required}


def _load_object(schema: ToolSchema, text: str) -> dict[str, Any]:
    """Parse the text as one JSON object, also when it was packed into a JSON string once more."""
    value: Any = _load(schema, text) if text.strip() else {}
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = _load(schema, value)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        fault = f"its arguments must be one JSON object, not {_kind(value)}"
        raise ToolFailed(f"{schema.name} was not run: {fault}. {_expected(schema)}")
    return value


def _load(schema: ToolSchema, text: str) -> Any:
    """Parse JSON; line breaks inside strings are let through, since models write them."""
    fault: str
    try:
        return storable(json.loads(text, strict=False, parse_constant=_refuse_constant))
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 20) : error.pos + 20]
        fault = f"{error.msg} at line {error.lineno}, column {error.colno}, near {near!r}"
        cause: Exception = error
    except RecursionError as error:
        fault, cause = "they are nested too deeply", error
    except ValueError as error:
        fault, cause = f"{error}", error
    raise ToolFailed(
        f"{schema.name} was not run: its arguments are not valid JSON: {fault}. {_expected(schema)}"
    ) from cause


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def storable(value: Any) -> Any:
    """Return JSON's values with NUL and halves of surrogate pairs, which no database can store, shown as U+FFFD.

    Escapes of JSON bring them back: what is read from a text that was cleaned is not clean yet.
    """
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    return value


class _Reader:
    """Turns values into the types of a schema and gathers what is wrong with them."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def members(self, schema: Mapping[str, Any], values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        """Return an object's values, each as its property asks for."""
        properties: Mapping[str, Any] = schema.get("properties", {})
        for key in schema.get("required", ()):
            if key not in values:
                self.faults.append(f"{prefix}{key} is missing")
        read: dict[str, Any] = {}
        for key, value in values.items():
            if key in properties:
                read[key] = self.value(properties[key], value, f"{prefix}{key}")
            elif schema.get("additionalProperties") or (prefix and not properties):
                read[key] = value
            else:
                self.faults.append(f"there is no argument {_shown(prefix + key)}")
        return read

    def value(self, schema: Mapping[str, Any], value: Any, where: str) -> Any:
        """Return one value as its schema asks for."""
        kind = schema.get("type")
        if isinstance(choices := schema.get("anyOf"), list):
            return self._choice(schema, choices, value, where)
        if kind == "array":
            items = _as_list(value, schema.get("items", {}))
            if items is not None:
                item = schema.get("items", {})
                return [self.value(item, each, f"{where}[{index}]") for index, each in enumerate(items)]
        elif kind == "object":
            packed = _as_object(value)
            if packed is not None:
                return self.members(schema, packed, f"{where}.")
        elif isinstance(kind, str) and kind in _READERS:
            try:
                return _choose(schema, _READERS[kind](value))
            except ValueError:
                pass
        else:
            return value
        self.faults.append(f"{where} must be {_wanted(schema)}, not {_shown(value)}")
        return value

    def _choice(self, schema: Mapping[str, Any], choices: list[Any], value: Any, where: str) -> Any:
        """Return the value as the first choice that has it as it is, or else the first that it can be read as."""
        for choice in sorted(choices, key=lambda choice: not _is_of(choice, value)):
            reader = _Reader()
            read = reader.value(choice, value, where)
            if not reader.faults:
                return read
        self.faults.append(f"{where} must be {_wanted(schema)}, not {_shown(value)}")
        return value


def _takes_null(schema: Mapping[str, Any]) -> bool:
    choices = schema.get("anyOf")
    return schema.get("type") == "null" or (isinstance(choices, list) and any(map(_takes_null, choices)))


def _is_of(schema: Mapping[str, Any], value: Any) -> bool:
    """Tell whether a value is of the type that a schema names."""
    types = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    return schema.get("type") == types.get(type(value), "null")


def _read_null(value: Any) -> None:
    if value is not None:
        raise ValueError


def _read_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST_EXACT:
        return str(value)
    raise ValueError


def _read_integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_EXACT:
        return int(value)
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
        return int(value)
    raise ValueError


def _read_number(value: Any) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, int) and abs(value) > _LARGEST_EXACT:
            raise ValueError
        if math.isfinite(value):
            return value
    raise ValueError


def _read_boolean(value: Any) -> bool:
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower())
    if isinstance(value, bool):
        return value
    raise ValueError


_READERS: dict[str, Callable[[Any], Any]] = {
    "string": _read_string,
    "integer": _read_integer,
    "number": _read_number,
    "boolean": _read_boolean,
    "null": _read_null,
}


def _choose(schema: Mapping[str, Any], value: Any) -> Any:
    """Return the value if the schema's enum has it, written the enum's way; without an enum, the value."""
    choices = schema.get("enum")
    if choices is None or value in choices:
        return value
    if isinstance(value, str):
        for choice in choices:
            if isinstance(choice, str) and choice.casefold() == value.strip().casefold():
                return choice
    raise ValueError


def _as_list(value: Any, item: Mapping[str, Any]) -> list[Any] | None:
    """Return a list as it is, and one string as a list of strings: `"a"` and `'["a"]'` both give `["a"]`."""
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        return None
    if value.lstrip().startswith("["):
        try:
            packed = storable(json.loads(value))
        except (ValueError, RecursionError):
            packed = None
        if isinstance(packed, list):
            return packed
    return [value] if item.get("type") == "string" else None


def _as_object(value: Any) -> dict[str, Any] | None:
    """Return an object as it is, and out of a text that is one as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = storable(json.loads(value))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _wanted(schema: Mapping[str, Any]) -> str:
    """Name the type that a schema asks for: `a string`, `a list of strings`, `one of 'a', 'b'`."""
    if isinstance(choices := schema.get("anyOf"), list):
        return " or ".join(map(_wanted, choices))
    if "enum" in schema:
        return f"one of {', '.join(repr(choice) for choice in schema['enum'])}"
    if schema.get("type") == "array":
        return f"a list of {schema.get('items', {}).get('type', 'value')}s"
    kind = schema.get("type", "value")
    return {"integer": "an integer", "object": "an object", "null": "null"}.get(kind, f"a {kind}")


def _kind(value: Any) -> str:
    return {list: "a list", str: "a string", bool: "a boolean"}.get(type(value), "a number")


def _shown(value: Any) -> str:
    """Show a value as JSON, cut short."""
    text = json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


def _expected(schema: ToolSchema) -> str:
    """Say which arguments the tool takes."""
    required = set(schema.parameters.get("required", ()))
    properties = schema.parameters.get("properties", {})
    names = [name if name in required else f"{name} (optional)" for name in properties]
    return f"Its arguments are: {', '.join(names)}." if names else "It takes no arguments."
