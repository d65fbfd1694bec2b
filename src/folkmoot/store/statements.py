"""Statements as text, compiled once, for the engines to run.

A statement that a module holds is compiled when it is first used. One that is made for a request, with as many
conditions as were asked for, is compiled as often as SQLAlchemy would: once for each shape, by which its own engines
know two statements that differ in their values alone (`HasCacheKey`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import BindParameter, Executable, Table, insert
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

from folkmoot.store.scoping import COLUMN, PARAMETER, compile_scoped

SHAPES_KEPT = 100
"""Shapes of statements that are kept at most, some 20 kB each; then they are gathered anew."""

SHAPES_MET = 10_000
"""Shapes that are remembered as met once, by their hash alone."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as text. It must not hold the statement itself, or none would ever be forgotten."""

    text: str
    names: Sequence[str]
    given: Mapping[str, Any]

    def in_order(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the parameters' values, those that the statement brings itself where `parameters` has none."""
        return [parameters[name] if name in parameters else self.given[name] for name in self.names]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What all statements of a shape are compiled to; `names` are those of their parameters, in their own order."""

    compiled: _Compiled
    names: Sequence[str]

    def with_values(self, parameters: Sequence[BindParameter[Any]]) -> _Compiled:
        """Return a statement of this shape that brings these parameters."""
        return replace(self.compiled, given={**self.compiled.given, **dict(_values(self.names, parameters))})


class Statements:
    """Statements as text for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        """Compile for `dialect`, whose parameters must be positional."""
        self._dialect = dialect
        self._scoped: WeakKeyDictionary[Executable, _Compiled] = WeakKeyDictionary()
        self._wide: WeakKeyDictionary[Executable, _Compiled] = WeakKeyDictionary()
        self._inserts: dict[tuple[str, tuple[str, ...]], _Compiled] = {}
        self._shapes: dict[tuple[Any, ...], _Shape] = {}
        self._met: set[int] = (
            set()
        )  # hashes of shapes: most of them, those of modules' own statements, never come again

    def text(
        self, statement: Executable, parameters: Mapping[str, Any], organization_id: str | None
    ) -> tuple[str, list[Any]]:
        """Return the statement's SQL, which reaches one organisation's rows, and its parameters' values in order.

        Args:
            statement: what to run.
            parameters: the values of its bindparams.
            organization_id: whose rows it reaches; None for everybody's.
        """
        kept = self._wide if organization_id is None else self._scoped
        compiled = kept.get(statement)
        if compiled is None:
            compiled = kept[statement] = self._by_shape(statement, scoped=organization_id is not None)
        return compiled.text, compiled.in_order({**parameters, PARAMETER: organization_id})

    def insert(
        self, table: Table, rows: Sequence[Mapping[str, Any]], organization_id: str | None, *, or_keep: bool
    ) -> tuple[str, list[list[Any]]]:
        """Return an INSERT's SQL and each row's values in order; the rows become the organisation's."""
        if organization_id is not None and COLUMN in table.c:
            if any(COLUMN in row for row in rows):
                raise AssertionError("a row belongs to its transaction's organisation")
            rows = [{COLUMN: organization_id, **row} for row in rows]
        columns = tuple(rows[0])
        compiled = self._inserts.get((table.name, columns))
        if compiled is None:
            compiled = _compiled(self._compile(insert(table), column_keys=list(columns)))
            self._inserts[table.name, columns] = compiled
        text = f"{compiled.text} ON CONFLICT DO NOTHING" if or_keep else compiled.text
        return text, [compiled.in_order(row) for row in rows]

    def _by_shape(self, statement: Any, *, scoped: bool) -> _Compiled:
        """Return a statement as text, compiled if none of its shape is kept."""
        key = statement._generate_cache_key()
        if key is None:
            return _compiled(self._compile_for(statement, scoped))
        own = key.bindparams
        shape = (scoped, key.key, tuple(len(each.effective_value) for each in own if each.expanding))
        known = self._shapes.get(shape)
        if known is not None:
            return known.with_values(own)
        compiler = self._compile_for(statement, scoped)
        if hash(shape) in self._met:
            self._keep(shape, compiler, own)
        if len(self._met) == SHAPES_MET:
            self._met.clear()
        self._met.add(hash(shape))
        return _compiled(compiler)

    def _keep(self, shape: tuple[Any, ...], compiler: SQLCompiler, own: Sequence[BindParameter[Any]]) -> None:
        """Keep what a statement was compiled to for others of its shape, unless its values are somewhere else."""
        if compiler.literal_execute_params or any(each not in compiler.bind_names for each in own):
            return
        names, compiled = [compiler.bind_names[each] for each in own], _compiled(compiler)
        values = dict(_values(names, own))
        if any(name not in compiled.given or compiled.given[name] is not value for name, value in values.items()):
            return
        others = {name: value for name, value in compiled.given.items() if name not in values}
        if len(self._shapes) == SHAPES_KEPT:
            self._shapes.clear()
        self._shapes[shape] = _Shape(replace(compiled, given=others), names)

    def _compile_for(self, statement: Executable, scoped: bool) -> SQLCompiler:
        return compile_scoped(statement, self._dialect) if scoped else self._compile(statement)

    def _compile(self, statement: Executable, column_keys: list[str] | None = None) -> SQLCompiler:
        compiled = statement.compile(  # type: ignore[attr-defined]
            dialect=self._dialect, column_keys=column_keys, compile_kwargs={"render_postcompile": True}
        )
        assert isinstance(compiled, SQLCompiler)
        return compiled


def _compiled(compiler: SQLCompiler) -> _Compiled:
    return _Compiled(compiler.string, tuple(compiler.positiontup or ()), dict(compiler.params))


def _values(names: Sequence[str], parameters: Sequence[BindParameter[Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the values of parameters by their names in the text; a list has one for each of its items."""
    for name, parameter in zip(names, parameters, strict=True):
        if parameter.expanding:
            yield from ((f"{name}_{place}", value) for place, value in enumerate(parameter.effective_value or (), 1))
        else:
            yield name, parameter.effective_value
