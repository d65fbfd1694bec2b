"""A tool's schema from TypeScript source: from signature, types and JSDoc comment, which are parsed and never run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from folkmoot.tools.custom.annotations import Schema
from folkmoot.tools.custom.reading import INJECTED, LONGEST_DOCSTRING, ReadTool
from folkmoot.tools.custom.source import REMEDY
from folkmoot.tools.custom.typescript_types import (
    Types,
    comment_before,
    constant,
    described,
    name_of,
    text_of,
    unreadable,
    without_undefined,
)

if TYPE_CHECKING:
    from tree_sitter import Node

_DECLARATIONS = ("interface_declaration", "type_alias_declaration", "enum_declaration")
_FUNCTIONS = ("function_declaration", "generator_function_declaration")
_CALLABLE = ("arrow_function", "function_expression")
_PARAMETER = re.compile(r"@param\s+(?:\{[^}]*\}\s*)?\[?(?P<name>[\w$.]+)[^\s\]]*\]?\s*(?:-\s*)?(?P<text>[^@]*)")


@dataclass(frozen=True, slots=True)
class _Function:
    """A function at the top level of a source."""

    name: str
    node: Node
    exported: bool
    comment: str


@dataclass
class _Source:
    functions: dict[str, _Function] = field(default_factory=dict)
    types: Types = field(default_factory=Types)

    def function(self, name: str | None) -> _Function:
        """Return the function that is the tool: the one of this name, or else the last, exported ones first.

        Raises:
            BadRequest: there is no function.
        """
        if name in self.functions:
            return self.functions[name]
        if not self.functions:
            raise unreadable("it declares no function; a tool is a function at its top level.")
        functions = list(self.functions.values())
        return next((each for each in reversed(functions) if each.exported), functions[-1])


def read_tool(text: str, name: str | None = None, description: str | None = None) -> ReadTool:
    """Return what TypeScript source tells of the tool that it is.

    Args:
        text: the source.
        name: the function that is the tool, where it has several; the last exported one when None or not there.
        description: what the tool does, where no comment says it.

    Raises:
        BadRequest: it cannot be read; the error names the parameter, the line and the remedy.
    """
    source = _read(text)
    function = source.function(name)
    said, texts = _comment(function.comment)
    parameters = _parameters(source.types, function, texts)
    told = said or description or f"{function.name}({', '.join(parameters['properties'])})"
    return ReadTool(function.name, told, parameters)


def describe_tool(text: str, name: str | None = None) -> tuple[str, str]:
    """Return the name of the function that is the tool of a TypeScript source, and what its comment says of it.

    Raises:
        BadRequest: the source cannot be read, or has no function.
    """
    function = _read(text).function(name)
    return function.name, _comment(function.comment)[0]


def parsed(text: str) -> Node:
    """Return the syntax tree of a source."""
    import tree_sitter_typescript  # only those who make tools in TypeScript need it
    from tree_sitter import Language, Parser

    return Parser(Language(tree_sitter_typescript.language_typescript())).parse(text.encode()).root_node


def _read(text: str) -> _Source:
    if not text.strip():
        raise unreadable("it is empty; send the function that the tool is.")
    root = parsed(text)
    if root.has_error:
        place = _first_error(root)
        raise unreadable(f"line {place.start_point.row + 1}: it cannot be read as TypeScript.", place)
    source = _Source()
    for statement in root.named_children:
        _take(statement, source)
    return source


def _first_error(root: Node) -> Node:
    node = root
    while not (node.is_error or node.is_missing):
        node = next(child for child in node.children if child.has_error or child.is_missing)
    return node


def _take(statement: Node, source: _Source) -> None:
    exported = statement.type == "export_statement"
    declared = statement.child_by_field_name("declaration") if exported else statement
    if declared is None:
        return
    if declared.type in _DECLARATIONS:
        source.types.declared[name_of(declared)] = declared
    elif declared.type in _FUNCTIONS:
        _keep(source, _Function(name_of(declared), declared, exported, comment_before(statement)))
    elif declared.type in ("lexical_declaration", "variable_declaration"):
        for each in declared.named_children:
            value = each.child_by_field_name("value")
            if value is not None and value.type in _CALLABLE:
                _keep(source, _Function(name_of(each), value, exported, comment_before(statement)))


def _keep(source: _Source, function: _Function) -> None:
    source.functions.pop(function.name, None)  # the last declaration stands last
    source.functions[function.name] = function


def _comment(text: str) -> tuple[str, dict[str, str]]:
    """Return what a comment says of a function, and of its parameters by name."""
    text = text[:LONGEST_DOCSTRING]
    said = re.split(r"^@", text, maxsplit=1, flags=re.MULTILINE)[0].strip()
    found = _PARAMETER.finditer(text)
    return said, {match["name"].rpartition(".")[2]: " ".join(match["text"].split()) for match in found}


def _parameters(types: Types, function: _Function, texts: dict[str, str]) -> Schema:
    each = list(_each(function))
    if len(each) == 1 and (together := _pattern(each[0])).type == "object_pattern":
        return _together(types, function, each[0], together, texts)
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for parameter in each:
        name = text_of(_pattern(parameter))
        schema, optional = without_undefined(_schema(types, function, parameter, f"parameter {name!r}"))
        properties[name] = described(schema, texts.get(name, ""))
        if not optional and parameter.type == "required_parameter" and not parameter.child_by_field_name("value"):
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _each(function: _Function) -> Iterator[Node]:
    """Yield the parameters but for those that are filled in.

    Raises:
        BadRequest: one cannot be given by its name.
    """
    list_ = function.node.child_by_field_name("parameters")
    alone = function.node.child_by_field_name("parameter")
    if alone is not None:
        raise _untyped(function, alone)
    every = [each for each in list_.named_children if each.type != "comment"] if list_ is not None else []
    parameters = [each for each in every if text_of(_pattern(each)) not in INJECTED]
    for parameter in parameters:
        kind = _pattern(parameter).type
        if kind != "identifier" and not (kind == "object_pattern" and len(parameters) == 1):
            raise unreadable(
                f"parameter {text_of(_pattern(parameter))[:40]!r} of {function.name} cannot be given by its name, so a "
                f"model cannot give it. Make it a plain parameter. {REMEDY}",
                parameter,
            )
        yield parameter


def _pattern(parameter: Node) -> Node:
    return parameter.child_by_field_name("pattern") or parameter


def _schema(types: Types, function: _Function, parameter: Node, what: str) -> Schema:
    kind, value = parameter.child_by_field_name("type"), parameter.child_by_field_name("value")
    if kind is not None:
        return types.schema(kind, f"{what} of {function.name}")
    match constant(value) if value is not None else ...:
        case bool():
            return {"type": "boolean"}
        case int() | float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
    raise _untyped(function, parameter)


def _untyped(function: _Function, parameter: Node) -> Exception:
    name = text_of(_pattern(parameter))[:40]
    return unreadable(
        f"parameter {name!r} of {function.name} has no type. Write one, as in {name}: string. {REMEDY}", parameter
    )


def _together(types: Types, function: _Function, parameter: Node, pattern: Node, texts: dict[str, str]) -> Schema:
    """Return the parameters of a function that takes one object apart: the object's."""
    schema = _schema(types, function, parameter, "the parameter")
    if "properties" not in schema:
        raise unreadable(
            f"the parameter of {function.name} has to be an object with named members. {REMEDY}", parameter
        )
    given = {_name_of_default(each) for each in pattern.named_children if each.type == "object_assignment_pattern"}
    properties = {
        name: each if "description" in each else described(each, texts.get(name, ""))
        for name, each in schema["properties"].items()
        if name not in INJECTED
    }
    required = [name for name in schema["required"] if name in properties and name not in given]
    return {"type": "object", "properties": properties, "required": required}


def _name_of_default(node: Node) -> str:
    """Return the name of a member that an object pattern gives a default."""
    left = node.child_by_field_name("left")
    return text_of(left) if left is not None else ""
