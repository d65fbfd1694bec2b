"""JSON Schema of a type hint as it stands in source code, without running it.

A hint is read as pydantic would read the living type: `dict[str, int]`, `Optional[Step]`, `Literal["a", "b"]`, and the
classes that the source itself defines. Classes are written out where they are used, so that no schema has references.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from folkmoot.errors import BadRequest
from folkmoot.tools.custom.source import REMEDY, Source, unreadable

Schema: TypeAlias = dict[str, Any]

MOST_PARTS = 2000
"""Types that one tool's schema may be made of, classes written out wherever they are used."""

DEEPEST = 20

NULL: Schema = {"type": "null"}
_TEXT = ("annotated_types", "pydantic", "pydantic.types", "pydantic.networks", "typing_extensions", "typing")

_PLAIN: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "format": "binary"},
    "object": {},
    "typing.Any": {},
    "dict": {"type": "object"},
    "list": {"type": "array", "items": {}},
    "tuple": {"type": "array", "items": {}},
    "set": {"type": "array", "items": {}, "uniqueItems": True},
    "frozenset": {"type": "array", "items": {}, "uniqueItems": True},
    "datetime.datetime": {"type": "string", "format": "date-time"},
    "datetime.date": {"type": "string", "format": "date"},
    "datetime.time": {"type": "string", "format": "time"},
    "datetime.timedelta": {"type": "string", "format": "duration"},
    "uuid.UUID": {"type": "string", "format": "uuid"},
    "decimal.Decimal": {"anyOf": [{"type": "number"}, {"type": "string"}]},
    "pathlib.Path": {"type": "string", "format": "path"},
    "pydantic.EmailStr": {"type": "string", "format": "email"},
    "pydantic.HttpUrl": {"type": "string", "format": "uri"},
    "pydantic.AnyUrl": {"type": "string", "format": "uri"},
    "pydantic.StrictStr": {"type": "string"},
    "pydantic.StrictInt": {"type": "integer"},
    "pydantic.StrictFloat": {"type": "number"},
    "pydantic.StrictBool": {"type": "boolean"},
}

_LISTS = {"List", "Sequence", "MutableSequence", "Iterable", "Collection", "Deque"}
_MAPPINGS = {"Dict", "Mapping", "MutableMapping", "DefaultDict", "OrderedDict"}
_SETS = {"Set", "FrozenSet", "AbstractSet", "MutableSet"}
_SAME: dict[str, str] = {
    **{f"{module}.{name}": "list" for module in ("typing", "collections.abc") for name in _LISTS},
    **{f"{module}.{name}": "dict" for module in ("typing", "collections.abc") for name in _MAPPINGS},
    **{f"{module}.{name}": "set" for module in ("typing", "collections.abc") for name in _SETS},
    **{f"collections.{name}": "dict" for name in ("OrderedDict", "defaultdict")},
    "collections.deque": "list",
    "typing.Tuple": "tuple",
    "typing.Text": "str",
}


class Hints:
    """Reads the hints of one source."""

    def __init__(self, source: Source, read_class: Callable[[Hints, ast.ClassDef, str], Schema]) -> None:
        """Read hints of `source`; `read_class` reads the classes that it defines."""
        self.source = source
        self._read_class = read_class
        self._parts = 0
        self._inside: list[str] = []

    def schema(self, hint: ast.expr, where: str) -> Schema:
        """Return the schema of a type.

        Args:
            hint: the type, as it is written.
            where: whose type it is, for errors: `parameter 'steps'`.

        Raises:
            BadRequest: it cannot be read; the error says what can.
        """
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise unreadable(f"{where}: written out, its types are more than {MOST_PARTS:,}. Use fewer.", hint)
        if len(self._inside) > DEEPEST:
            raise unreadable(f"{where}: its types are nested more than {DEEPEST} deep. Use fewer.", hint)
        self._inside.append("")
        try:
            return self._schema(hint, where)
        finally:
            self._inside.pop()

    def _schema(self, hint: ast.expr, where: str) -> Schema:
        match hint:
            case ast.Constant(None):
                return dict(NULL)
            case ast.Constant(str(text)):
                return self.schema(_parsed(text, where, hint), where)
            case ast.BinOp(left, ast.BitOr(), right):
                return self._union([left, right], where)
            case ast.Subscript(base, inner):
                parts = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
                return self._generic(hint, self.source.full_name(base) or "", parts, where)
        return self._named(hint, where)

    def _named(self, hint: ast.expr, where: str) -> Schema:
        name = self.source.full_name(hint)
        if name is None:
            raise self._strange(hint, where)
        if name in self.source.classes:
            return self._class(name, hint, where)
        if name in self.source.aliases:
            return self._alias(name, self.source.aliases[name], where)
        name = _SAME.get(name, name)
        if name not in _PLAIN:
            raise self._strange(hint, where)
        return dict(_PLAIN[name])

    def _class(self, name: str, hint: ast.expr, where: str) -> Schema:
        if name in self._inside:
            raise unreadable(f"{where}: {name} is made of itself, which no schema without references tells.", hint)
        self._inside.append(name)
        try:
            return self._read_class(self, self.source.classes[name], where)
        finally:
            self._inside.pop()

    def _alias(self, name: str, value: ast.expr, where: str) -> Schema:
        if isinstance(value, ast.Call) and self.source.full_name(value.func) == "typing.NewType" and value.args[1:]:
            return self.schema(value.args[1], where)
        return self.schema(value, where)

    def _generic(self, hint: ast.expr, name: str, parts: Sequence[ast.expr], where: str) -> Schema:
        short = name.rpartition(".")[2]
        if not parts and short not in ("tuple", "Tuple"):
            raise self._strange(hint, where)
        match _SAME.get(name, name):
            case "list" | "set" | "frozenset" as kind:
                return {**_PLAIN[kind], "items": self.schema(parts[0], where)}
            case "dict" if len(parts) == 2:
                return self._mapping(parts[0], parts[1], where)
            case "tuple":
                return self._tuple(parts, where)
        if name.removesuffix(f".{short}") in _TEXT:
            match short:
                case "Optional":
                    return self._union([parts[0], ast.Constant(None)], where)
                case "Union":
                    return self._union(parts, where)
                case "Literal":
                    return self._literal(parts, where)
                case "Annotated":
                    return self._annotated(parts, where)
                case "Required" | "NotRequired" | "ReadOnly" | "Final":
                    return self.schema(parts[0], where)
        raise self._strange(hint, where)

    def _mapping(self, key: ast.expr, value: ast.expr, where: str) -> Schema:
        self.schema(key, where)  # a type that nobody knows is one there too
        values = self.schema(value, where)
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}

    def _tuple(self, parts: Sequence[ast.expr], where: str) -> Schema:
        if len(parts) == 2 and isinstance(parts[1], ast.Constant) and parts[1].value is Ellipsis:
            return {"type": "array", "items": self.schema(parts[0], where)}
        return tuple_of([self.schema(part, where) for part in parts])

    def _union(self, parts: Sequence[ast.expr], where: str) -> Schema:
        choices: list[Schema] = []
        for part in parts:
            schema = self.schema(part, where)
            choices += (
                [each for each in schema["anyOf"] if each not in choices]
                if list(schema) == ["anyOf"]
                else ([schema] if schema not in choices else [])
            )
        if {} in choices:
            return {}
        return choices[0] if len(choices) == 1 else {"anyOf": choices}

    def _literal(self, parts: Sequence[ast.expr], where: str) -> Schema:
        return enumeration([self.constant(part, where) for part in parts])

    def constant(self, node: ast.expr, where: str) -> Any:
        """Return the value of a constant that is written out, or of a member of an enumeration.

        Raises:
            BadRequest: it is none.
        """
        match node:
            case ast.Constant(str() | int() | float() | bool() | None as value):
                return value
            case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
                return -value
            case ast.Attribute(ast.Name(name), member) if name in self.source.classes:
                for statement in self.source.classes[name].body:
                    if isinstance(statement, ast.Assign) and _assigns(statement, member):
                        return self.constant(statement.value, where)
        raise unreadable(f"{where}: {ast.unparse(node)} is no text, number or truth value that is written out.", node)

    def _annotated(self, parts: Sequence[ast.expr], where: str) -> Schema:
        schema = self.schema(parts[0], where)
        for note in parts[1:]:
            if isinstance(note, ast.Constant) and isinstance(note.value, str):
                schema["description"] = note.value
            elif isinstance(note, ast.Call):
                schema = constrained(schema, note, self, where)
        return schema

    def _strange(self, hint: ast.expr, where: str) -> BadRequest:
        written = ast.unparse(hint)
        shown = written if len(written) <= 80 else f"{written[:79]}…"
        return unreadable(
            f"{where}: the type {shown} cannot be described to a model. "
            "Use Python's own types, Literal, lists, dicts and unions of them, and classes that the source defines as "
            f"pydantic model, dataclass, TypedDict or Enum. {REMEDY}",
            hint,
        )


_CONSTRAINTS = {
    "gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum",
    "multiple_of": "multipleOf", "pattern": "pattern", "description": "description",
}  # fmt: skip
_LENGTHS = {"min_length": "min", "max_length": "max"}


def constrained(schema: Schema, call: ast.Call, hints: Hints, where: str) -> Schema:
    """Return a schema with what pydantic's `Field(…)` says of it."""
    added: Schema = {}
    for keyword in call.keywords:
        name = keyword.arg or ""
        if name in _CONSTRAINTS:
            added[_CONSTRAINTS[name]] = hints.constant(keyword.value, where)
        elif name in _LENGTHS:
            what = {"string": "Length", "object": "Properties"}.get(schema.get("type", "array"), "Items")
            added[_LENGTHS[name] + what] = hints.constant(keyword.value, where)
    return {**schema, **added}


def tuple_of(items: Sequence[Schema]) -> Schema:
    """Return the schema of a list with so many items; providers refuse one that says what each of them is."""
    kinds = [item for place, item in enumerate(items) if item not in items[:place]]
    each = kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {}
    return {"type": "array", "items": each, "minItems": len(items), "maxItems": len(items)}


def enumeration(values: Sequence[Any]) -> Schema:
    """Return the schema of one of these values.

    >>> enumeration(["a", "b"])
    {'type': 'string', 'enum': ['a', 'b']}
    """
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    types = {names[type(value)] for value in values}
    kind: Schema = {"type": types.pop()} if len(types) == 1 else {}
    return {**kind, "enum": list(values)}


def _assigns(statement: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in statement.targets)


def _parsed(text: str, where: str, node: ast.expr) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise unreadable(f"{where}: the type {text[:80]!r} is no Python. {REMEDY}", node) from error
