"""JSON Schema of a TypeScript type as it stands in source code.

A type is what JSON makes of it: `Record<string, number>`, `"a" | "b"`, `string[]`, and the interfaces, type aliases and
enumerations that the source itself declares, which are written out where they are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from folkmoot.errors import BadRequest
from folkmoot.tools.custom.annotations import DEEPEST, MOST_PARTS, NULL, Schema, enumeration, tuple_of
from folkmoot.tools.custom.source import REMEDY

if TYPE_CHECKING:
    from tree_sitter import Node

_PREDEFINED: dict[str, Schema] = {
    "string": {"type": "string"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "object": {"type": "object"},
    "any": {},
    "unknown": {},
}
_LISTS = ("Array", "ReadonlyArray")
_SAME = ("Readonly", "Required", "NonNullable")
UNDEFINED: Schema = {"not": {}}
"""What may be left out, among the members of a union."""


def text_of(node: Node) -> str:
    """Return a node's source."""
    return (node.text or b"").decode(errors="replace")


def unreadable(what: str, node: Node | None = None) -> BadRequest:
    """Return the error of source that gives no schema; `node` is where."""
    return BadRequest(f"source_code: {what}", **({} if node is None else {"line": node.start_point.row + 1}))


@dataclass
class Types:
    """Reads the types of one source."""

    declared: dict[str, Node] = field(default_factory=dict)
    """Its interfaces, type aliases and enumerations, by name."""

    _parts: int = 0
    _inside: list[str] = field(default_factory=list)

    def schema(self, node: Node, where: str) -> Schema:
        """Return the schema of a type.

        Args:
            node: the type.
            where: whose type it is, for errors: `parameter 'steps'`.

        Raises:
            BadRequest: it cannot be read; the error says what can.
        """
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise unreadable(f"{where}: written out, its types are more than {MOST_PARTS:,}. Use fewer.", node)
        if len(self._inside) > DEEPEST:
            raise unreadable(f"{where}: its types are nested more than {DEEPEST} deep. Use fewer.", node)
        self._inside.append("")
        try:
            return self._schema(node, where)
        finally:
            self._inside.pop()

    def _schema(self, node: Node, where: str) -> Schema:
        match node.type:
            case "type_annotation" | "parenthesized_type" | "readonly_type":
                return self.schema(node.named_children[-1], where)
            case "predefined_type" if text_of(node) in _PREDEFINED:
                return dict(_PREDEFINED[text_of(node)])
            case "literal_type":
                return self._literal(node, where)
            case "array_type":
                return {"type": "array", "items": self.schema(node.named_children[0], where)}
            case "tuple_type":
                return tuple_of([self.schema(each, where) for each in node.named_children])
            case "union_type":
                return self._union(node, where)
            case "intersection_type":
                return merged([self.schema(each, where) for each in _flat(node, "intersection_type")])
            case "object_type":
                return self._object(node, where)
            case "generic_type":
                return self._generic(node, where)
            case "type_identifier" if text_of(node) in self.declared:
                return self._declared(text_of(node), node, where)
        raise self._strange(node, where)

    def _literal(self, node: Node, where: str) -> Schema:
        value = constant(node.children[0])
        if text_of(node) == "undefined":
            return dict(UNDEFINED)
        if value is ...:
            raise self._strange(node, where)
        return dict(NULL) if value is None else enumeration([value])

    def _union(self, node: Node, where: str) -> Schema:
        choices: list[Schema] = []
        values: list[Any] = []
        optional = False
        for part in _flat(node, "union_type"):
            schema = self.schema(part, where)
            if schema == UNDEFINED:
                optional = True
            elif "enum" in schema:
                values += [value for value in schema["enum"] if value not in values]
            elif schema not in choices:
                choices.append(schema)
        if values:
            choices.insert(0, enumeration(values))
        if {} in choices:
            return {}
        if optional:
            choices.append(dict(UNDEFINED))
        return choices[0] if len(choices) == 1 else {"anyOf": choices}

    def _generic(self, node: Node, where: str) -> Schema:
        name = text_of(node.child_by_field_name("name") or node.children[0])
        arguments = node.child_by_field_name("type_arguments")
        parts = arguments.named_children if arguments is not None else []
        if name in _LISTS and len(parts) == 1:
            return {"type": "array", "items": self.schema(parts[0], where)}
        if name == "Record" and len(parts) == 2:
            return self._record(parts[0], parts[1], where)
        if name in (*_SAME, "Partial") and len(parts) == 1:
            schema = self.schema(parts[0], where)
            return {**schema, "required": []} if name == "Partial" and "required" in schema else schema
        raise self._strange(node, where)

    def _record(self, key: Node, value: Node, where: str) -> Schema:
        keys, values = self.schema(key, where), self.schema(value, where)
        if "enum" in keys:
            names = [str(each) for each in keys["enum"]]
            return {"type": "object", "properties": dict.fromkeys(names, values), "required": names}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}

    def _declared(self, name: str, node: Node, where: str) -> Schema:
        if name in self._inside:
            raise unreadable(f"{where}: {name} is made of itself, which no schema without references tells.", node)
        self._inside.append(name)
        try:
            return self._declaration(self.declared[name], where)
        finally:
            self._inside.pop()

    def _declaration(self, node: Node, where: str) -> Schema:
        if node.child_by_field_name("type_parameters") is not None:
            raise self._strange(node.child_by_field_name("name") or node, where)
        if node.type == "enum_declaration":
            return enumeration(_members(node, where))
        if node.type == "type_alias_declaration":
            value = node.child_by_field_name("value")
            assert value is not None
            return self.schema(value, where)
        body = node.child_by_field_name("body")
        assert body is not None
        bases = [child for child in node.children if child.type == "extends_type_clause"]
        inherited = [self.schema(each, where) for base in bases for each in base.named_children]
        return merged([*inherited, self._object(body, where)])

    def _object(self, node: Node, where: str) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        others: Schema | None = None
        for member in node.named_children:
            kind = member.child_by_field_name("type")
            if member.type == "index_signature" and kind is not None:
                others = self.schema(kind, where)
            elif member.type == "property_signature":
                name = name_of(member)
                schema = self.schema(kind, f"{where}, {name}") if kind is not None else {}
                schema, optional = without_undefined(schema)
                properties[name] = described(schema, comment_before(member))
                if not optional and not any(child.type == "?" for child in member.children):
                    required.append(name)
            elif member.type != "comment":
                raise self._strange(member, where)
        if others is not None and not properties:
            return {"type": "object", "additionalProperties": others} if others else {"type": "object"}
        return {"type": "object", "properties": properties, "required": required}

    def _strange(self, node: Node, where: str) -> BadRequest:
        written = " ".join(text_of(node).split())
        shown = written if len(written) <= 80 else f"{written[:79]}…"
        return unreadable(
            f"{where}: the type {shown} cannot be described to a model. Use string, number, boolean, literals, arrays, "
            "Record, unions of them, and interfaces, types and enums that the source declares without parameters. "
            f"{REMEDY}",
            node,
        )


def _flat(node: Node, kind: str) -> Iterator[Node]:
    """Yield the members of a union or an intersection, which the parser nests from the left."""
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if each.type == kind:
            waiting += reversed(each.named_children)
        elif each.type != "comment":
            yield each


def _members(node: Node, where: str) -> list[Any]:
    """Return the values of an enumeration."""
    body = node.child_by_field_name("body")
    values: list[Any] = []
    following: Any = 0
    for member in body.named_children if body is not None else ():
        if member.type == "comment":
            continue
        given = member.child_by_field_name("value")
        value = constant(given) if given is not None else following
        if not isinstance(value, str | int | float):
            raise unreadable(f"{where}: a member of an enumeration is no text or number that is written out.", member)
        values.append(value)
        following = value + 1 if isinstance(value, int | float) else ...
    return values


def constant(node: Node) -> Any:
    """Return the value of a text, number or truth value that is written out; `...` for anything else."""
    match node.type:
        case "true" | "false":
            return node.type == "true"
        case "null":
            return None
        case "number":
            return _number(text_of(node))
        case "unary_expression" if text_of(node).startswith("-") and isinstance(
            value := constant(node.named_children[0]), int | float
        ):
            return -value
        case "string":
            return "".join(map(_fragment, node.named_children))
    return ...


def _number(text: str) -> Any:
    text = text.replace("_", "").lower()
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return ...


def _fragment(node: Node) -> str:
    text = text_of(node)
    if node.type != "escape_sequence":
        return text
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text[1:]


def name_of(node: Node) -> str:
    """Return the name of a property, written with or without quotes."""
    name = node.child_by_field_name("name")
    if name is None:
        return ""
    value = constant(name)
    return text_of(name) if value is ... else str(value)


def merged(schemas: Sequence[Schema]) -> Schema:
    """Return the schema of an object that has what each of these objects has."""
    if len(schemas) == 1:
        return schemas[0]
    properties: dict[str, Schema] = {}
    required: dict[str, None] = {}
    for schema in schemas:
        properties |= schema.get("properties", {})
        required |= dict.fromkeys(schema.get("required", ()))
    return {"type": "object", "properties": properties, "required": list(required)}


def without_undefined(schema: Schema) -> tuple[Schema, bool]:
    """Return a schema without `undefined`, and whether it was there."""
    if schema == UNDEFINED:
        return {}, True
    choices = schema.get("anyOf", [])
    if UNDEFINED not in choices:
        return schema, False
    others = [each for each in choices if each != UNDEFINED]
    return others[0] if len(others) == 1 else {"anyOf": others}, True


def described(schema: Schema, text: str) -> Schema:
    """Return a schema with a description, where there is one."""
    return {**schema, "description": text} if text else schema


def comment_before(node: Node) -> str:
    """Return the text of the JSDoc comment right before a node; empty where there is none."""
    before = node.prev_named_sibling
    return comment_text(text_of(before)) if before is not None and before.type == "comment" else ""


def comment_text(comment: str) -> str:
    r"""Return what a JSDoc comment says, without its stars; empty for any other comment.

    >>> comment_text("/** Adds.\n * Numbers. */")
    'Adds.\nNumbers.'
    """
    if not comment.startswith("/**"):
        return ""
    lines = (line.strip().removeprefix("*").strip() for line in comment[3:].removesuffix("*/").splitlines())
    return "\n".join(lines).strip()
