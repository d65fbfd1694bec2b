"""JSON Schema of the classes that a source defines: pydantic models, dataclasses, TypedDicts and enumerations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from folkmoot.tools.custom.annotations import Hints, Schema, constrained, enumeration
from folkmoot.tools.custom.source import REMEDY, unreadable

_MODELS = {"pydantic.BaseModel", "pydantic.main.BaseModel"}
_TYPED_DICTS = {"typing.TypedDict", "typing_extensions.TypedDict"}
_ENUMS = {"enum.Enum", "enum.IntEnum", "enum.StrEnum"}
_DATACLASSES = {"dataclasses.dataclass", "pydantic.dataclasses.dataclass", "dataclass"}
_FIELDS = {"pydantic.Field", "pydantic.fields.Field", "dataclasses.field"}
_CLASS_VARIABLES = {"typing.ClassVar", "typing_extensions.ClassVar"}


def read_class(hints: Hints, definition: ast.ClassDef, where: str) -> Schema:
    """Return the schema of a class.

    Raises:
        BadRequest: it is of no kind that a schema can tell, or a field of it has no such type.
    """
    match _kind(hints, definition):
        case "enum":
            return _described(enumeration(_members(hints, definition, where)), definition)
        case "typed dict":
            return _object(hints, definition, where, list(_keys(hints, definition)))
        case "model" | "dataclass" as kind:
            return _object(hints, definition, where, list(_fields(hints, definition, kind)))
    raise unreadable(
        f"{where}: the class {definition.name} is no pydantic model, dataclass, TypedDict or Enum. {REMEDY}",
        definition,
    )


def _kind(hints: Hints, definition: ast.ClassDef, seen: tuple[str, ...] = ()) -> str | None:
    names = [hints.source.full_name(base) for base in definition.bases]
    for name in names:
        if name in _MODELS:
            return "model"
        if name in _TYPED_DICTS:
            return "typed dict"
        if name in _ENUMS:
            return "enum"
        if name in hints.source.classes and name not in seen:
            kind = _kind(hints, hints.source.classes[name], (*seen, definition.name))
            if kind in ("model", "typed dict"):
                return kind
    decorators = [each.func if isinstance(each, ast.Call) else each for each in definition.decorator_list]
    return "dataclass" if any(hints.source.full_name(each) in _DATACLASSES for each in decorators) else None


@dataclass
class _Field:
    """A field of an object, and whether it has to be there."""

    name: str
    hint: ast.expr
    required: bool
    declared: ast.Call | None = None
    """Pydantic's or a dataclass's `Field(…)`."""


def _lineage(hints: Hints, definition: ast.ClassDef, seen: tuple[str, ...] = ()) -> Iterator[ast.ClassDef]:
    """Yield a class's ancestors in the source, the farthest first, and itself."""
    for base in reversed(definition.bases):
        name = hints.source.full_name(base)
        if name in hints.source.classes and name not in (*seen, definition.name):
            yield from _lineage(hints, hints.source.classes[name], (*seen, definition.name))
    yield definition


def _declarations(definition: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign]]:
    for statement in definition.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, statement


def _fields(hints: Hints, definition: ast.ClassDef, kind: str) -> Iterator[_Field]:
    """Yield the fields of a model or a dataclass, those that it inherits first."""
    found: dict[str, _Field] = {}
    for each in _lineage(hints, definition):
        for name, statement in _declarations(each):
            hint, value = statement.annotation, statement.value
            if _is_class_variable(hints, hint) or (
                kind == "model" and (name.startswith("_") or name == "model_config")
            ):
                continue
            if hints.source.full_name(hint) == "dataclasses.KW_ONLY":
                continue
            declared = value if isinstance(value, ast.Call) and hints.source.full_name(value.func) in _FIELDS else None
            if declared is not None and _keyword(declared, "init", False) is False:
                continue
            found[name] = _Field(name, hint, _is_required(value, declared), declared)
    yield from found.values()


def _is_required(value: ast.expr | None, declared: ast.Call | None) -> bool:
    if declared is None:
        return value is None or (isinstance(value, ast.Constant) and value.value is Ellipsis)
    if any(keyword.arg == "default_factory" for keyword in declared.keywords):
        return False
    given = [*declared.args[:1], *(keyword.value for keyword in declared.keywords if keyword.arg == "default")]
    return not given or (isinstance(given[0], ast.Constant) and given[0].value is Ellipsis)


def _keyword(call: ast.Call, name: str, otherwise: Any) -> Any:
    """Return a keyword's constant; another constant than `otherwise` where it is none or not there."""
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None if otherwise is False else otherwise


def _is_class_variable(hints: Hints, hint: ast.expr) -> bool:
    base = hint.value if isinstance(hint, ast.Subscript) else hint
    return hints.source.full_name(base) in _CLASS_VARIABLES


def _keys(hints: Hints, definition: ast.ClassDef) -> Iterator[_Field]:
    """Yield the keys of a TypedDict."""
    found: dict[str, _Field] = {}
    for each in _lineage(hints, definition):
        total = not any(
            keyword.arg == "total" and isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            for keyword in each.keywords
        )
        for name, statement in _declarations(each):
            found[name] = _Field(name, statement.annotation, _key_required(hints, statement.annotation, total))
    yield from found.values()


def _key_required(hints: Hints, hint: ast.expr, total: bool) -> bool:
    while isinstance(hint, ast.Subscript):
        short = (hints.source.full_name(hint.value) or "").rpartition(".")[2]
        if short in ("Required", "NotRequired"):
            return short == "Required"
        if short not in ("Annotated", "ReadOnly"):
            break
        hint = hint.slice.elts[0] if isinstance(hint.slice, ast.Tuple) else hint.slice
    return total


def _object(hints: Hints, definition: ast.ClassDef, where: str, fields: list[_Field]) -> Schema:
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for field in fields:
        schema = hints.schema(field.hint, f"{where}, {definition.name}.{field.name}")
        name = field.name
        if field.declared is not None:
            schema = constrained(schema, field.declared, hints, where)
            alias = _keyword(field.declared, "alias", "")
            name = alias if isinstance(alias, str) and alias else name
        properties[name] = schema
        if field.required:
            required.append(name)
    return _described({"type": "object", "properties": properties, "required": required}, definition)


def _described(schema: Schema, definition: ast.ClassDef) -> Schema:
    text = ast.get_docstring(definition)
    return {**schema, "description": text} if text else schema


def _members(hints: Hints, definition: ast.ClassDef, where: str) -> list[Any]:
    """Return the values of an enumeration."""
    values: list[Any] = []
    texts = any(hints.source.full_name(base) == "enum.StrEnum" for base in definition.bases)
    for statement in definition.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        name, value = statement.targets[0].id, statement.value
        if name.startswith("_"):
            continue
        if isinstance(value, ast.Call) and hints.source.full_name(value.func) in ("enum.auto", "auto"):
            numbers = [each for each in values if isinstance(each, int)]
            values.append(name.lower() if texts else max(numbers, default=0) + 1)
        else:
            values.append(hints.constant(value, f"{where}, {definition.name}.{name}"))
    if not values:
        raise unreadable(f"{where}: the enumeration {definition.name} has no members.", definition)
    return values
