"""Source code of a tool, parsed and never run: its functions, classes, and what its names stand for."""

from __future__ import annotations

import ast
import builtins
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from folkmoot.errors import BadRequest

LONGEST_SOURCE = 200_000
"""Characters of one tool's source."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

REMEDY = "Or send the tool's json_schema, which is then taken as it is."


def unreadable(what: str, node: ast.AST | None = None) -> BadRequest:
    """Return the error of source that gives no schema; `node` is where."""
    line = getattr(node, "lineno", None)
    return BadRequest(f"source_code: {what}", **({} if line is None else {"line": line}))


@dataclass(frozen=True)
class Source:
    """What a source defines at its top level."""

    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)
    aliases: dict[str, ast.expr] = field(default_factory=dict)
    """What is assigned to a name, as in `Mode = Literal["a", "b"]`."""

    imported: dict[str, str] = field(default_factory=dict)
    """What an imported name stands for: `List` for `typing.List`, `dt` for `datetime`."""

    def function(self, name: str | None = None) -> Function:
        """Return the function that is the tool: the one of this name, or else the last.

        Raises:
            BadRequest: there is no function.
        """
        if name in self.functions:
            return self.functions[name]
        if not self.functions:
            raise unreadable("it defines no function; a tool is a function at its top level.")
        return list(self.functions.values())[-1]

    def full_name(self, node: ast.expr) -> str | None:
        """Return what a name or a dotted name stands for, such as `typing.List`; None for anything else.

        A name that nothing defines is one of Python's own or of `typing`, which tools need not import.
        """
        if isinstance(node, ast.Attribute):
            base = self.full_name(node.value)
            return f"{base}.{node.attr}" if base is not None else None
        if not isinstance(node, ast.Name):
            return None
        name = node.id
        if name in self.imported:
            return self.imported[name]
        if name in self.classes or name in self.aliases or hasattr(builtins, name):
            return name
        return f"typing.{name}" if name in typing.__all__ else name


def parse_source(text: str) -> Source:
    """Read Python source.

    Raises:
        BadRequest: it is no Python; the error names the line.
    """
    if not text.strip():
        raise unreadable("it is empty; send the function that the tool is.")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        place = f"line {error.lineno}: " if error.lineno else ""
        raise BadRequest(f"source_code: {place}{error.msg}. It cannot be read as Python.", line=error.lineno) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise unreadable("it is nested too deeply, or has characters that Python does not take.") from error
    source = Source()
    for statement in _statements(tree.body):
        _take(statement, source)
    return source


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements at the top level, those that stand there on a condition too."""
    for statement in body:
        if isinstance(statement, ast.If):
            yield from _statements([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            yield from _statements([*statement.body, *statement.orelse, *statement.finalbody])
        else:
            yield statement


def _take(statement: ast.stmt, source: Source) -> None:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            source.functions.pop(statement.name, None)  # the last definition counts, and stands last
            source.functions[statement.name] = statement
        case ast.ClassDef():
            source.classes[statement.name] = statement
        case ast.Assign(targets=[ast.Name(name)], value=value):
            source.aliases[name] = value
        case ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value):
            source.aliases[name] = value
        case ast.Import(names):
            for each in names:
                source.imported[each.asname or each.name.partition(".")[0]] = (
                    each.name if each.asname else each.name.partition(".")[0]
                )
        case ast.ImportFrom(module, names):
            for each in names:
                source.imported[each.asname or each.name] = f"{module}.{each.name}"
