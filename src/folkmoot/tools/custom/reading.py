"""A tool's schema from its source: from signature, hints and docstring, which are parsed and never run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from folkmoot.tools.custom.annotations import NULL, Hints, Schema
from folkmoot.tools.custom.classes import read_class
from folkmoot.tools.custom.source import REMEDY, Function, Source, parse_source, unreadable

INJECTED = frozenset({"agent_state"})
"""Parameters that the server fills in."""

LONGEST_DOCSTRING = 20_000
"""Characters of a docstring that are read."""


@dataclass(frozen=True, slots=True)
class ReadTool:
    """What a source tells of its tool."""

    name: str
    description: str
    parameters: Schema

    def to_json_schema(self) -> dict[str, Any]:
        """Return it as the wire format has it."""
        return {"name": self.name, "description": self.description, "parameters": self.parameters}


def read_tool(text: str, name: str | None = None, description: str | None = None) -> ReadTool:
    """Return what Python source tells of the tool that it is.

    Args:
        text: the source.
        name: the function that is the tool, where it has several; the last when None or not there.
        description: what the tool does, where the function has no docstring that says it.

    Raises:
        BadRequest: it cannot be read; the error names the parameter, the line and the remedy.
    """
    source = parse_source(text)
    function = source.function(name)
    said, texts = _docstring(function)
    if not said and not description:
        raise unreadable(
            f"the function {function.name} has no docstring, so a model would not know what it is for. Write one, or "
            "send a description.",
            function,
        )
    return ReadTool(function.name, said or description or "", _parameters(source, function, texts))


def describe_tool(text: str, name: str | None = None) -> tuple[str, str]:
    """Return the name of the function that is the tool of a Python source, and what its docstring says of it.

    Raises:
        BadRequest: the source cannot be read, or has no function.
    """
    function = parse_source(text).function(name)
    return function.name, _docstring(function)[0]


def _docstring(function: Function) -> tuple[str, dict[str, str]]:
    """Return what a docstring of any of the usual styles says of a function, and of its parameters."""
    from docstring_parser import ParseError, parse  # only those who make tools need it

    text = (ast.get_docstring(function) or "")[:LONGEST_DOCSTRING]
    try:
        read = parse(text)
    except ParseError:
        return text.strip(), {}
    texts = {each.arg_name.lstrip("*"): (each.description or "").strip() for each in read.params}
    return (read.description or "").strip(), texts


def _parameters(source: Source, function: Function, texts: dict[str, str]) -> Schema:
    hints = Hints(source, read_class)
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for parameter, default in _each(function):
        name = parameter.arg
        if name in INJECTED:
            continue
        schema = _parameter(hints, function, parameter, default)
        if texts.get(name):
            schema["description"] = texts[name]
        properties[name] = schema
        if default is None:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _each(function: Function) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    """Yield each parameter with its default.

    Raises:
        BadRequest: one cannot be given by its name.
    """
    arguments = function.args
    for strange in (*arguments.posonlyargs, arguments.vararg, arguments.kwarg):
        if strange is not None:
            raise unreadable(
                f"parameter {strange.arg!r} of {function.name} cannot be given by its name, so a model cannot give it. "
                f"Make it a plain parameter. {REMEDY}",
                strange,
            )
    plain = len(arguments.args) - len(arguments.defaults)
    yield from zip(arguments.args, [*[None] * plain, *arguments.defaults], strict=True)
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _parameter(hints: Hints, function: Function, parameter: ast.arg, default: ast.expr | None) -> Schema:
    if parameter.annotation is None:
        return _told_by_default(function, parameter, default)
    schema = hints.schema(parameter.annotation, f"parameter {parameter.arg!r} of {function.name}")
    optional = isinstance(default, ast.Constant) and default.value is None
    if not optional or "anyOf" not in schema:
        return schema
    others = [each for each in schema["anyOf"] if each != NULL]  # None is what leaving it out gives
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**others[0], **rest} if len(others) == 1 else {**rest, "anyOf": others}


def _told_by_default(function: Function, parameter: ast.arg, default: ast.expr | None) -> Schema:
    match default:
        case ast.Constant(bool()):
            return {"type": "boolean"}
        case ast.Constant(int()):
            return {"type": "integer"}
        case ast.Constant(float()):
            return {"type": "number"}
        case ast.Constant(str()):
            return {"type": "string"}
    raise unreadable(
        f"parameter {parameter.arg!r} of {function.name} has no type. Write one, as in {parameter.arg}: str. {REMEDY}",
        parameter,
    )
